"""Moves of misplaced means: two clusters become one, another is divided.

The objective of spherical k-means is the sum over clusters of |S|, S being the sum of
the cluster's points. Dividing a cluster in A and B gains |A| + |B| - |A + B|, making
one of A and B costs the same. A division and a union that gains more than it costs
raise the objective, whatever Lloyd's iterations make of it afterwards.
"""

import numpy as np
import torch

from speechbrain_dino.neighbours import scaled_to_unit, sum_rows
from speechbrain_dino.pairs import row_products

_ITERATIONS = 3  # of two-means within each cluster
_GAIN = 1e-5  # of a division, as a share of |S|: less is rounding


def move_means(points, labels, sums, near):
    """Takes means from where they cost little to where they gain more, all at once.

    Every cluster takes part in one move at most.

    Arguments
    ---------
    points : numpy.ndarray, shape (N, D)
        float32, rows of length 1.
    labels : numpy.ndarray, shape (N,)
        int64.
    sums : numpy.ndarray, shape (K, D)
        float32, sums of the clusters' points; zero for one without points.
    near : numpy.ndarray, shape (K, n)
        int64, for each cluster those that it may be united with; itself is ignored.

    Returns
    -------
    labels : numpy.ndarray, shape (N,)
        int64; the objective has risen with every move.
    moved : int
        Number of moves.
    """
    number = len(sums)
    side, gain = _halves(points, labels, sums)
    partner, cost = _unions(sums, near)
    divided, freed = _matched(gain, cost, partner)
    united = np.arange(number)
    united[freed] = partner[freed]
    half = np.full(number, -1)
    half[divided] = freed
    moving = side & (half[labels] >= 0)
    return np.where(moving, half[labels], united[labels]), len(freed)


def fill_empty(points, labels, number):
    """Divides clusters until none is empty, those first that gain most.

    Arguments
    ---------
    points : numpy.ndarray, shape (N, D)
        float32, rows of length 1.
    labels : numpy.ndarray, shape (N,)
        int64, 0 to ``number`` - 1.
    number : int
        Number of clusters K.

    Returns
    -------
    numpy.ndarray, shape (N,)
        int64; each of 0 to ``number`` - 1 occurs.

    Raises
    ------
    ValueError
        If there are fewer different points than clusters.

    Example
    -------
    >>> points = np.eye(3, dtype=np.float32)
    >>> sorted(fill_empty(points, np.zeros(3, dtype=np.int64), 3).tolist())
    [0, 1, 2]
    """
    while True:
        empty = np.flatnonzero(np.bincount(labels, minlength=number) == 0)
        if not len(empty):
            return labels
        side, gain = _halves(points, labels, sum_rows(points, labels, number))
        divided = np.argsort(-gain, kind="stable")[: len(empty)]
        divided = divided[gain[divided] > 0]
        if not len(divided):
            raise ValueError(
                f"{number} clusters were asked for, and the {len(points)} embeddings "
                f"are only {number - len(empty)} different ones: ask for fewer, or "
                "look why so many are equal"
            )
        half = np.full(number, -1)
        half[divided] = empty[: len(divided)]
        labels = np.where(side & (half[labels] >= 0), half[labels], labels)


def _halves(points, labels, sums):
    """Two-means within every cluster: points of the other half (N,), gain (K,)."""
    number = len(sums)
    points_ = torch.from_numpy(points)
    # From the point farthest from the mean, and the one farthest from that.
    one = points[_farthest(points_, labels, scaled_to_unit(sums))]
    other = points[_farthest(points_, labels, one)]
    rows = np.arange(len(points))
    for _ in range(_ITERATIONS):
        between = torch.from_numpy(one - other)
        side = row_products(points_, between, rows, labels) > 0
        halves = sum_rows(points, 2 * labels + side, 2 * number)
        one, other = scaled_to_unit(halves[1::2]), scaled_to_unit(halves[::2])
    lengths = np.linalg.norm(halves, axis=1).reshape(number, 2).sum(axis=1)
    whole = np.linalg.norm(sums, axis=1)
    gain = lengths - whole
    filled = np.bincount(2 * labels + side, minlength=2 * number).reshape(number, 2)
    real = (gain > _GAIN * np.maximum(whole, 1)) & (filled > 0).all(axis=1)
    return side, np.where(real, gain, 0)


def _farthest(points, labels, directions):
    """Of each cluster the row least in a direction; row 0 where there is none."""
    products = row_products(
        points, torch.from_numpy(directions), np.arange(len(points)), labels
    )
    order = np.lexsort((products, labels))
    found = np.zeros(len(directions), dtype=np.int64)
    present, first = np.unique(labels[order], return_index=True)
    found[present] = order[first]
    return found


def _unions(sums, near):
    """For each cluster the cheapest other to be united with (K,), and the cost (K,)."""
    square = np.einsum("kd,kd->k", sums, sums)
    # In blocks: near clusters' sums are n times the memory of the sums.
    products = np.empty(near.shape, dtype=np.float32)
    for start in range(0, len(near), 4096):
        part = slice(start, start + 4096)
        products[part] = np.einsum("kd,knd->kn", sums[part], sums[near[part]])
    both = np.maximum(square[:, None] + square[near] + 2 * products, 0)
    cost = np.sqrt(square)[:, None] + np.sqrt(square[near]) - np.sqrt(both)
    cost[near == np.arange(len(near))[:, None]] = np.inf
    best = cost.argmin(axis=1)
    rows = np.arange(len(near))
    return near[rows, best], np.maximum(cost[rows, best], 0)


def _matched(gain, cost, partner):
    """Pairs the best divisions with the cheapest unions while that gains."""
    order = np.argsort(-gain, kind="stable")
    used = np.zeros(len(gain), dtype=bool)
    divided, freed, place = [], [], 0
    for cluster in np.argsort(cost, kind="stable"):
        other = partner[cluster]
        if used[cluster] or used[other]:
            continue
        while place < len(order) and used[order[place]]:
            place += 1
        best = place
        while best < len(order) and (
            used[order[best]] or order[best] in (cluster, other)
        ):
            best += 1
        if best == len(order) or gain[order[best]] <= cost[cluster]:
            break
        used[[cluster, other, order[best]]] = True
        divided.append(order[best])
        freed.append(cluster)
    return np.array(divided, dtype=np.int64), np.array(freed, dtype=np.int64)
