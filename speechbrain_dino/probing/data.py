"""What is probed for: utterances, their folds and their labels."""

import logging
from pathlib import Path
from typing import NamedTuple

import numpy as np

from speechbrain_dino.corpora.preparation import read_summary
from speechbrain_dino.corpora.utterances import find_audio
from speechbrain_dino.data.folds import PARTS, Fold, groups_of, read_folds
from speechbrain_dino.data.manifest import Manifest
from speechbrain_dino.embeddings.bad_audio import report_left_out
from speechbrain_dino.probing.inner_folds import inner_folds
from speechbrain_dino.probing.inputs import check_targets
from speechbrain_dino.utils.distributed import alone_on_main, on_main_first

logger = logging.getLogger(__name__)

SPEAKER = "spk_id"
KINDS = ("auto", "classes", "numbers")
_UNLABELED = ("", "nan", "none", "null")


class ProbeData(NamedTuple):
    """Utterances and how they are divided."""

    manifest: Manifest
    folds: list
    """Of Fold, with rows of the manifest."""
    groups: np.ndarray
    """The group of every row (N,), which no fold divides; None: no groups."""
    how: str
    """How the folds were made."""


class Target(NamedTuple):
    """One label of the utterances."""

    label: str
    """Column of the manifest."""
    values: np.ndarray
    """Numbers of classes, int64 (N,), or numbers to predict, float64 (N,)."""
    classes: list
    """Names of the classes; none where numbers are predicted."""
    folds: list
    """Of Fold, without utterances that have no label."""
    left_out: int
    """Number of these utterances."""


def prepared_data(prepare, folder):
    """The `ProbeData` of a corpus with its own folds.

    ``prepare``, called without arguments by the first process, leaves
    ``utterances.csv``, ``folds.json`` and ``prepare.json`` in the folder.
    """
    alone_on_main(prepare)
    folder = Path(folder)
    manifest = Manifest.from_csv(folder / "utterances.csv")
    folds = read_folds(folder / "folds.json", manifest)
    how = read_summary(folder).get("how", f"{len(folds)} folds of {folder}")
    return ProbeData(manifest, folds, speakers_of(manifest), how)


def divided_data(
    source,
    folder,
    label,
    group=SPEAKER,
    num_folds=5,
    seed=0,
    sample_rate=16000,
    on_bad="skip",
):
    """The `ProbeData` of any utterances, divided into folds by groups.

    Every utterance is tested once. Classes of the (first) label are spread evenly.
    Raises ValueError if a column is missing, the group is the label, or there is only
    one group.

    Arguments
    ---------
    source : str or path
        A manifest (CSV), prepared or plain folder: see ``corpora.utterances``.
    folder : str or path
        Where a plain folder's manifest is kept.
    label : str or list of str
        What is probed for, columns of the manifest.
    group : str, optional
        Column whose values no fold divides; None divides at random. To recognize
        speakers, which must be learned from, the group is the session.
    num_folds : int
        Fewer where there are fewer groups.
    seed : int
        Of the division.
    on_bad : str
        ``fail``: ValueError if there are files whose audio is bad; else they are left
        out.
    """
    audio = on_main_first(lambda: find_audio(source, folder, sample_rate))
    report_left_out(audio.left_out, on_bad)
    manifest = audio.manifest
    first = labels_of(label)[0]
    if group in labels_of(label):
        raise ValueError(
            f"group {group!r} is the label as well: what is tested would never have "
            "been learned. Give the column of the session as group, or null to divide "
            "utterances at random"
        )
    values = column_of(manifest, first)
    if group is None:
        groups, kept = None, "utterances divided at random"
    else:
        column_of(manifest, group)
        groups = groups_of(manifest, group)
        kept = f"no {group} in two parts ({len(set(groups))} of them)"
    classes = np.unique(values.astype(str), return_inverse=True)[1]
    stratify = classes if not _numeric(first, values) else classes.astype(float)
    parts = inner_folds(stratify, groups, num_folds, seed)
    empty = np.zeros(0, np.int64)
    folds = [
        Fold(f"fold{number}", train.astype(np.int64), empty, test.astype(np.int64))
        for number, (train, test) in enumerate(parts, 1)
    ]
    how = f"{len(folds)} folds, every utterance tested on once, {kept}"
    logger.info("%s", how)
    return ProbeData(manifest, folds, groups, how)


