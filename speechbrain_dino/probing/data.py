"""What is probed for: utterances, their folds and their labels."""

import logging
from pathlib import Path
from typing import NamedTuple

import numpy as np
from speechbrain.utils.distributed import run_on_main

from speechbrain_dino.corpora.preparation import read_summary
from speechbrain_dino.corpora.utterances import find_utterances
from speechbrain_dino.data.folds import PARTS, Fold, groups_of, read_folds
from speechbrain_dino.data.manifest import Manifest
from speechbrain_dino.probing.inner_folds import inner_folds
from speechbrain_dino.probing.inputs import check_targets
from speechbrain_dino.utils.distributed import on_main_first

logger = logging.getLogger(__name__)

SPEAKER = "spk_id"
KINDS = ("auto", "classes", "numbers")
_UNLABELED = ("", "nan", "none", "null")


class ProbeData(NamedTuple):
    """Utterances and how they are divided.

    Arguments
    ---------
    manifest : Manifest
        The utterances.
    folds : list of Fold
        Rows of the manifest.
    groups : numpy.ndarray or None
        The group of every row (N,), which no fold divides.
    how : str
        How the folds were made.
    """

    manifest: Manifest
    folds: list
    groups: np.ndarray
    how: str


class Target(NamedTuple):
    """One label of the utterances.

    Arguments
    ---------
    label : str
        Column of the manifest.
    values : numpy.ndarray
        Numbers of classes, int64 (N,), or numbers to predict, float64 (N,).
    classes : list of str
        Names of the classes; none where numbers are predicted.
    folds : list of Fold
        The folds without utterances that have no label.
    left_out : int
        How many those are.
    """

    label: str
    values: np.ndarray
    classes: list
    folds: list
    left_out: int


def prepared_data(prepare, folder):
    """Prepares a corpus with its own folds.

    Arguments
    ---------
    prepare : callable
        Called without arguments by the first process; leaves ``utterances.csv``,
        ``folds.json`` and ``prepare.json`` in the folder.
    folder : str or path
        That folder.

    Returns
    -------
    ProbeData
    """
    run_on_main(prepare)
    folder = Path(folder)
    manifest = Manifest.from_csv(folder / "utterances.csv")
    folds = read_folds(folder / "folds.json", manifest)
    how = read_summary(folder).get("how", f"{len(folds)} folds of {folder}")
    return ProbeData(manifest, folds, speakers_of(manifest), how)


def divided_data(
    source, folder, label, group=SPEAKER, num_folds=5, seed=0, sample_rate=16000
):
    """Reads any utterances and divides them into folds by groups.

    Every utterance is tested on once. Classes of the (first) label are spread evenly.

    Arguments
    ---------
    source : str or path
        A manifest (CSV), prepared or plain folder: see ``utterances``.
    folder : str or path
        Where a plain folder's manifest is kept.
    label : str or list of str
        What is probed for, columns of the manifest.
    group : str, optional
        Column whose values no fold divides. A label is not its own group: if speakers
        are to be recognized, each must be learnt from, and the group is the session,
        or None: then utterances are divided whatever they belong to.
    num_folds : int
        Folds, less where there are fewer groups.
    seed : int
        Of the division.
    sample_rate : int
        Samples in a second.

    Returns
    -------
    ProbeData

    Raises
    ------
    ValueError
        If a column is missing, the group is the label, or there is but one group.
    """
    find = find_utterances
    manifest = on_main_first(lambda: find(source, folder, sample_rate))
    first = labels_of(label)[0]
    if group in labels_of(label):
        raise ValueError(
            f"group {group!r} is the label as well: what is tested would never have "
            "been learnt. Give the column of the session as group, or null to divide "
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


def labels_of(label):
    """One label or several as a list."""
    labels = [label] if isinstance(label, str) else list(label)
    if not labels:
        raise ValueError("label: expected a column of the manifest, or several")
    return labels


def column_of(manifest, name):
    """A column as text, object (N,).

    Raises
    ------
    ValueError
        If the manifest has none of this name; the message names those there are.
    """
    try:
        return np.array([str(v).strip() for v in manifest.column(name)], dtype=object)
    except KeyError as error:
        raise ValueError(f"{error.args[0]}: name one of these") from None


def speakers_of(manifest):
    """The speaker of every row (N,), None if the manifest does not tell."""
    try:
        return groups_of(manifest, SPEAKER)
    except KeyError:
        return None


def read_target(data, label, kind="auto", leave_out_unlabeled=False):
    """Reads a label and makes sure that it can be learnt in these folds.

    Arguments
    ---------
    data : ProbeData
        The utterances.
    label : str
        Column of the manifest.
    kind : str
        ``classes``, ``numbers`` (a regression), or ``auto``: numbers where all labels
        are, with more than ten different ones, and it is not the column spk_id.
    leave_out_unlabeled : bool
        Whether utterances without a label are left out, or an error.

    Returns
    -------
    Target

    Raises
    ------
    ValueError
        If the column is missing, labels are empty or no numbers, or a fold does not
        pass ``probe_inputs.check_targets``.
    """
    if kind not in KINDS:
        raise ValueError(f"kind={kind!r}: expected one of {', '.join(KINDS)}")
    names = column_of(data.manifest, label)
    used = np.zeros(len(names), bool)
    for fold in data.folds:
        used[np.concatenate(fold[1:])] = True
    known = np.array([name.lower() not in _UNLABELED for name in names])
    missing = np.flatnonzero(used & ~known)
    if len(missing) and not leave_out_unlabeled:
        raise ValueError(
            f"{len(missing)} of {used.sum()} utterances have no {label}, such as "
            f"{data.manifest.ids[int(missing[0])]!r}: complete the manifest, or set "
            "leave_out_unlabeled: True"
        )
    folds = [
        Fold(fold.name, *(rows[known[rows]] for rows in fold[1:]))
        for fold in data.folds
    ]
    used &= known
    if kind == "numbers" or (kind == "auto" and _numeric(label, names[used])):
        classes, values = [], np.full(len(names), np.nan)
        values[used] = _parsed(label, names, used, data.manifest.ids)
    else:
        classes, found = np.unique(names[used].astype(str), return_inverse=True)
        classes, values = classes.tolist(), np.full(len(names), -1)
        values[used] = found
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
