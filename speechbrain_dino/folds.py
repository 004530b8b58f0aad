"""Makes folds of a manifest in which nobody is both learnt from and tested on."""

import numpy as np

from speechbrain_dino.disjoint_folds import disjoint_groups, group_kfold
from speechbrain_dino.fold_files import (
    PARTS,
    Fold,
    check_folds,
    groups_of,
    read_folds,
    write_folds,
)

__all__ = [
    "PARTS",
    "Fold",
    "check_folds",
    "disjoint_groups",
    "group_kfold",
    "groups_of",
    "leave_one_group_out",
    "official",
    "read_folds",
    "write_folds",
]


def leave_one_group_out(manifest, group="session", valid="spk_id", labels=None):
    """One fold per group, which is its test set.

    Validated is on one value of another column, by which the rest is judged: the
    test group's own where that has other rows as well (group speaker, valid session:
    the other speakers of the session), else of the next group, in rising order and
    from the last on to the first; of several values in that group, fold by fold
    another one in turn.

    Arguments
    ---------
    manifest : Manifest
        The utterances.
    group : str
        Column of the groups.
    valid : str
        Column of which one value is held out for validation.
    labels : sequence of str, optional
        The classes; those in the manifest if None.

    Returns
    -------
    list of Fold
        In rising order of the groups.

    Raises
    ------
    ValueError
        If there are too few groups, or a fold does not pass :func:`check_folds`.

    Example
    -------
    >>> from speechbrain_dino.manifest import Manifest
    >>> row = dict(duration=1.0, wav="/c/a.wav", start=0, stop=16000, emotion="sad")
    >>> rows = [dict(row, ID=s + g, spk_id=s + g, s=s) for s in "123" for g in "fm"]
    >>> for fold in leave_one_group_out(Manifest.from_rows(rows), "s"):
    ...     print(*fold[1:])
    [3 4 5] [2] [0 1]
    [0 1 4] [5] [2 3]
    [1 2 3] [0] [4 5]
    """
    groups, values = groups_of(manifest, group), groups_of(manifest, valid)
    folds = []
    for number, name in enumerate(sorted(set(groups))):
        test = groups == name
        held_out = _next_value(values, groups, test, number)
        if held_out is None:
            raise ValueError(
                f"all rows have the {group} {name!r}: to leave one {group} out takes "
                "at least three of them"
            )
        held = ~test & (values == held_out)
        folds.append(Fold.of_masks(name, ~test & ~held, held, test))
    return check_folds(folds, manifest, labels=labels)


def _next_value(values, groups, test, number):
    """The value to validate on: see ``leave_one_group_out``."""
    own = min(values[test])
    homes = {}
    for value, home in zip(values[~test], groups[~test]):
        homes.setdefault(value, set()).add(home)
    if not homes:
        return None
    ring = sorted(homes)
    first = next((value for value in ring if value >= own), ring[0])
    beside = [value for value in ring if homes[value] == homes[first]]
    return beside[number % len(beside)]


def official(
    manifest,
    column="partition",
    train="train",
    valid="development",
    tests=("test1",),
    shared_speakers="error",
    labels=None,
):
    """The partitions that come with a corpus, one fold per test set.

    Arguments
    ---------
    manifest : Manifest
        The utterances.
    column : str
        Column that names the partition.
    train, valid : str
        The partitions to train and to validate on, the same in all folds.
    tests : sequence of str
        The partitions to test on.
    shared_speakers : str
        What to do with a speaker in two partitions: "error", or "leave_out": test
        sets stay whole, their speakers leave the others, then those of validation
        leave training.
    labels : sequence of str, optional
        The classes; those in the manifest if None.

    Returns
    -------
    list of Fold
        Named as the test sets.

    Raises
    ------
    ValueError
        If there is no such partition, or a fold does not pass :func:`check_folds`.
    """
    partition = np.array(manifest.column(column), dtype=object)
    tests = [tests] if isinstance(tests, str) else list(tests)
    for name in (train, valid, *tests):
        if name not in partition:
            raise ValueError(
                f"no utterance is in the {column} {name!r}: the manifest has "
                f"{sorted(set(partition))}"
            )
    if shared_speakers not in ("error", "leave_out"):
        raise ValueError(
            f"shared_speakers={shared_speakers!r}: expected 'error' or 'leave_out'"
        )
    learnt, validated = partition == train, partition == valid
    tested = np.isin(partition, tests)
    if shared_speakers == "leave_out":
        speakers = groups_of(manifest)
        validated &= ~np.isin(speakers, speakers[tested])
        learnt &= ~np.isin(speakers, speakers[tested | validated])
    folds = [
        Fold.of_masks(name, learnt, validated, partition == name) for name in tests
    ]
    return check_folds(folds, manifest, labels=labels)
