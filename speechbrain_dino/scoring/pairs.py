"""Arithmetic on the rows that trials pair."""

import numpy as np
import torch

# Floats in one intermediate matrix: small enough to stay in cache-sized pieces
# and below the size at which the C library hands memory back after every use.
BLOCK = 4_000_000


def compact(enrol, test):
    """Numbers the rows that trials use from 0.

    Arguments
    ---------
    enrol : array, shape (M,)
        Row numbers of the enrollment utterances.
    test : array, shape (M,)
        Row numbers of the test utterances.

    Returns
    -------
    used : numpy.ndarray, shape (U,)
        Row numbers that occur, rising.
    places : tuple of two numpy.ndarray, shape (M,)
        Where each side's row stands in ``used``.

    Example
    -------
    >>> used, (enrol, test) = compact([7, 2], [2, 9])
    >>> used.tolist(), enrol.tolist(), test.tolist()
    ([2, 7, 9], [1, 0], [0, 2])
    """
    enrol, test = np.asarray(enrol, np.int64), np.asarray(test, np.int64)
    present = np.zeros(1 + max(enrol.max(initial=0), test.max(initial=0)), dtype=bool)
    present[enrol] = present[test] = True
    place_of = np.cumsum(present) - 1
    return np.flatnonzero(present), (place_of[enrol], place_of[test])


def unit_rows(vectors, rows, name):
    """Some rows of a matrix, scaled to length 1.

    Arguments
    ---------
    vectors : array or torch.Tensor, shape (N, D)
        One embedding a row.
    rows : array or slice
        The rows wanted; no others are looked at.
    name : str
        What the matrix is, for the message.

    Returns
    -------
    torch.Tensor, shape (U, D)
        float32.

    Raises
    ------
    ValueError
        If a wanted row is zero or not finite; the message names the row.
    """
    chosen = np.asarray(np.asarray(vectors)[rows], dtype=np.float32)
    length = np.linalg.norm(chosen, axis=1, keepdims=True)
    bad = np.flatnonzero(~(np.isfinite(length) & (length > 0)))
    if len(bad):
        raise ValueError(
            f"{len(bad)} of {len(chosen)} rows of {name} are zero or not finite "
            f"(first: row {np.arange(len(vectors))[rows][bad[0]]}), their cosine is "
            "not defined"
        )
    return torch.from_numpy(chosen / length)


def row_products(left, right, enrol, test):
    """Inner products of the two rows of each trial.

    Arguments
    ---------
    left : torch.Tensor, shape (U, D)
        Vectors of the enrollment side.
    right : torch.Tensor, shape (U, D)
        Vectors of the test side.
    enrol : array, shape (M,)
        Rows of ``left``.
    test : array, shape (M,)
        Rows of ``right``.

    Returns
    -------
    numpy.ndarray, shape (M,)
        float32.
    """
    enrol, test = torch.as_tensor(enrol), torch.as_tensor(test)
    products = torch.empty(len(enrol))
    block = max(1, BLOCK // left.shape[1])
    for start in range(0, len(enrol), block):
        part = slice(start, start + block)
        products[part] = (left[enrol[part]] * right[test[part]]).sum(dim=1)
    return products.numpy()
