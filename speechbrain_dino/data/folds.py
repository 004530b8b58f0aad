"""What a fold is, what it must not be, and the file that holds folds."""

import json
import logging
from collections import Counter
from itertools import combinations
from typing import NamedTuple

import numpy as np

from speechbrain_dino.utils.checked_json import read_checked
from speechbrain_dino.utils.files import replacing

logger = logging.getLogger(__name__)

PARTS = ("train", "valid", "test")
_UNKNOWN = ("", "unknown")


class Fold(NamedTuple):
    """One division of a manifest: a name, and the rows of each part, int64 (n,)."""

    name: str
    train: np.ndarray
    valid: np.ndarray
    test: np.ndarray

    @classmethod
    def of_masks(cls, name, *masks):
        """A fold from one mask, bool (N,), per part."""
        return cls(name, *(np.flatnonzero(mask).astype(np.int64) for mask in masks))


def groups_of(manifest, group="spk_id"):
    """The group, such as the speaker, of every row, object (N,).

    Where the column is empty or "Unknown", utterances may or may not belong together:
    each is a group of its own.

    Example
    -------
    >>> from speechbrain_dino.data.manifest import Manifest
    >>> row = dict(duration=1.0, wav="/c/a.wav", start=0, stop=16000)
    >>> rows = [dict(row, ID=i, spk_id=s) for i, s in [("a", "7"), ("b", "Unknown")]]
    >>> groups_of(Manifest.from_rows(rows)).tolist()
    ['7', 'unknown (b)']
    """
    names = np.array(manifest.column(group), dtype=object)
    for row, name in enumerate(names):
        if name.lower() in _UNKNOWN:
            names[row] = f"unknown ({manifest.ids[row]})"
    return names


def check_folds(folds, manifest, group="spk_id", labels=None, column="emotion"):
    """Returns the same folds, after making sure that they measure what they claim to.

    In every fold no part is empty, no utterance occurs twice, no group is in two
    parts, and every class is in training. A class that is missing in validation or
    test only gives a warning.

    Arguments
    ---------
    group, column : str
        Columns of the groups, see :func:`groups_of`, and of the classes.
    labels : sequence of str, optional
        The classes; those in the manifest if None.

    Raises
    ------
    ValueError
        At the first thing that is wrong; names fold, part and what it is.

    Example
    -------
    >>> from speechbrain_dino.data.manifest import Manifest
    >>> row = dict(duration=1.0, wav="/c/a.wav", start=0, stop=16000, emotion="sad")
    >>> rows = [dict(row, ID=i, spk_id=s) for i, s in zip("abc", "778")]
    >>> folds = [Fold("a", *np.array([[0], [2], [1]]))]
    >>> check_folds(folds, Manifest.from_rows(rows))
    Traceback (most recent call last):
    ValueError: fold 'a': spk_id '7' is in train (such as 'a') and in test (such as 'b')
    """
    groups = groups_of(manifest, group)
    emotions = np.array(manifest.column(column), dtype=object)
    labels = sorted(set(emotions)) if labels is None else list(labels)
    twice = [name for name, n in Counter(fold.name for fold in folds).items() if n > 1]
    if twice or not folds:
        raise ValueError(
            f"two folds have the name {twice[0]!r}" if twice else "there is no fold"
        )
    for fold in folds:
        parts = {part: np.asarray(getattr(fold, part), np.int64) for part in PARTS}
        _check_rows(fold.name, parts, manifest)
        _check_groups(fold.name, parts, manifest, groups, group)
        _check_classes(fold.name, parts, emotions, labels)
    return folds


def _check_rows(name, parts, manifest):
    for part, rows in parts.items():
        if not len(rows):
            raise ValueError(f"fold {name!r}: no utterance in {part}")
        if rows.min() < 0 or rows.max() >= len(manifest):
            raise ValueError(
                f"fold {name!r}: rows {rows.min()} to {rows.max()} in {part}, but the "
                f"manifest has {len(manifest)} rows"
            )
    rows, counts = np.unique(np.concatenate(list(parts.values())), return_counts=True)
    if (counts > 1).any():
        row = rows[counts > 1][0]
        where = [part for part, own in parts.items() for _ in own[own == row]]
        raise ValueError(
            f"fold {name!r}: the utterance {manifest.ids[row]!r} occurs "
            f"{len(where)} times, in {' and in '.join(where)}"
        )


def _check_groups(name, parts, manifest, groups, group):
    first = {}
    for part, rows in parts.items():
        names, at = np.unique(groups[rows].astype(str), return_index=True)
        first[part] = dict(zip(names.tolist(), rows[at]))
    for one, other in combinations(PARTS, 2):
        both = sorted(first[one].keys() & first[other].keys())
        if both:
            ids = [manifest.ids[first[part][both[0]]] for part in (one, other)]
            others = f", and {len(both) - 1} more" if len(both) > 1 else ""
            raise ValueError(
                f"fold {name!r}: {group} {both[0]!r} is in {one} (such as {ids[0]!r}) "
                f"and in {other} (such as {ids[1]!r}){others}"
            )


