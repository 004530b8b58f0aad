"""Makes folds of a manifest in which no group is both learned from and tested on."""

import hashlib

import numpy as np

from speechbrain_dino.data.folds import (
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
    """One fold per group, which is its test set, in rising order.

    Validated is on one value of another column, by which the rest is judged: the
    test group's own where that has other rows as well (group speaker, valid session:
    the other speakers of the session), else of the next group, in rising order and
    from the last on to the first; of several values in that group, fold by fold
    another one in turn.

    Arguments
    ---------
    manifest : Manifest
        The utterances.
    group, valid : str
        Columns of the groups, and of the value that is held out for validation.
    labels : sequence of str, optional
        The classes; those in the manifest if None.

    Raises
    ------
    ValueError
        If there are too few groups, or a fold does not pass :func:`check_folds`.

    Example
    -------
    >>> from speechbrain_dino.data.manifest import Manifest
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
    """The partitions that come with a corpus, one fold per test set, named as it.

    Arguments
    ---------
    column : str
        Column that names the partition.
    train, valid, tests : str, str, sequence of str
        Partitions to train and to validate on, the same in all folds, and to test on.
    shared_speakers : str
        What to do with a speaker in two partitions: "error", or "leave_out": test
        sets stay whole, their speakers leave the others, then those of validation
        leave training.

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
    learned, validated = partition == train, partition == valid
    tested = np.isin(partition, tests)
    if shared_speakers == "leave_out":
        speakers = groups_of(manifest)
        validated &= ~np.isin(speakers, speakers[tested])
        learned &= ~np.isin(speakers, speakers[tested | validated])
    folds = [
        Fold.of_masks(name, learned, validated, partition == name) for name in tests
    ]
    return check_folds(folds, manifest, labels=labels)


def disjoint_groups(
    manifest,
    group="spk_id",
    sizes=(None, 8, 32),
    strata="gender",
    seed=1234,
    labels=None,
):
    """One fold, "disjoint", with disjoint groups in training, validation and test.

    The same for any order of the rows. A group's place depends on the seed and its
    name, so that taking out one group moves few others.

    Arguments
    ---------
    group : str
        Column of the groups.
    sizes : sequence
        For training, validation and test: how many groups (int), one of them None
        for all the others; or which share of the groups (three floats, sum 1).
    strata : str, optional
        Column, such as the sex, whose shares become alike, up to one group per part.

    Raises
    ------
    ValueError
        If sizes do not suit the groups, or the fold does not pass :func:`check_folds`.
    """
    groups = groups_of(manifest, group)
    order = _even_order(manifest, groups, strata, seed)
    _, valid, test = _counts(sizes, len(order), group)
    tested, validated = order[:test], order[test : test + valid]
    fold = _fold_of_groups("disjoint", groups, validated, tested)
    return check_folds([fold], manifest, group, labels)


def group_kfold(
    manifest,
    group="spk_id",
    num_folds=5,
    valid=1,
    strata="gender",
    seed=1234,
    labels=None,
):
    """Folds "fold1" and so on, in which every group is tested on once.

    ``valid`` is the number of groups to validate on, the first of those tested in the
    next fold; other arguments as in :func:`disjoint_groups`. Raises ValueError if there
    are too few groups, or a fold does not pass :func:`check_folds`.
    """
    groups = groups_of(manifest, group)
    order = _even_order(manifest, groups, strata, seed)
    largest = -(-len(order) // num_folds) if num_folds > 0 else 0
    if not 2 <= num_folds <= len(order) or not 0 < valid < len(order) - largest:
        raise ValueError(
            f"num_folds={num_folds} with {valid} of {group} to validate on: there are "
            f"{len(order)}, and some of them must be left to train on"
        )
    edges = [k * len(order) // num_folds for k in range(num_folds + 1)]
    folds = []
    for k in range(num_folds):
        ring = order[edges[k + 1] :] + order[: edges[k]]
        tested = order[edges[k] : edges[k + 1]]
        folds.append(_fold_of_groups(f"fold{k + 1}", groups, ring[:valid], tested))
    return check_folds(folds, manifest, group, labels)


def _fold_of_groups(name, groups, validated, tested):
    valid, test = np.isin(groups, validated), np.isin(groups, tested)
    return Fold.of_masks(name, ~valid & ~test, valid, test)


def _even_order(manifest, groups, strata, seed):
    """Groups in an order drawn by name, each stretch of which has all strata."""
    stratum = {}
    kinds = manifest.column(strata) if strata else [""] * len(groups)
    for name, kind in zip(groups, kinds):
        if stratum.setdefault(name, kind) != kind:
            raise ValueError(
                f"{name!r} has the {strata} {stratum[name]!r} in one row and {kind!r} "
                "in another: give it one, or strata=None"
            )
    members = {}
    for name in sorted(stratum, key=lambda name: _draw(seed, name)):
        members.setdefault(stratum[name], []).append(name)
    places = [
        ((k + 0.5) / len(names), kind, name)
        for kind, names in members.items()
        for k, name in enumerate(names)
    ]
    return [name for _, _, name in sorted(places)]


def _draw(seed, name):
    return hashlib.blake2b(f"{seed} {name}".encode(), digest_size=8).digest()


def _counts(sizes, total, group):
    if all(isinstance(size, float) for size in sizes) and abs(sum(sizes) - 1) < 1e-6:
        edges = [round(total * sum(sizes[k:])) for k in range(4)]
        counts = [edges[k] - edges[k + 1] for k in range(3)]
    else:
        rest = total - sum(size for size in sizes if size is not None)
        counts = [rest if size is None else size for size in sizes]
    whole = all(isinstance(count, int) and count > 0 for count in counts)
    if len(counts) != 3 or not whole or sum(counts) != total:
        raise ValueError(
            f"sizes {list(sizes)} for training, validation and test do not suit "
            f"{total} different {group}: give numbers above 0 whose sum is {total}, "
            "one of them null for all the others, or three shares whose sum is 1.0"
        )
    return counts
