"""Folds with disjoint speakers, drawn alike for any order of the rows."""

import hashlib

import numpy as np

from speechbrain_dino.fold_files import Fold, check_folds, groups_of


def disjoint_groups(
    manifest,
    group="spk_id",
    sizes=(None, 8, 32),
    strata="gender",
    seed=1234,
    labels=None,
):
    """One fold with disjoint groups in training, validation and test.

    The same for any order of the rows. A group's place depends on the seed and its
    name, so that taking out one group moves few others.

    Arguments
    ---------
    manifest : Manifest
        The utterances.
    group : str
        Column of the groups.
    sizes : sequence
        For training, validation and test: how many groups (int), one of them None
        for all the others; or which share of the groups (three floats, sum 1).
    strata : str, optional
        Column, such as the sex, whose shares are made alike, up to one group in
        each part.
    seed : int
        Another seed gives another division.
    labels : sequence of str, optional
        The classes; those in the manifest if None.

    Returns
    -------
    list of Fold
        One, named "disjoint".

    Raises
    ------
    ValueError
        If the sizes do not suit the number of groups, or the fold does not pass
        :func:`check_folds`.
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
    """Folds in which every group is tested on once.

    Arguments
    ---------
    manifest : Manifest
        The utterances.
    group : str
        Column of the groups.
    num_folds : int
        Number of folds.
    valid : int
        Number of groups to validate on, the first of those tested in the next fold.
    strata, seed, labels
        As in :func:`disjoint_groups`.

    Returns
    -------
    list of Fold
        Named "fold1" and so on.

    Raises
    ------
    ValueError
        If there are too few groups, or a fold does not pass :func:`check_folds`.
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
