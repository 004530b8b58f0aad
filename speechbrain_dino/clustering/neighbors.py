"""Nearest points by inner product, exact, and sums by label: faiss and scipy do it."""

import faiss
import numpy as np
from scipy.sparse import csr_matrix

from speechbrain_dino.utils.progress import progress

_ROWS = 65_536  # between two looks at the progress; faiss blocks within


def nearest(queries, points, k=1, desc=None):
    """The k points with the largest inner products, for every query.

    Returns products, float32 (Q, k), falling, and rows of ``points``, int64 (Q, k).
    Queries (Q, D) and points (P, D) are float32; ``desc`` shows progress.

    Example
    -------
    >>> points = np.eye(3, dtype=np.float32)
    >>> nearest(points[1:] + 0.5, points, k=1)[1].tolist()
    [[1], [2]]
    """
    points = np.ascontiguousarray(points)
    products = np.empty((len(queries), k), dtype=np.float32)
    numbers = np.empty((len(queries), k), dtype=np.int64)
    starts = range(0, len(queries), _ROWS)
    for start in starts if desc is None else progress(starts, desc=desc, unit="blocks"):
        part = slice(start, start + _ROWS)
        products[part], numbers[part] = faiss.knn(
            np.ascontiguousarray(queries[part]),
            points,
            k,
            metric=faiss.METRIC_INNER_PRODUCT,
        )
    return products, numbers


def members(labels, number):
    """The rows (N,) of each of K labels, label by label, and where they begin (K + 1,).

    Those of label k are ``rows[first[k] : first[k + 1]]``, rising.

    Example
    -------
    >>> rows, first = members(np.array([1, 0, 1]), 2)
    >>> rows.tolist(), first.tolist()
    ([1, 0, 2], [0, 1, 3])
    """
    counts = np.bincount(labels, minlength=number)
    return np.argsort(labels, kind="stable"), np.append(0, np.cumsum(counts))


def sum_rows(vectors, labels, number):
    """Sums (K, D) of the vectors (N, D) of each label, zero where a label has none.

    Example
    -------
    >>> sum_rows(np.array([[1.0], [2.0], [4.0]]), np.array([2, 0, 2]), 3).tolist()
    [[2.0], [0.0], [5.0]]
    """
    rows, first = members(labels, number)
    ones = np.ones(len(rows), dtype=vectors.dtype)
    return csr_matrix((ones, rows, first), shape=(number, len(rows))) @ vectors
