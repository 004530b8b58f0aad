"""What a probe is given: checked, standardized, normalized by speaker."""

from typing import NamedTuple

import numpy as np

_ROWS = 1 << 14  # of which a copy in double precision may be made


def is_number(targets):
    """Whether targets are numbers to predict; whole numbers are classes."""
    return np.issubdtype(np.asarray(targets).dtype, np.floating)


class Standardizer(NamedTuple):
    """Takes the mean off and divides by the deviation.

    Arguments
    ---------
    mean, deviation : numpy.ndarray
        float32 (D,); the deviation is 1 where nothing varies.

    Example
    -------
    >>> vectors = np.array([[1.0, 5.0], [3.0, 5.0], [9.0, 9.0]], np.float32)
    >>> Standardizer.of(vectors, [0, 1])(vectors, [2]).tolist()
    [[7.0, 4.0]]
    """

    mean: np.ndarray
    deviation: np.ndarray

    @classmethod
    def of(cls, vectors, rows):
        """Mean and deviation of some rows of vectors (N, D)."""
        rows = np.asarray(rows)
        parts = [rows[lo : lo + _ROWS] for lo in range(0, len(rows), _ROWS)]
        mean = sum(vectors[part].sum(0, dtype=np.float64) for part in parts) / len(rows)
        squares = sum(((vectors[part] - mean) ** 2).sum(axis=0) for part in parts)
        deviation = np.sqrt(squares / len(rows))
        # What varies by rounding alone would be blown up.
        deviation[deviation <= 1e-6 * np.abs(mean)] = 1.0
        return cls(mean.astype(np.float32), deviation.astype(np.float32))

    def __call__(self, vectors, rows):
        """Some rows of vectors (N, D), standardized (n, D), as float32."""
        chosen = np.array(vectors[rows], dtype=np.float32)
        chosen -= self.mean
        chosen /= self.deviation
        return chosen


def normalize_speakers(vectors, speakers):
    """Takes each speaker's mean off and divides by the speaker's deviation.

    Arguments
    ---------
    vectors : array, shape (N, D)
        Embeddings.
    speakers : array, shape (N,)
        Names; every utterance of a speaker takes part, tested or not.

    Returns
    -------
    numpy.ndarray, shape (N, D)
        float32.

    Raises
    ------
    ValueError
        If the speakers are not known.

    Example
    -------
    >>> vectors = np.array([[1.0], [3.0], [10.0], [30.0]], np.float32)
    >>> normalize_speakers(vectors, list("aabb")).ravel().tolist()
    [-1.0, 1.0, -1.0, 1.0]
    """
    if speakers is None:
        raise ValueError(
            "speaker_norm wants the speaker of each utterance: give a manifest with "
            "the column spk_id, or set speaker_norm: False"
        )
    found = np.empty(vectors.shape, dtype=np.float32)
    _, number = np.unique(speakers, return_inverse=True)
    order = np.argsort(number, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(number[order])) + 1):
        found[rows] = Standardizer.of(vectors, rows)(vectors, rows)
    return found


def check_vectors(vectors, number):
    """Makes sure that there is a finite embedding for every label.

    Arguments
    ---------
    vectors : array, shape (N, D)
        Embeddings.
    number : int
        Number of labels.

    Raises
    ------
    ValueError
        If there is not.
    """
    if np.ndim(vectors) != 2 or len(vectors) != number:
        raise ValueError(
            f"embeddings of shape {np.shape(vectors)} do not fit {number} labels: a "
            "row each is needed"
        )
    bad = [
        lo + np.flatnonzero(~np.isfinite(vectors[lo : lo + _ROWS]).all(axis=1))
        for lo in range(0, len(vectors), _ROWS)
    ]
    bad = np.concatenate(bad)
    if len(bad):
        raise ValueError(
            f"{len(bad)} of {number} embeddings are not finite, the first in row "
            f"{bad[0]}: embed again"
        )


def check_targets(targets, folds, classes=None):
    """Makes sure that these labels can be learnt and tested in these folds.

    Arguments
    ---------
    targets : array, shape (N,)
        Classes (whole numbers) or numbers to predict (float).
    folds : sequence of speechbrain_dino.data.folds.Fold
        Rows of them.
    classes : sequence of str, optional
        Names of the classes, for the messages.

    Raises
    ------
    ValueError
        If there is no fold, a part is empty, parts overlap, a number is not finite,
        a training part has fewer than two classes, or a class of a test part is not
        in its training part.
    """
    if not len(folds):
        raise ValueError("there is no fold: nothing could be learnt and tested")
    for fold in folds:
        name = f"fold {fold.name!r}"
        _check_rows(name, fold, len(targets))
        if is_number(targets):
            used = targets[np.concatenate(fold[1:])]
            if not np.isfinite(used).all():
                raise ValueError(
                    f"{name}: {(~np.isfinite(used)).sum()} of {len(used)} numbers to "
                    "predict are not finite"
                )
        else:
            _check_classes(name, fold, targets, classes)


def _check_rows(name, fold, number):
    for part in ("train", "test"):
        if not len(getattr(fold, part)):
            raise ValueError(f"{name}: the {part} part is empty")
    rows, times = np.unique(np.concatenate(fold[1:]), return_counts=True)
    if rows[0] < 0 or rows[-1] >= number:
        raise ValueError(f"{name}: rows {rows[0]} to {rows[-1]} of {number} utterances")
    if times.max() > 1:
        raise ValueError(
            f"{name}: row {rows[np.argmax(times)]} is there {times.max()} times: what "
            "was learnt from must not be tested on"
        )


def _check_classes(name, fold, targets, classes):
    learnt = np.unique(targets[fold.train])
    if len(learnt) < 2:
        raise ValueError(
            f"{name}: all {len(fold.train)} training utterances are of one class, a "
            "classifier needs two or more"
        )
    unknown = np.setdiff1d(targets[fold.test], learnt)
    if len(unknown):
        first = unknown[0] if classes is None else classes[unknown[0]]
        raise ValueError(
            f"{name}: {len(unknown)} classes are tested that no training utterance "
            f"has, such as {str(first)!r}: leave them out, or divide anew"
        )