def restricted(data, kept):
    """The `ProbeData` of some utterances, bool (N,), in the same folds."""
    place = np.cumsum(kept) - 1
    folds = [
        Fold(fold.name, *(place[rows[kept[rows]]] for rows in fold[1:]))
        for fold in data.folds
    ]
    groups = None if data.groups is None else np.asarray(data.groups)[kept]
    manifest = data.manifest.subset(kept)
    return data._replace(manifest=manifest, folds=folds, groups=groups)


def labels_of(label):
    """One label or several as a list."""
    labels = [label] if isinstance(label, str) else list(label)
    if not labels:
        raise ValueError("label: expected a column of the manifest, or several")
    return labels


def column_of(manifest, name):
    """A column as text, object (N,); ValueError names those there are."""
    try:
        return np.array([str(v).strip() for v in manifest.column(name)], dtype=object)
    except KeyError as error:
        raise ValueError(f"{error.args[0]}: name one of these") from None


def speakers_of(manifest):
    """The speaker of every row (N,), None without a column of speakers."""
    try:
        return groups_of(manifest, SPEAKER)
    except KeyError:
        return None


def read_target(data, label, kind="auto", leave_out_unlabeled=False):
    """The `Target` of a label, checked to be learnable in these folds.

    Raises ValueError if the column is missing, labels are empty or no numbers, or a
    fold does not pass ``probing.inputs.check_targets``.

    Arguments
    ---------
    data : ProbeData
    label : str
        Column of the manifest.
    kind : str
        ``classes``, ``numbers`` (a regression), or ``auto``: numbers where all labels
        are, with more than ten different ones, and it is not the column spk_id.
    leave_out_unlabeled : bool
        Whether utterances without a label are left out instead of an error.
    """
    if kind not in KINDS:
        raise ValueError(f"kind={kind!r}: expected one of {', '.join(KINDS)}")
    names = column_of(data.manifest, label)
    used = np.zeros(len(names), bool)
    for fold in data.folds:
        used[np.concatenate(fold[1:])] = True
    labeled = np.array([name.lower() not in _UNLABELED for name in names])
    missing = np.flatnonzero(used & ~labeled)
    if len(missing) and not leave_out_unlabeled:
        raise ValueError(
            f"{len(missing)} of {used.sum()} utterances have no {label}, such as "
            f"{data.manifest.ids[int(missing[0])]!r}: complete the manifest, or set "
            "leave_out_unlabeled: True"
        )
    folds = [
        Fold(fold.name, *(rows[labeled[rows]] for rows in fold[1:]))
        for fold in data.folds
    ]
    used &= labeled
    if kind == "numbers" or (kind == "auto" and _numeric(label, names[used])):
        classes, values = [], np.full(len(names), np.nan)
        values[used] = _parsed(label, names, used, data.manifest.ids)
    else:
        classes, numbers = np.unique(names[used].astype(str), return_inverse=True)
        classes, values = classes.tolist(), np.full(len(names), -1)
        values[used] = numbers
        if len(classes) < 2:
            raise ValueError(
                f"{label} has {len(classes)} class {classes}: two or more are needed"
            )
    check_targets(values, folds, classes or None)
    return Target(label, values, classes, folds, len(missing))


def _numeric(label, names):
    if label == SPEAKER:
        return False
    distinct = {name for name in names if name.lower() not in _UNLABELED}
    try:
        return len({float(name) for name in distinct}) > 10
    except ValueError:
        return False


def _parsed(label, names, used, ids):
    values = []
    for row in np.flatnonzero(used):
        try:
            values.append(float(names[row]))
        except ValueError:
            raise ValueError(
                f"{label} of {ids[int(row)]!r} is no number: {names[row]!r}; to tell "
                "classes apart set kind: classes"
            ) from None
    return values


def parts_of(fold):
    """Number of utterances in each part of a fold."""
    return {part: len(getattr(fold, part)) for part in PARTS}
