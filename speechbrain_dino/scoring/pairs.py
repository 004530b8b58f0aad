"""Arithmetic on the rows that trials pair."""

import numpy as np
import torch

# Floats in one intermediate matrix: small enough to stay in cache-sized pieces
# and below the size at which the C library hands memory back after every use.
BLOCK = 4_000_000


def compact(enrol, test):
    """Row numbers (U,) that trials use, rising, and where each side's (M,) stand there.

    Example
    -------
    >>> used, (enrol, test) = compact([7, 2], [2, 9])
    >>> used.tolist(), enrol.tolist(), test.tolist()
    ([2, 7, 9], [1, 0], [0, 2])
    """
    enrol, test = np.asarray(enrol, np.int64), np.asarray(test, np.int64)
    present = np.zeros(1 + max(enrol.max(initial=0), test.max(initial=0)), dtype=bool)
    present[enrol] = present[test] = True
    position_of = np.cumsum(present) - 1
    return np.flatnonzero(present), (position_of[enrol], position_of[test])


def unit_rows(vectors, rows=slice(None), name="vectors", keep_zeros=False):
    """Chosen rows of vectors (N, D), scaled to length 1, float32 (U, D).

    Raises ValueError, naming the row of ``name``, if one is not finite, or zero:
    ``keep_zeros`` leaves zeros, such as sums of empty clusters, as they are.

    Example
    -------
    >>> unit_rows([[0.0, 2.0], [0.0, 0.0]], keep_zeros=True).tolist()
    [[0.0, 1.0], [0.0, 0.0]]
    """
    chosen = np.asarray(np.asarray(vectors)[rows], dtype=np.float32)
    length = np.linalg.norm(chosen, axis=1, keepdims=True)
    bad = np.flatnonzero(~np.isfinite(length) | ((length == 0) & (not keep_zeros)))
    if len(bad):
        raise ValueError(
            f"{len(bad)} of {len(chosen)} rows of {name} are zero or not finite "
            f"(first: row {np.arange(len(vectors))[rows][bad[0]]}), their cosine is "
            "not defined"
        )
    return chosen / np.where(length > 0, length, 1)


def row_products(left, right, enrol, test):
    """Inner products ``left[enrol] . right[test]`` of tensors (U, D), float32 (M,)."""
    enrol, test = torch.as_tensor(enrol), torch.as_tensor(test)
    products = torch.empty(len(enrol))
    block = max(1, BLOCK // left.shape[1])
    for start in range(0, len(enrol), block):
        part = slice(start, start + block)
        products[part] = (left[enrol[part]] * right[test[part]]).sum(dim=1)
    return products.numpy()
