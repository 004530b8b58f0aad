"""Agglomerative clustering with average linkage, without a matrix of distances.

The mean over all pairs of a score that is linear in both sides, x . y + b(x) + b(y), is
the score of the means: mean(x) . mean(y) + mean(b(x)) + mean(b(y)). Average linkage of
cosines (b = 0) or of PLDA scores thus needs one mean per cluster: O(N D) memory, where
SciPy takes N^2 / 2 doubles, 10 GB for 50,000 points. Average linkage is reducible: a
union is never nearer to a third cluster than the nearer of its parts. So all pairs that
are nearest to each other may be united at once, and sorting the unions by height gives
the tree that uniting one pair at a time gives (Murtagh, 1983).
"""

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from speechbrain_dino.clustering.neighbors import nearest
from speechbrain_dino.utils.progress import progress

_NEVER = np.float32(-1e30)  # score of clusters that are part of others


def average_linkage(points, weights=None, bias=None):
    """The tree of average linkage of ``x . y + bias(x) + bias(y)``.

    Returns float64 (N - 1, 4) as ``scipy.cluster.hierarchy.linkage``: the two that are
    united, 1 - score, number of rows. (SciPy's other functions ask for distances of 0
    or more: with scores above 1, add a constant first.)

    Arguments
    ---------
    points : numpy.ndarray, shape (N, D)
        At least two; unit vectors, so that the score is the cosine, or any other.
    weights : array, shape (N,), optional
        How many points each row, their mean, stands for, such as the sizes of k-means'
        clusters; one each if not given.
    bias : array, shape (N,), optional
        What a point adds to each of its scores; zero if not given.

    Example
    -------
    >>> points = np.array([[1.0, 0.0], [0.0, 1.0], [0.8, 0.6]])
    >>> average_linkage(points).round(6).tolist()
    [[0.0, 2.0, 0.2, 2.0], [1.0, 3.0, 0.7, 3.0]]
    """
    points = np.asarray(points)
    count = len(points)
    if points.ndim != 2 or count < 2:
        raise ValueError(
            "agglomerative clustering needs at least two points (N, D), was given "
            f"shape {points.shape}"
        )
    weights = np.ones(count) if weights is None else np.array(weights, dtype=float)
    bias = np.zeros(count) if bias is None else np.array(bias, dtype=float)
    unions = _Forest(points, weights, bias).unions()
    desc = f"agglomerative clustering of {count} points"
    tree = list(progress(unions, total=count - 1, desc=desc, unit="unions"))
    return _sorted(np.array(tree, dtype=np.float64))


def cut_tree(tree, num_clusters=None, threshold=None):
    """Clusters (N,), from 0, of a tree (N - 1, 4), at a number or at a score.

    ``num_clusters`` is 1 to N; unions of an average score below ``threshold`` are not
    made. Raises ValueError unless one of the two is given.

    Example
    -------
    >>> tree = average_linkage(np.array([[1.0, 0.0], [0.0, 1.0], [0.8, 0.6]]))
    >>> cut_tree(tree, 2).tolist(), cut_tree(tree, threshold=0.9).tolist()
    ([0, 1, 0], [0, 1, 2])
    """
    if (num_clusters is None) == (threshold is None):
        raise ValueError("cut_tree needs num_clusters or threshold, one of them")
    count = len(tree) + 1
    if num_clusters is None:
        unions = int(np.searchsorted(tree[:, 2], 1 - threshold, side="right"))
    elif 1 <= num_clusters <= count:
        unions = count - num_clusters
    else:
        raise ValueError(
            f"{num_clusters} clusters of {count} points: give 1 to {count}"
        )
    parts = tree[:unions, :2].astype(np.int64).T.reshape(-1)
    whole = np.tile(count + np.arange(unions), 2)
    shape = (count + unions,) * 2
    edges = coo_matrix((np.ones(2 * unions), (parts, whole)), shape=shape)
    return connected_components(edges, directed=False)[1][:count].astype(np.int64)


