"""Divisions of a training part, to choose something without the test part."""

import warnings

import numpy as np
from sklearn.model_selection import (
    GroupKFold,
    KFold,
    StratifiedGroupKFold,
    StratifiedKFold,
)

from speechbrain_dino.probing.inputs import is_number


def inner_folds(targets, groups=None, number=3, seed=0):
    """Divides utterances for a cross-validation, classes spread evenly.

    Returns pairs of positions (learned from, held out); each is held out once. Raises
    ValueError if there is only one group.

    Arguments
    ---------
    targets : array, shape (N,)
        Classes (whole numbers) or numbers to predict (float).
    groups : array, shape (N,), optional
        Names; utterances of a group stay together.
    number : int
        Parts, fewer where there are fewer groups.
    seed : int
        Of the division.

    Example
    -------
    >>> parts = inner_folds(np.array([0, 1, 0, 1]), ["a", "a", "b", "b"])
    >>> sorted(held_out.tolist() for _, held_out in parts)
    [[0, 1], [2, 3]]
    """
    targets, of_classes = np.asarray(targets), not is_number(targets)
    if groups is None:
        kind = StratifiedKFold if of_classes else KFold
        parts = kind(min(number, len(targets)), shuffle=True, random_state=seed)
    else:
        number = min(number, len(np.unique(groups)))
        if number < 2:
            raise ValueError(
                f"all {len(targets)} training utterances are of {str(groups[0])!r}: "
                "without a validation part, some of its groups are held out, so that "
                "two or more are needed"
            )
        if of_classes:
            # Its own shuffle spreads classes wrongly up to scikit-learn 1.7.
            parts = StratifiedGroupKFold(number)
            names, groups = np.unique(groups, return_inverse=True)
            groups = np.random.default_rng(seed).permutation(len(names))[groups]
        else:
            parts = GroupKFold(number)
    with warnings.catch_warnings():
        # That a class has fewer utterances than there are parts is no reason to stop.
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        return list(parts.split(targets, targets, groups))
