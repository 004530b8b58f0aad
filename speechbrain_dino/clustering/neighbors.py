"""Nearest points by inner product, exact, and sums by label: faiss and scipy do it."""

import faiss
import numpy as np
from scipy.sparse import csr_matrix

from speechbrain_dino.utils.progress import progress

_ROWS = 65_536  # between two looks at the progress; faiss blocks within


def nearest(queries, points, k=1, desc=None):
    """The points with the largest inner products, for every query.

    Arguments
    ---------
    queries : numpy.ndarray, shape (Q, D)
        float32.
    points : numpy.ndarray, shape (P, D)
        float32.
    k : int
        How many points to find, at most P.
    desc : str, optional
        What is being done, to show progress.

    Returns
    -------
    products : numpy.ndarray, shape (Q, k)
        float32, falling along each row.
    numbers : numpy.ndarray, shape (Q, k)
        int64, rows of ``points``.

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
    """The rows of each label, one label after the other.

    Arguments
    ---------
    labels : int array, shape (N,)
        0 to ``number`` - 1.
    number : int
        Number of labels K.

    Returns
    -------
    rows : numpy.ndarray, shape (N,)
        int64; those of label k are ``rows[first[k] : first[k + 1]]``, rising.
    first : numpy.ndarray, shape (K + 1,)
        int64.

    Example
    -------
    >>> rows, first = members(np.array([1, 0, 1]), 2)
    >>> rows.tolist(), first.tolist()
    ([1, 0, 2], [0, 1, 3])
    """
    counts = np.bincount(labels, minlength=number)
    return np.argsort(labels, kind="stable"), np.append(0, np.cumsum(counts))


def sum_rows(vectors, labels, number):
    """Sums of the rows of each label, a zero row where a label has none.

    Arguments
    ---------
    vectors : numpy.ndarray, shape (N, D)
        float32 or float64; the sums have the same type.
    labels : int array, shape (N,)
        0 to ``number`` - 1.
    number : int
        Number of labels K.

    Returns
    -------
    numpy.ndarray, shape (K, D)

    Example
    -------
    >>> sum_rows(np.array([[1.0], [2.0], [4.0]]), np.array([2, 0, 2]), 3).tolist()
    [[2.0], [0.0], [5.0]]
    """
    rows, first = members(labels, number)
    ones = np.ones(len(rows), dtype=vectors.dtype)
    return csr_matrix((ones, rows, first), shape=(number, len(rows))) @ vectors


def scaled_to_unit(vectors):
    """Rows of length 1; rows of zeros stay.

    Arguments
    ---------
    vectors : numpy.ndarray, shape (N, D)
        Floating point.

    Returns
    -------
    numpy.ndarray, shape (N, D)
        float32.

    Example
    -------
    >>> scaled_to_unit(np.array([[0.0, 2.0], [0.0, 0.0]])).tolist()
    [[0.0, 1.0], [0.0, 0.0]]
    """
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.where(length > 0, length, 1)).astype(np.float32)