class _Forest:
    """Clusters that become one tree; a cluster keeps the row of its first part."""

    def __init__(self, points, weights, bias):
        count, dim = points.shape
        self.sums = points.astype(np.float64) * weights[:, None]
        self.weights, self.biases = weights, bias * weights
        # The last column is the bias: queries have 1 there.
        self.means = np.empty((count, dim + 1), dtype=np.float32)
        self.means[:, :-1], self.means[:, -1] = points, bias
        self.name = np.arange(count)
        self.size = np.ones(count, dtype=np.int64)
        self.height = np.full(count, -np.inf)
        self.alive = np.ones(count, dtype=bool)
        self.nearest = np.full(count, -1)  # -1: unknown

    def unions(self):
        """Rows of the tree, in no order of height, each after its parts'."""
        named = len(self.name)
        left = named
        while left > 1:
            self._search()
            first, second = self._pairs()
            heights = self._heights(first, second)
            sizes = self.size[first] + self.size[second]
            yield from zip(self.name[first], self.name[second], heights, sizes)
            self._unite(first, second, heights, named + np.arange(len(first)))
            named += len(first)
            left -= len(first)
            if left < 0.75 * len(self.alive):
                self._compact()

    def _search(self):
        """Finds the nearest of the clusters whose nearest is unknown."""
        rows = np.flatnonzero(self.alive & (self.nearest < 0))
        queries = self.means[rows]
        queries[:, -1] = 1
        first, second = nearest(queries, self.means, 2)[1].T
        self.nearest[rows] = np.where(first == rows, second, first)

    def _pairs(self):
        """Clusters that are nearest to each other."""
        rows = np.flatnonzero(self.alive)
        other = self.nearest[rows]
        mutual = (self.nearest[other] == rows) & (rows < other)
        if mutual.any():
            return rows[mutual], other[mutual]
        # Equal scores, or rounding, led in a circle: the best pair is one in any case.
        best = self._heights(rows, other).argmin()
        return rows[[best]], other[[best]]

    def _heights(self, first, second):
        one, other = (
            self.sums[side] / self.weights[side][:, None] for side in (first, second)
        )
        scores = np.einsum("nd,nd->n", one, other)
        for side in (first, second):
            scores += self.biases[side] / self.weights[side]
        # No lower than the parts, which rounding alone could bring about.
        parts = np.maximum(self.height[first], self.height[second])
        return np.maximum(1 - scores, parts)

    def _unite(self, first, second, heights, names):
        for total in (self.sums, self.weights, self.biases, self.size):
            total[first] += total[second]
        self.name[first], self.height[first] = names, heights
        self.means[first, :-1] = self.sums[first] / self.weights[first][:, None]
        self.means[first, -1] = self.biases[first] / self.weights[first]
        self.means[second], self.means[second, -1] = 0, _NEVER
        self.alive[second] = False
        changed = np.zeros(len(self.alive), dtype=bool)
        changed[first] = changed[second] = True
        self.nearest[changed | changed[self.nearest]] = -1

    def _compact(self):
        """Drops the rows of clusters that are part of others."""
        keep = np.flatnonzero(self.alive)
        new_row = np.full(len(self.alive) + 1, -1)  # the last is that of -1, unknown
        new_row[keep] = np.arange(len(keep))
        for name, values in vars(self).items():
            setattr(self, name, values[keep])
        self.nearest = new_row[self.nearest]


def _sorted(tree):
    """Unions by rising height, renamed in that order."""
    count = len(tree) + 1
    # Stable: of equal heights the parts stay before the whole.
    order = np.argsort(tree[:, 2], kind="stable")
    new_name = np.empty(2 * count - 1)
    new_name[:count] = np.arange(count)
    new_name[count + order] = count + np.arange(count - 1)
    tree = tree[order]
    tree[:, :2] = np.sort(new_name[tree[:, :2].astype(np.int64)], axis=1)
    return tree
