"""Pseudo labels from embeddings: clusterers that a YAML composes.

A clusterer is called with embeddings (N, D) and returns a ``Clustering``. It has no
access to true labels.
"""

import numpy as np

from speechbrain_dino.clustering.filters import Filter, cosine_posteriors
from speechbrain_dino.clustering.labels import Clustering, load_labels, save_labels
from speechbrain_dino.clustering.linkage import average_linkage
from speechbrain_dino.clustering.neighbors import sum_rows
from speechbrain_dino.clustering.stages import (
    Record,
    cut_as_asked,
    find_means,
    one_of,
    unit_points,
    within,
)
from speechbrain_dino.scoring.pairs import unit_rows

__all__ = ["AHC", "Clustering", "KMeans", "KMeansAHC", "load_labels", "save_labels"]


class KMeans:
    """Spherical k-means.

    Arguments
    ---------
    num_clusters : int
        Such as 6000 in loss-gated learning.
    pca_variance : float, optional
        Share of variance to keep; no PCA if not given.
    min_posterior, min_size, max_size : optional
        See ``clustering.filters.Filter``; the posterior is that of `cosine_posteriors`.
    temperature, seed : float, int
        Of the posterior, and of the start.

    Example
    -------
    >>> clustering = KMeans(num_clusters=2)([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]])
    >>> clustering.labels.tolist(), clustering.summary["clusters"]
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
        one_of(num_clusters, None)
        if num_clusters == "auto":
            raise ValueError("KMeans needs a number: auto is for KMeansAHC and AHC")
        self.num_clusters, self.seed = num_clusters, seed
        self.pca_variance = within(pca_variance, 0, 1, "pca_variance")
        self.filter = Filter(min_posterior, min_size, max_size).check()
        self.temperature = within(temperature, 0, np.inf, "temperature")

    def __call__(self, embeddings):
        """Clusters embeddings (N, D) of any length; ValueError where impossible."""
        record = Record(self)
        with record.stage("preparation"):
            points = unit_points(embeddings, self.pca_variance)
        labels = find_means(points, self.num_clusters, self.seed, record).labels
        return _filtered(points, labels, self.filter, self.temperature, record)


class KMeansAHC:
    """K-means to many means, then agglomerative clustering of these by cosine.

    Average linkage of the directions of the means, each counting one, as in the paper
    (k-means to 50,000, agglomerative clustering to 7,500).

    Arguments
    ---------
    num_means : int or float, optional
        Means of k-means: a number, or a share of the utterances below 1 (the authors'
        later recipe: 0.25); null: none, every utterance is a leaf.
    num_clusters : int or "auto", optional
        Clusters to end with; auto: see ``clustering.count``.
    threshold : float, optional
        Or: the average cosine below which nothing is united, -1 to 1.
    weighted : bool
        Whether a mean counts as often as it has utterances, so that linkage averages
        over these.
    count_range, count_candidates : list of two int, int
        Where ``auto`` looks, by default at clusters of 3 to 500 utterances on average,
        and how many numbers it tries.
    pca_variance, min_posterior, temperature, min_size, max_size, seed : optional
        See `KMeans`.

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
        one_of(num_clusters, threshold)
        self.num_means, self.num_clusters = num_means, num_clusters
        self.threshold = within(threshold, -1, 1, "threshold")
        self.pca_variance = within(pca_variance, 0, 1, "pca_variance")
        self.weighted = weighted
        self.auto = count_range, count_candidates, seed
        self.filter = Filter(min_posterior, min_size, max_size).check()
        self.temperature = within(temperature, 0, np.inf, "temperature")
        self.seed = seed

    def __call__(self, embeddings):
        """Clusters embeddings (N, D) of any length; ValueError where impossible."""
        record = Record(self)
        with record.stage("preparation"):
            points = unit_points(embeddings, self.pca_variance)
        if self.num_means is None:
            leaves, sums, sizes = np.arange(len(points)), points, np.ones(len(points))
        else:
            leaves, sums, sizes, _ = find_means(
                points, self.num_means, self.seed, record
            )
        with record.stage("agglomeration"):
            if self.weighted:
                tree = average_linkage(sums / sizes[:, None], weights=sizes)
            else:
                tree = average_linkage(unit_rows(sums, keep_zeros=True))
        asked = self.num_clusters, self.threshold, self.auto
        labels = cut_as_asked(tree, points, leaves, *asked, record)
        return _filtered(points, labels, self.filter, self.temperature, record)


class AHC(KMeansAHC):
    """`KMeansAHC` of all utterances, for up to some ten thousands."""

    def __init__(self, num_clusters=None, threshold=None, **options):
        super().__init__(None, num_clusters, threshold, **options)


def _filtered(points, labels, kept, temperature, record):
    """Filters labels by the posterior of cosines and finishes the record."""
    posteriors = None
    if kept.min_posterior is not None:
        with record.stage("posteriors"):
            sums = sum_rows(points, labels, labels.max() + 1)
            directions = unit_rows(sums, keep_zeros=True)
            posteriors = cosine_posteriors(points, labels, directions, temperature)
    return record.finish(*kept.apply(labels, posteriors))
