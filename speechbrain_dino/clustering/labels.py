"""Pseudo labels: what a clusterer returns, and its files."""

import csv
from pathlib import Path
from typing import NamedTuple

import numpy as np

from speechbrain_dino.metrics.clusters import against_truth
from speechbrain_dino.utils.checked_json import read_checked
from speechbrain_dino.utils.files import open_text, replacing
from speechbrain_dino.utils.results import update_results

LEFT_OUT = -1


class Clustering(NamedTuple):
    """Pseudo labels of N utterances."""

    labels: np.ndarray
    """int64 (N,), 0 to C - 1 by falling size (of equal sizes, the one whose first
    utterance comes first), each with an utterance; -1: left out by a filter."""
    summary: dict
    """Plain numbers, lists and dicts: how the labels were computed, numbers, sizes."""

    def against(self, truth):
        """`against_truth` of true speakers (N,), empty or None where unknown."""
        return against_truth(self.labels, truth)


def numbered_by_size(labels):
    """Numbers clusters (N,) by falling size, of equal sizes the first one first.

    Negative labels, which are left out, become -1.

    Example
    -------
    >>> numbered_by_size(np.array([7, 3, -1, 4, 3])).tolist()
    [1, 0, -1, 2, 0]
    """
    labels = np.asarray(labels)
    kept = np.flatnonzero(labels >= 0)
    names, first, places, counts = np.unique(
        labels[kept], return_index=True, return_inverse=True, return_counts=True
    )
    number = np.empty(len(names), dtype=np.int64)
    number[np.lexsort((first, -counts))] = np.arange(len(names))
    new = np.full(len(labels), LEFT_OUT, dtype=np.int64)
    new[kept] = number[places]
    return new


def save_labels(folder, ids, clustering):
    """Writes ``labels.csv`` (ID, label) and ``clustering.json`` (the summary).

    Raises ValueError if the numbers of ``ids`` and labels differ.

    Example
    -------
    >>> folder = getfixture("tmp_path")
    >>> clustering = Clustering(np.array([1, 0, 0, -1]), {"clusters": 2})
    >>> save_labels(folder, ["a", "b", "c", "d"], clustering)
    >>> load_labels(folder, ["d", "c", "b", "a"]).tolist()
    [-1, 0, 0, 1]
    """
    labels = clustering.labels
    if len(ids) != len(labels):
        raise ValueError(
            f"{len(labels)} labels do not fit {len(ids)} utterances: one label per "
            "utterance is needed"
        )
    folder = Path(folder)
    with (
        replacing(folder / "labels.csv") as draft,
        open(draft, "w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("ID", "label"))
        writer.writerows(zip(ids, labels.tolist()))
    with replacing(folder / "clustering.json") as draft:
        update_results(draft, clustering.summary)


def load_labels(path, ids=None):
    """Reads pseudo labels, int64 (N,), -1: left out.

    ``path`` is ``labels.csv`` or its folder; ``ids``, if given, are exactly the file's
    in the order wanted. Raises FileNotFoundError, or ValueError if the file is
    malformed, is of other utterances than ``ids``, or its labels are not 0 to C - 1
    (and -1) with at least two classes.
    """
    path = Path(path)
    if path.is_dir():
        path = path / "labels.csv"
    label_of = _read(path)
    labels = np.array(list(label_of.values()), dtype=np.int64)
    _check_classes(path, labels)
    if ids is None:
        return labels
    ids = list(ids)
    missing = [name for name in ids if name not in label_of]
    unknown = set(label_of).difference(ids)
    if missing or unknown:
        both = (
            (f"has no label for {len(missing)} utterances", missing),
            (f"names {len(unknown)} that are not among them", sorted(unknown)),
        )
        faults = [f"{text} (first: {names[0]!r})" for text, names in both if names]
        raise ValueError(
            f"{path} {' and '.join(faults)}: it belongs to another manifest; give the "
            "manifest that was clustered, or cluster this one"
        )
    return np.array([label_of[name] for name in ids], dtype=np.int64)


def _read(path):
    """ID -> label."""
    label_of = {}
    with open_text(path) as file:
        rows = csv.reader(file, skipinitialspace=True)
        if next(rows, None) != ["ID", "label"]:
            raise ValueError(
                f"{path} does not begin with ID,label: give the labels.csv that "
                "cluster.py writes"
            )
        for row in filter(None, rows):
            line = f"{path}, line {rows.line_num}"
            try:
                name, label = row[0], int(np.int64(int(row[1])))
            except (IndexError, ValueError, OverflowError) as error:
                raise ValueError(
                    f"{line}: {','.join(row)!r} is no name and whole number"
                ) from error
            if name in label_of:
                raise ValueError(f"{line}: {name!r} occurs twice")
            label_of[name] = label
    return label_of


def _check_classes(path, labels):
    if (labels < LEFT_OUT).any():
        raise ValueError(
            f"{path} holds the label {labels.min()}: labels are 0 and more, or -1 for "
            "utterances that are left out"
        )
    classes = np.unique(labels[labels >= 0])
    if len(classes) < 2:
        raise ValueError(
            f"{path} holds {len(classes)} classes: at least two are needed to learn "
            "anything"
        )
    gaps = np.flatnonzero(classes != np.arange(len(classes)))
    if len(gaps):
        raise ValueError(
            f"{path} holds labels up to {classes[-1]} and none that is {gaps[0]}: "
            "number the classes without gaps"
        )


def read_summary(folder):
    """The summary that ``save_labels`` wrote into the folder."""
    return read_checked(Path(folder) / "clustering.json")
