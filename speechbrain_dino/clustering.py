"""Pseudo labels from embeddings: clusterers that a YAML composes.

A clusterer is called with embeddings (N, D) and returns a ``Clustering``: labels 0 to
C - 1 by falling size, -1 where a filter leaves an utterance out, and figures. True
labels have no way in.
"""

import numpy as np

from speechbrain_dino.cluster_count import choose_number, default_candidates, spread
from speechbrain_dino.cluster_filters import Filter, cosine_posteriors
from speechbrain_dino.cluster_labels import Clustering, load_labels, save_labels
from speechbrain_dino.cluster_points import Record, unit_points
from speechbrain_dino.kmeans import fit_kmeans
from speechbrain_dino.linkage import average_linkage, cut_tree
from speechbrain_dino.neighbours import scaled_to_unit, sum_rows

__all__ = ["AHC", "Clustering", "KMeans", "KMeansAHC", "load_labels", "save_labels"]


class KMeans:
    """Spherical k-means.

    Arguments
    ---------
    num_clusters : int
        Number of clusters, for instance 6000 in loss-gated learning.
    pca_variance : float, optional
        Share of variance to keep; no PCA if not given.
    min_posterior, temperature : float
        Utterances whose posterior, softmax of cosine / temperature over clusters, is
        lower are left out; null: none.
    min_size, max_size : int, optional
        Then clusters with fewer or more utterances are left out.
    seed : int
        Chooses the start.

    Example
    -------
    >>> clustering = KMeans(num_clusters=2)([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]])
    >>> clustering.labels.tolist(), clustering.figures["clusters"]
    ([0, 0, 1], 2)
    """

    def __init__(
        self,
        num_clusters,
        pca_variance=None,
        min_posterior=None,
        temperature=0.05,
        min_size=None,
        max_size=None,
        seed=0,
    ):
        self.num_clusters = checked_count(num_clusters)
        self.pca_variance = checked_share(pca_variance, "pca_variance")
        self.filter = Filter(min_posterior, min_size, max_size).check()
        self.temperature, self.seed = checked_temperature(temperature), seed

    def __call__(self, embeddings):
        """Clusters embeddings.

        Arguments
        ---------
        embeddings : array, shape (N, D)
            One embedding a row, of any length.

        Returns
        -------
        Clustering

        Raises
        ------
        ValueError
            If the embeddings cannot be clustered as asked.
        """
        record = Record(self)
        with record.stage("preparation"):
            points = unit_points(embeddings, self.pca_variance)
        found = means_of(points, self.num_clusters, self.seed, record)
        return cosine_filtered(
            points, found.labels, self.filter, self.temperature, record
        )


class KMeansAHC:
    """K-means to many means, then agglomerative clustering of these by cosine.

    Average linkage of the directions of the means, each counting one, as in the paper
    (k-means to 50,000, agglomerative clustering to 7,500). ``weighted`` takes the
    average over the utterances behind the means instead.

    Arguments
    ---------
    num_means : int or float, optional
        Means of k-means: a number, or a share of the utterances below 1 (the authors'
        later recipe: 0.25); null: none, every utterance is a leaf.
    num_clusters : int or "auto", optional
        How many clusters to end with; auto: chosen as ``cluster_count`` describes.
    threshold : float, optional
        Or: the average cosine below which nothing is united, -1 to 1.
    pca_variance : float, optional
        Share of variance to keep; no PCA if not given.
    weighted : bool
        Whether a mean counts as often as it has utterances.
    count_range : list of two int, optional
        Where ``auto`` looks; clusters of 5 to 500 utterances on average if not given.
    count_candidates : int
        How many numbers ``auto`` tries.
    min_posterior, temperature : float
        Utterances whose posterior, softmax of cosine / temperature over clusters, is
        lower are left out; null: none.
    min_size, max_size : int, optional
        Then clusters with fewer or more utterances are left out.
    seed : int
        Chooses the start of k-means.

    Example
    -------
    >>> clusterer = KMeansAHC(threshold=0.5)
    >>> clusterer([[1.0, 0.0], [0.0, 1.0], [0.9, 0.1]]).labels.tolist()
    [0, 1, 0]
    """

    def __init__(
        self,
        num_means=None,
        num_clusters=None,
        threshold=None,
        pca_variance=None,
        weighted=False,
        count_range=None,
        count_candidates=40,
        min_posterior=None,
        temperature=0.05,
        min_size=None,
        max_size=None,
        seed=0,
    ):
        if (num_clusters is None) == (threshold is None):
            raise ValueError(
                f"num_clusters is {num_clusters} and threshold {threshold}: give one "
                "of them, null for the other"
            )
        if threshold is not None and not -1 < threshold < 1:
            raise ValueError(
                f"threshold is {threshold}: a cosine between -1 and 1 is expected"
            )
        if num_clusters not in (None, "auto"):
            checked_count(num_clusters)
        self.num_means = num_means
        self.num_clusters, self.threshold = num_clusters, threshold
        self.pca_variance = checked_share(pca_variance, "pca_variance")
        self.weighted = weighted
        self.count_range, self.count_candidates = count_range, count_candidates
        self.filter = Filter(min_posterior, min_size, max_size).check()
        self.temperature, self.seed = checked_temperature(temperature), seed

    def __call__(self, embeddings):
        """Clusters embeddings.

        Arguments
        ---------
        embeddings : array, shape (N, D)
            One embedding a row, of any length.

        Returns
        -------
        Clustering

        Raises
        ------
        ValueError
            If the embeddings cannot be clustered as asked.
        """
        record = Record(self)
        with record.stage("preparation"):
            points = unit_points(embeddings, self.pca_variance)
        leaves, sums, sizes = self._leaves(points, record)
        if self.num_clusters != "auto":
            enough(self.num_clusters, len(sums), "num_means")
        with record.stage("agglomeration"):
            if self.weighted:
                tree = average_linkage(sums / sizes[:, None], weights=sizes)
            else:
                tree = average_linkage(scaled_to_unit(sums))
        number = self.num_clusters
        if number == "auto":
            with record.stage("number"):
                number = self._choose(points, leaves, tree, record)
        labels = cut_tree(tree, number, self.threshold)[leaves]
        describe_cut(tree, labels, record)
        return cosine_filtered(points, labels, self.filter, self.temperature, record)

    def _leaves(self, points, record):
        """What the tree unites: leaf of each point, sums and sizes of the leaves."""
        if self.num_means is None:
            return np.arange(len(points)), points, np.ones(len(points))
        found = means_of(points, how_many(self.num_means, points), self.seed, record)
        return found.labels, found.sums, found.sizes

    def _choose(self, points, leaves, tree, record):
        if self.count_range is None:
            numbers = default_candidates(
                len(points), len(tree) + 1, number=self.count_candidates
            )
        else:
            low, high = self.count_range
            numbers = spread(low, high, self.count_candidates, len(tree) + 1)
        best, curve = choose_number(points, leaves, tree, numbers, self.seed)
        record.figures["curve"] = curve
        return best


