"""Spherical k-means for tens of thousands of clusters on a few processor cores.

An exact pass, every point against every mean, costs the same as in any other k-means
and is made three times or so. In between, points are compared with the means near
their own one alone, and misplaced means move (``speechbrain_dino.kmeans_moves``): two
that share a cluster become one, and the one set free divides a cluster that two would
serve better. Such moves lead out of the optima in which Lloyd's iterations end, so the
start matters little: points drawn at random.
"""

import logging
from typing import NamedTuple

import numpy as np

from speechbrain_dino.kmeans_moves import fill_empty, move_means
from speechbrain_dino.neighbours import members, nearest, scaled_to_unit, sum_rows
from speechbrain_dino.randomness import generator

logger = logging.getLogger(__name__)

_NEAR = 32  # means that a point is compared with between two exact passes
_STEPS = 3  # Lloyd's iterations after each round of moves
_ROUNDS = 20  # of moves between two exact passes, at most


class Means(NamedTuple):
    """What k-means found.

    Arguments
    ---------
    labels : numpy.ndarray, shape (N,)
        int64, cluster of each point; every cluster has a point.
    sums : numpy.ndarray, shape (K, D)
        float32, sum of each cluster's points; its direction is the mean.
    sizes : numpy.ndarray, shape (K,)
        int64, points in each cluster.
    inertia : list of float
        Sum over points of the squared distance to their own mean on the unit sphere,
        2 (N - sum of the lengths of ``sums``): after the start, after each series of
        moves and each exact pass, and at the end.
    """

    labels: np.ndarray
    sums: np.ndarray
    sizes: np.ndarray
    inertia: list


def fit_kmeans(points, num_clusters, seed=0, tolerance=0.005, max_passes=10):
    """Clusters points on the unit sphere by cosine.

    Arguments
    ---------
    points : numpy.ndarray, shape (N, D)
        float32, rows of length 1.
    num_clusters : int
        Number of clusters K, 2 to N.
    seed : int
        Chooses the first means.
    tolerance : float
        Ends when an exact pass moves a smaller share of the points.
    max_passes : int
        Ends after so many exact passes beyond the first.

    Returns
    -------
    Means
        The same bits for the same arguments on the same number of threads.

    Raises
    ------
    ValueError
        If ``num_clusters`` is out of range, or more than there are different points.

    Example
    -------
    >>> angles = np.array([0.0, 0.1, 1.5, 1.6])
    >>> points = np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32)
    >>> found = fit_kmeans(points, 2)
    >>> bool(found.labels[0] == found.labels[1] != found.labels[2] == found.labels[3])
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
    """Labels on their way."""

    def __init__(self, points, number):
        self.points, self.number = points, number
        self.labels = np.full(len(points), -1)
        self.inertia = []

    def sums(self):
        return sum_rows(self.points, self.labels, self.number)

    def means(self):
        return scaled_to_unit(self.sums())

    def pass_over(self, means, name):
        """Every point against every mean; returns how many changed cluster."""
        desc = f"k-means, {name}: {len(self.points)} points, {self.number} means"
        found = nearest(self.points, means, desc=desc)[1][:, 0]
        changed = int((found != self.labels).sum())
        self.labels = found
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
            found = _nearest_near(self.points, self.labels, means, near, active)
            moved = np.flatnonzero(found != self.labels)
            if not len(moved):
                break
            changed = np.zeros(self.number, dtype=bool)
            changed[found[moved]] = changed[self.labels[moved]] = True
            self.labels, active = found, changed[near].any(axis=1)
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
    found = labels.copy()
    for cluster in np.flatnonzero(active & (np.diff(first) > 0)):
        own = rows[first[cluster] : first[cluster + 1]]
        candidates = near[cluster]
        products = points[own] @ means[candidates].T
        found[own] = candidates[products.argmax(axis=1)]
    return found
