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

    Arguments
    ---------
    points : numpy.ndarray, shape (N, D)
        At least two; unit vectors, so that the score is the cosine, or any other.
    weights : array, shape (N,), optional
        How many points each row stands for, such as the sizes of k-means' clusters:
        the tree is then that of all these points, each row being the mean of its own.
        One each if not given.
    bias : array, shape (N,), optional
        What a point adds to each of its scores; zero if not given.

    Returns
    -------
    numpy.ndarray, shape (N - 1, 4)
        float64, as ``scipy.cluster.hierarchy.linkage`` gives it: the two that are
        united, 1 - score, number of rows. (SciPy's other functions ask for
        distances of 0 or more: with scores above 1, add a constant first.)

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
    """The clusters at a number or at a score.

    Arguments
    ---------
    tree : numpy.ndarray, shape (N - 1, 4)
        What ``average_linkage`` gives.
    num_clusters : int, optional
        How many clusters to leave, 1 to N.
    threshold : float, optional
        Unions of a lower average score are not made.

    Returns
    -------
    numpy.ndarray, shape (N,)
        int64, 0 to the number of clusters - 1.

    Example
    -------
    >>> tree = average_linkage(np.array([[1.0, 0.0], [0.0, 1.0], [0.8, 0.6]]))
    >>> cut_tree(tree, 2).tolist(), cut_tree(tree, threshold=0.9).tolist()
    ([0, 1, 0], [0, 1, 2])
    """
    if (num_clusters is None) == (threshold is None):
        raise ValueError("cut_tree wants num_clusters or threshold, one of them")
    count = len(tree) + 1
    if num_clusters is None:
        made = int(np.searchsorted(tree[:, 2], 1 - threshold, side="right"))
    elif 1 <= num_clusters <= count:
        made = count - num_clusters
    else:
        raise ValueError(
            f"{num_clusters} clusters of {count} points: give 1 to {count}"
        )
    parts = tree[:made, :2].astype(np.int64).T.reshape(-1)
    whole = np.tile(count + np.arange(made), 2)
    edges = coo_matrix((np.ones(2 * made), (parts, whole)), shape=(count + made,) * 2)
    return connected_components(edges, directed=False)[1][:count].astype(np.int64)


class _Forest:
    """Clusters on their way to one tree; a cluster keeps the row of its first part."""

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
        self.nearest = np.full(count, -1)  # -1: not known

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
        """Finds the nearest of the clusters whose nearest is not known."""
        rows = np.flatnonzero(self.alive & (self.nearest < 0))
        queries = self.means[rows]
        queries[:, -1] = 1
        found = nearest(queries, self.means, 2)[1]
        self.nearest[rows] = np.where(found[:, 0] == rows, found[:, 1], found[:, 0])

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
        gone = np.zeros(len(self.alive), dtype=bool)
        gone[first] = gone[second] = True
        self.nearest[gone | gone[self.nearest]] = -1

    def _compact(self):
        """Forgets the rows of clusters that are part of others."""
        keep = np.flatnonzero(self.alive)
        place = np.full(len(self.alive) + 1, -1)  # the last is that of -1, not known
        place[keep] = np.arange(len(keep))
        for name, values in vars(self).items():
            setattr(self, name, values[keep])
        self.nearest = place[self.nearest]


def _sorted(tree):
    """Unions by rising height, named anew in that order."""
    count = len(tree) + 1
    # Stable: of equal heights the parts stay before the whole.
    order = np.argsort(tree[:, 2], kind="stable")
    new_name = np.empty(2 * count - 1)
    new_name[:count] = np.arange(count)
    new_name[count + order] = count + np.arange(count - 1)
    tree = tree[order]
    tree[:, :2] = np.sort(new_name[tree[:, :2].astype(np.int64)], axis=1)
    return tree