class AHC(KMeansAHC):
    """Agglomerative clustering of all utterances; for some ten thousands.

    Arguments
    ---------
    num_clusters, threshold : optional
        One of them, see ``KMeansAHC``.
    **options
        Further arguments of ``KMeansAHC``.

    Example
    -------
    >>> AHC(num_clusters=2)([[1.0, 0.0], [0.0, 1.0], [0.9, 0.1]]).labels.tolist()
    [0, 1, 0]
    """

    def __init__(self, num_clusters=None, threshold=None, **options):
        super().__init__(None, num_clusters, threshold, **options)


def means_of(points, number, seed, record, prefix=""):
    """K-means as a stage of a clusterer; its inertia goes into the record."""
    with record.stage(f"{prefix}kmeans"):
        found = fit_kmeans(points, number, seed)
    record.figures |= {f"{prefix}means": number, f"{prefix}inertia": found.inertia}
    return found


def cosine_filtered(points, labels, kept, temperature, record):
    """Filters labels by the posterior of cosines and finishes the record."""
    posteriors = None
    if kept.min_posterior is not None:
        with record.stage("posteriors"):
            sums = sum_rows(points, labels, labels.max() + 1)
            directions = scaled_to_unit(sums)
            posteriors = cosine_posteriors(points, labels, directions, temperature)
    return record.finish(*kept.apply(labels, posteriors))


def describe_cut(tree, labels, record):
    """Records at which average score the tree was cut."""
    made = len(tree) + 1 - (labels.max() + 1)
    if made:
        record.figures["last_union"] = float(1 - tree[made - 1, 2])
    if made < len(tree):
        record.figures["next_union"] = float(1 - tree[made, 2])


def how_many(means, points):
    """Number of means: a number, or a share of the points."""
    if isinstance(means, float) and 0 < means < 1:
        means = max(2, round(means * len(points)))
    if means != int(means) or means < 2:
        raise ValueError(
            f"num_means is {means}: give a number of 2 or more, or a share below 1"
        )
    enough(means, len(points), "embeddings")
    return int(means)


def enough(number, available, what):
    """Raises ValueError if more clusters are asked for than there are parts."""
    if number is not None and number > available:
        raise ValueError(
            f"{number} clusters were asked for and there are {available} {what}: ask "
            "for fewer clusters, or give num_means as a share such as 0.25, or null"
        )


def checked_count(number):
    if not isinstance(number, int) or number < 2:
        raise ValueError(f"num_clusters is {number!r}: a number of 2 or more is needed")
    return number


def checked_share(share, name):
    if share is not None and not 0 < share < 1:
        raise ValueError(f"{name} is {share}: give a share between 0 and 1, or null")
    return share


def checked_temperature(temperature):
    if not temperature > 0:
        raise ValueError(f"temperature is {temperature}: a number above 0 is needed")
    return temperature
