"""Means of embeddings: of a cohort, and of each speaker or cluster."""

import numpy as np
from scipy.sparse import csr_matrix


def subtract_mean(embeddings, cohort):
    """Returns embeddings (N, D) less the mean of a cohort (C, D), float32.

    ValueError if the dimensions differ or the cohort is empty.

    Example
    -------
    >>> subtract_mean([[1.0, 2.0]], [[0.0, 1.0], [2.0, 1.0]]).tolist()
    [[0.0, 1.0]]
    """
    embeddings, cohort = np.asarray(embeddings), np.asarray(cohort)
    if len(cohort) == 0 or cohort.shape[1:] != embeddings.shape[1:]:
        raise ValueError(
            f"a cohort of shape {cohort.shape} does not fit embeddings of shape "
            f"{embeddings.shape}: take one of at least one row from the same model"
        )
    mean = np.mean(cohort, axis=0, dtype=np.float64)
    return np.subtract(embeddings, mean, dtype=np.float32, casting="unsafe")


def average_by_label(embeddings, labels):
    """Returns means (S, D), float32, of embeddings (N, D) per label, and labels (S,).

    Labels (N,) name the speaker or cluster of each row; returned are the distinct ones,
    sorted. ValueError if the numbers of rows and labels differ.

    Example
    -------
    >>> means, names = average_by_label([[1.0], [3.0], [5.0]], ["b", "a", "b"])
    >>> means.tolist(), names.tolist()
    ([[3.0], [3.0]], ['a', 'b'])
    """
    sums, names, counts = sum_by_label(embeddings, labels)
    return (sums / counts[:, None]).astype(np.float32), names


def sum_by_label(embeddings, labels):
    """As `average_by_label`, but sums (S, D), float64, and the counts (S,) last."""
    embeddings = np.asarray(embeddings)
    if len(embeddings) != len(labels) or len(labels) == 0:
        raise ValueError(
            f"{len(labels)} labels do not fit {len(embeddings)} embeddings: one label "
            "a row is needed"
        )
    names, label, counts = np.unique(labels, return_inverse=True, return_counts=True)
    ones, columns = np.ones(len(label)), np.arange(len(label))
    return csr_matrix((ones, (label, columns))) @ embeddings, names, counts
