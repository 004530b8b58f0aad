"""Spherical k-means for tens of thousands of clusters on a few processor cores.

An exact pass, every point against every mean, costs the same as in any other k-means
and is made three times or so. In between, points are compared with the means near their
own one alone, and misplaced means move: two that share a cluster become one, and the
one set free divides a cluster that two would serve better. Such moves lead out of the
optima in which Lloyd's iterations end, so the start matters little: points drawn at
random.
"""

import logging
from typing import NamedTuple

import numpy as np
import torch

from speechbrain_dino.clustering.neighbors import (
    members,
    nearest,
    sum_rows,
)
from speechbrain_dino.scoring.pairs import row_products, unit_rows
from speechbrain_dino.utils.randomness import generator

_ITERATIONS = 3  # of two-means within each cluster
_GAIN = 1e-5  # of a division, as a share of |S|: less is rounding

logger = logging.getLogger(__name__)

_NEAR = 32  # means that a point is compared with between two exact passes
_STEPS = 3  # Lloyd's iterations after each round of moves
_ROUNDS = 20  # of moves between two exact passes, at most


class Means(NamedTuple):
    """The result of k-means."""

    labels: np.ndarray
    """int64 (N,), cluster of each point; every cluster has a point."""
    sums: np.ndarray
    """float32 (K, D), sum of each cluster's points; its direction is the mean."""
    sizes: np.ndarray
    """int64 (K,), points in each cluster."""
    inertia: list
    """Sum over points of the squared distance to their own mean on the unit sphere,
    2 (N - sum of the lengths of ``sums``): after the start, after each series of moves
    and each exact pass, and at the end."""


def fit_kmeans(points, num_clusters, seed=0, tolerance=0.005, max_passes=10):
    """Clusters points (N, D), float32 rows of length 1, by cosine.

    Ends when an exact pass moves a smaller share of the points than ``tolerance``, or
    after ``max_passes`` beyond the first. The same arguments on the same number of
    threads give the same bits. Raises ValueError if ``num_clusters`` is out of 2 to N,
    or more than there are different points.

    Example
    -------
    >>> angles = np.array([0.0, 0.1, 1.5, 1.6])
    >>> points = np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32)
    >>> labels = fit_kmeans(points, 2).labels
    >>> bool(labels[0] == labels[1] != labels[2] == labels[3])
    True
    """
    if not 2 <= num_clusters <= len(points):
        raise ValueError(
            f"{num_clusters} clusters of {len(points)} embeddings: give 2 to "
            f"{len(points)}"
        )
    run = _Run(points, num_clusters)
    rng = generator(seed)
    first = np.sort(rng.choice(len(points), num_clusters, replace=False))
    run.pass_over(points[first], "start")
    for number in range(1, max_passes + 1):
        run.improve(number)
        if run.pass_over(run.means(), f"pass {number}") < tolerance * len(points):
            break
    run.settle(30)
    run.labels = fill_empty(points, run.labels, num_clusters)
    return run.result()


class _Run:
    """The state of a k-means run."""

    def __init__(self, points, number):
        self.points, self.number = points, number
        self.labels = np.full(len(points), -1)
        self.inertia = []

    def sums(self):
        return sum_rows(self.points, self.labels, self.number)

    def means(self):
        return unit_rows(self.sums(), keep_zeros=True)

    def pass_over(self, means, name):
        """Every point against every mean; returns how many changed cluster."""
        desc = f"k-means, {name}: {len(self.points)} points, {self.number} means"
        labels = nearest(self.points, means, desc=desc)[1][:, 0]
        changed = int((labels != self.labels).sum())
        self.labels = labels
        self._note(name if name == "start" else f"{name}, {changed} points changed")
        return changed

    def improve(self, number):
        """Moves means until few moves are left that help."""
        near = self.settle(_STEPS)
        for _ in range(_ROUNDS):
            self.labels, moved = move_means(
                self.points, self.labels, self.sums(), near[:, :9]
            )
            near = self.settle(_STEPS)
            if moved <= self.number // 200:
                break
        self._note(f"moves {number}")

    def settle(self, steps):
        """Lloyd's iterations among near means; returns the near means (K, near)."""
        means = self.means()
        near = nearest(means, means, min(_NEAR, self.number))[1]
        active = np.ones(self.number, dtype=bool)
        for _ in range(steps):
            labels = _nearest_near(self.points, self.labels, means, near, active)
            moved = np.flatnonzero(labels != self.labels)
            if not len(moved):
                break
            changed = np.zeros(self.number, dtype=bool)
            changed[labels[moved]] = changed[self.labels[moved]] = True
            self.labels, active = labels, changed[near].any(axis=1)
            means = self.means()
        return near

    def _note(self, what):
        lengths = np.linalg.norm(self.sums(), axis=1)
        value = 2 * (len(self.points) - float(lengths.sum(dtype=np.float64)))
        self.inertia.append(value)
        logger.info("k-means, %s: inertia %.6g", what, value)

    def result(self):
        self._note("end")
        sizes = np.bincount(self.labels, minlength=self.number)
        return Means(self.labels, self.sums(), sizes, self.inertia)


def _nearest_near(points, labels, means, near, active):
    """Nearest of the means near each point's own one, for points of active clusters."""
    rows, first = members(labels, len(means))
    new = labels.copy()
    for cluster in np.flatnonzero(active & (np.diff(first) > 0)):
        own = rows[first[cluster] : first[cluster + 1]]
        candidates = near[cluster]
        products = points[own] @ means[candidates].T
        new[own] = candidates[products.argmax(axis=1)]
    return new


def move_means(points, labels, sums, near):
    """Takes means from where they cost little to where they gain more, all at once.

    Every cluster, of sums (K, D), takes part in one move at most, and each move raises
    the objective. ``near`` (K, n) holds the clusters that each may be united with;
    itself is ignored. Returns the new labels (N,) and the number of moves.
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
    """Divides clusters until none of 0 to ``number`` - 1 is empty, best gain first.

    Points are (N, D), rows of length 1, labels (N,) int64. Raises ValueError if there
    are fewer different points than clusters.
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
                "find out why so many are equal"
            )
        half = np.full(number, -1)
        half[divided] = empty[: len(divided)]
        labels = np.where(side & (half[labels] >= 0), half[labels], labels)


def _halves(points, labels, sums):
    """Two-means within every cluster: points of the other half (N,), gain (K,)."""
    number = len(sums)
    points_ = torch.from_numpy(points)
    # From the point farthest from the mean, and the one farthest from that.
    one = points[_farthest(points_, labels, unit_rows(sums, keep_zeros=True))]
    other = points[_farthest(points_, labels, one)]
    rows = np.arange(len(points))
    for _ in range(_ITERATIONS):
        between = torch.from_numpy(one - other)
        side = row_products(points_, between, rows, labels) > 0
        halves = sum_rows(points, 2 * labels + side, 2 * number)
        ends = unit_rows(halves, keep_zeros=True)
        one, other = ends[1::2], ends[::2]
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
    farthest = np.zeros(len(directions), dtype=np.int64)
    present, first = np.unique(labels[order], return_index=True)
    farthest[present] = order[first]
    return farthest


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
    divided, freed, rank = [], [], 0
    for cluster in np.argsort(cost, kind="stable"):
        other = partner[cluster]
        if used[cluster] or used[other]:
            continue
        while rank < len(order) and used[order[rank]]:
            rank += 1
        best = rank
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