def _check_classes(name, parts, emotions, labels):
    for part, rows in parts.items():
        there = set(emotions[rows])
        strange = sorted(there - set(labels))
        if strange:
            raise ValueError(
                f"fold {name!r}: {part} has the class {strange[0]!r}, which is none of "
                f"{labels}"
            )
        missing = [label for label in labels if label not in there]
        if missing and part == "train":
            raise ValueError(
                f"fold {name!r}: no utterance of the class {missing[0]!r} in train, "
                "so it cannot be learned: leave it out of the classes, or divide again"
            )
        if missing:
            logger.warning("fold %s: no %s in %s", name, ", ".join(missing), part)


def write_folds(path, folds, manifest, labels, group="spk_id"):
    """Writes folds as lists of IDs, with the classes in order, to a JSON file.

    {"folds": [{"name", "train", "valid", "test"}], "group", "labels"}; ``group`` is the
    column of which no value is in two parts of a fold.
    """
    content = {
        "folds": [
            {"name": fold.name}
            | {part: [manifest.ids[i] for i in getattr(fold, part)] for part in PARTS}
            for fold in folds
        ],
        "group": group,
        "labels": list(labels),
    }
    with replacing(path) as draft:
        draft.write_text(json.dumps(content, indent=1), encoding="utf-8")


def read_folds(path, manifest):
    """Folds of :func:`write_folds`, checked again, as rows of a manifest in any order.

    Raises ValueError if the file is damaged, an ID is not in the manifest, or at
    :func:`check_folds`.
    """
    content = read_checked(path, "prepare the data again")
    _check_content(path, content)
    row_of = {name: row for row, name in enumerate(manifest.ids)}
    folds = []
    for entry in content["folds"]:
        rows = []
        for part in PARTS:
            unknown = [name for name in entry[part] if name not in row_of]
            if unknown:
                raise ValueError(
                    f"{path}: fold {entry['name']!r} has {len(unknown)} IDs in {part} "
                    f"that are not in the manifest, such as {unknown[0]!r}: prepare "
                    "the data again"
                )
            rows.append(np.array([row_of[name] for name in entry[part]], np.int64))
        folds.append(Fold(entry["name"], *rows))
    try:
        return check_folds(folds, manifest, content["group"], content["labels"])
    except (ValueError, KeyError) as error:
        raise ValueError(f"{path}: {error.args[0]}") from error


def _check_content(path, content):
    """Raises ValueError unless a JSON has the form of :func:`write_folds`."""
    missing = [key for key in ("folds", "group", "labels") if key not in content]
    if missing:
        raise ValueError(f"{path} lacks {missing}: it is no file of folds")
    folds = content["folds"]
    if not (
        isinstance(folds, list)
        and all(isinstance(fold, dict) and "name" in fold for fold in folds)
        and isinstance(content["group"], str)
        and _are_texts(content["labels"])
        and _are_texts([fold["name"] for fold in folds])
        and all(_are_texts(fold.get(part)) for fold in folds for part in PARTS)
    ):
        raise ValueError(
            f"{path} is damaged: expected folds with a name and lists of IDs in "
            f"{', '.join(PARTS)}; prepare the data again"
        )


def _are_texts(values):
    return isinstance(values, list) and all(isinstance(v, str) for v in values)


def count_folds(folds, manifest, labels):
    """fold -> part -> class -> utterances; also "all" and "speakers"."""
    emotions, speakers = manifest.column("emotion"), groups_of(manifest)
    result = {}
    for fold in folds:
        parts = result[fold.name] = {}
        for part in PARTS:
            rows = getattr(fold, part)
            per_class = Counter(emotions[rows])
            parts[part] = {label: per_class[label] for label in labels}
            parts[part] |= {"all": len(rows), "speakers": len(set(speakers[rows]))}
    return result


def table_of(counts, labels):
    """The counts of :func:`count_folds` as text, a line per fold and part."""
    columns = [*labels, "all", "speakers"]
    lines = [["fold", "part", *columns]]
    for fold, parts in counts.items():
        for part, numbers in parts.items():
            lines.append([fold, part, *(str(numbers[name]) for name in columns)])
    widths = [max(map(len, column)) for column in zip(*lines)]
    return "\n".join(
        "  ".join(
            text.ljust(width) if k < 2 else text.rjust(width)
            for k, (text, width) in enumerate(zip(line, widths))
        )
        for line in lines
    )
