"""Inputs of a probe: checked, standardized, normalized by speaker."""

import numpy as np
from sklearn.preprocessing import StandardScaler

_ROWS = 1 << 14  # of which a copy in double precision may be made


def is_number(targets):
    """Whether targets are numbers to predict; whole numbers are classes."""
    return np.issubdtype(np.asarray(targets).dtype, np.floating)


def standardizer(vectors, rows):
    """scikit-learn's StandardScaler of some rows of vectors (N, D), block by block.

    Example
    -------
    >>> vectors = np.array([[1.0, 5.0], [3.0, 5.0], [9.0, 9.0]], np.float32)
    >>> standardizer(vectors, [0, 1]).transform(vectors[[2]]).tolist()
    [[7.0, 4.0]]
    """
    scaler = StandardScaler()
    for start in range(0, len(rows), _ROWS):
        scaler.partial_fit(vectors[rows[start : start + _ROWS]])
    # scikit-learn scales up what varies by the rounding of float32 alone.
    scaler.scale_[scaler.scale_ <= 1e-6 * np.abs(scaler.mean_)] = 1.0
    return scaler


def standardized(scaler, vectors, rows):
    """Some rows of vectors (N, D), standardized, float32 (n, D)."""
    return scaler.transform(np.asarray(vectors[rows], dtype=np.float32))


def normalize_speakers(vectors, speakers):
    """Standardizes vectors (N, D) by the statistics of each one's speaker, float32.

    Every utterance of a speaker takes part, tested or not. Raises ValueError if
    ``speakers`` (N,) is None.

    Example
    -------
    >>> vectors = np.array([[1.0], [3.0], [10.0], [30.0]], np.float32)
    >>> normalize_speakers(vectors, list("aabb")).ravel().tolist()
    [-1.0, 1.0, -1.0, 1.0]
    """
    if speakers is None:
        raise ValueError(
            "speaker_norm needs the speaker of each utterance: give a manifest with "
            "the column spk_id, or set speaker_norm: False"
        )
    normalized = np.empty(vectors.shape, dtype=np.float32)
    _, number = np.unique(speakers, return_inverse=True)
    order = np.argsort(number, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(number[order])) + 1):
        normalized[rows] = standardized(standardizer(vectors, rows), vectors, rows)
    return normalized


def check_vectors(vectors, number):
    """Raises ValueError unless vectors (N, D) are finite and as many as labels."""
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
    """Makes sure that these labels can be learned and tested in these folds.

    Targets (N,) are classes (whole numbers, ``classes`` their names) or float numbers
    to predict. Raises ValueError if there is no fold, a part is empty, parts overlap, a
    number is not finite, a training part has fewer than two classes, or a class of a
    test part is not in its training part.
    """
    if not len(folds):
        raise ValueError("there is no fold: nothing could be learned and tested")
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
            "was learned from must not be tested on"
        )


def _check_classes(name, fold, targets, classes):
    learned = np.unique(targets[fold.train])
    if len(learned) < 2:
        raise ValueError(
            f"{name}: all {len(fold.train)} training utterances are of one class, a "
            "classifier needs two or more"
        )
    unknown = np.setdiff1d(targets[fold.test], learned)
    if len(unknown):
        first = unknown[0] if classes is None else classes[unknown[0]]
        raise ValueError(
            f"{name}: {len(unknown)} classes are tested that no training utterance "
            f"has, such as {str(first)!r}: leave them out, or divide again"
        )
