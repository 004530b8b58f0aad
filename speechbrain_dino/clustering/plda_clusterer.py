"""Pseudo labels by PLDA that learns from a first, cautious clustering."""

import numpy as np

from speechbrain_dino.clustering.filters import Filter, own_posteriors
from speechbrain_dino.clustering.labels import numbered_by_size
from speechbrain_dino.clustering.linkage import average_linkage, cut_tree
from speechbrain_dino.clustering.neighbors import sum_rows
from speechbrain_dino.clustering.stages import (
    Record,
    cut_as_asked,
    find_means,
    one_of,
    unit_points,
    within,
)
from speechbrain_dino.scoring.lda import fit_lda
from speechbrain_dino.scoring.pairs import unit_rows
from speechbrain_dino.scoring.plda import diagonalize, fit_plda


class PLDAClustering:
    """The authors' later recipe: cosine clusters, PLDA on them, clusters by PLDA.

    1. Embeddings to length 1, PCA, length 1 again; k-means; agglomerative clustering of
       the means by cosine, average linkage, up to a threshold.
    2. The clusters of a middle size train LDA to at most ``lda_dim`` dimensions (scaled
       to length 1 again) and, in its space, the package's PLDA with speakers of full
       rank: both together stand for the authors' simplified PLDA with a speaker space
       of that many dimensions.
    3. K-means and agglomerative clustering again, by PLDA scores: k-means of the
       directions of the vectors whose inner product is the score but for what each side
       adds by itself; average linkage of the scores, each mean counting one.
    4. Sure utterances in clusters of some size are kept. The posterior is softmax over
       clusters of log p(x | the cluster's utterances), the PLDA's prediction for one
       more utterance of that speaker; x itself is among them.

    The bounds on sizes are the authors', for segments of 30 s. VoxCeleb2 has 180
    utterances per speaker; ``max_size`` and ``train_size`` must grow with them.

    Arguments
    ---------
    num_means, plda_means : int or float
        Means of the two k-means: a number, or a share of the utterances below 1.
    threshold : float
        Average cosine at which the first clustering stops, -1 to 1.
    plda_threshold : float, optional
        Average natural log-likelihood ratio at which the second clustering stops. Its
        scale is that of the PLDA: first clusters that split speakers leave little
        variance within, which moves pairs of one speaker far below 0.
    num_clusters : int or "auto", optional
        Or its number of clusters, ``plda_threshold`` being null; "auto" chooses it
        without labels, whatever the scale.
    train_size : list of two int
        Smallest and largest clusters that train LDA and PLDA.
    lda_dim, plda_iterations : int
        Of the LDA at most, and of the PLDA's expectation maximization.
    others : optional
        See ``KMeansAHC``.
    """

    def __init__(
        self,
        num_means=0.25,
        threshold=0.80,
        plda_means=0.25,
        plda_threshold=0.0,
        num_clusters=None,
        count_range=None,
        count_candidates=40,
        weighted=False,
        pca_variance=0.99,
        train_size=(8, 50),
        lda_dim=100,
        plda_iterations=20,
        min_posterior=0.9,
        min_size=10,
        max_size=50,
        seed=0,
    ):
        one_of(num_clusters, plda_threshold, ("num_clusters", "plda_threshold"))
        self.num_means, self.plda_means = num_means, plda_means
        self.threshold = within(threshold, -1, 1, "threshold")
        self.num_clusters, self.plda_threshold = num_clusters, plda_threshold
        self.auto = count_range, count_candidates, seed
        self.weighted = weighted
        self.pca_variance = within(pca_variance, 0, 1, "pca_variance")
        self.train_size = Filter(None, *train_size).check()
        self.lda_dim, self.plda_iterations = lda_dim, plda_iterations
        self.filter = Filter(min_posterior, min_size, max_size).check()
        self.seed = seed

    def __call__(self, embeddings):
        """Clusters embeddings (N, D); ValueError where impossible."""
        record = Record(self)
        with record.stage("preparation"):
            points = unit_points(embeddings, self.pca_variance)
        first = self._cosine_clusters(points, record)
        with record.stage("plda"):
            space = self._space(points, first, record)
        labels = self._plda_clusters(space, record)
        with record.stage("posteriors"):
            posteriors = space.posteriors(labels)
        return record.finish(*self.filter.apply(labels, posteriors))

    def _cosine_clusters(self, points, record):
        means = find_means(points, self.num_means, self.seed, record)
        with record.stage("agglomeration"):
            if self.weighted:
                centers = means.sums / means.sizes[:, None]
                tree = average_linkage(centers, weights=means.sizes)
            else:
                tree = average_linkage(unit_rows(means.sums, keep_zeros=True))
        return cut_tree(tree, threshold=self.threshold)[means.labels]

    def _space(self, points, labels, record):
        """LDA and PLDA, learned from the clusters of a middle size."""
        chosen = numbered_by_size(_within_bounds(self.train_size, labels))
        rows = np.flatnonzero(chosen >= 0)
        clusters = chosen.max() + 1
        record.summary |= {
            "first_clusters": int(labels.max()) + 1,
            "train_clusters": int(clusters),
            "train_utterances": len(rows),
        }
        if clusters < 2:
            raise ValueError(
                f"of {labels.max() + 1} first clusters {clusters} have "
                f"{self.train_size.min_size} to {self.train_size.max_size} utterances, "
                "and PLDA needs two or more: change train_size or threshold (the "
                f"largest has {np.bincount(labels).max()} utterances)"
            )
        dim = min(self.lda_dim, points.shape[1], clusters - 1)
        lda = fit_lda(points[rows], chosen[rows], dim)
        projected = lda(points)
        plda = fit_plda(projected[rows], chosen[rows], self.plda_iterations)
        record.summary["speaker_dimensions"] = int(dim)
        return PLDASpace(plda, projected)

    def _plda_clusters(self, space, record):
        points = unit_rows(space.factors, keep_zeros=True)
        means = find_means(points, self.plda_means, self.seed, record, "plda_")
        sums = sum_rows(space.factors, means.labels, len(means.sizes))
        with record.stage("plda_agglomeration"):
            tree = average_linkage(
                sums / means.sizes[:, None],
                weights=means.sizes if self.weighted else None,
                bias=np.bincount(means.labels, space.bias) / means.sizes,
            )
        asked = self.num_clusters, self.plda_threshold, self.auto
        return cut_as_asked(tree, points, means.labels, *asked, record)


class PLDASpace:
    """Embeddings (N, D) whose PLDA score is a product and a share of each side."""

    def __init__(self, plda, vectors):
        self.spread = diagonalize(plda.between, plda.within)[0]
        _, whitened, own = plda.sides(vectors)
        self.whitened = whitened.numpy()
        """(N, D) float32: covariance 1 within and ``spread`` between speakers."""
        self.bias = own.numpy()
        """(N,): what a side adds to a score."""
        scale = np.sqrt(self.spread / (1 + 2 * self.spread)).astype(np.float32)
        self.factors = self.whitened * scale
        """(N, D) float32: ``factors[i] . factors[j] + bias[i] + bias[j]`` is the
        log-likelihood ratio."""

    def posteriors(self, labels):
        """Posterior (N,) of each utterance's own cluster, with equal priors.

        With n utterances of mean m in a cluster, the speaker is Gaussian with mean
        n s m / (1 + n s) and variance s / (1 + n s) in a direction of spread s, and
        one more utterance has 1 more variance.
        """
        number = labels.max() + 1
        sums = sum_rows(self.whitened, labels, number)
        shrunk = self.spread / (1 + np.bincount(labels)[:, None] * self.spread)
        means, variances = sums * shrunk, 1 + shrunk
        offset = -0.5 * (means**2 / variances + np.log(variances)).sum(axis=1)
        classes = np.concatenate([means, np.full_like(means, -0.5)], axis=1)
        classes /= np.tile(variances, 2)
        queries = np.concatenate([self.whitened, self.whitened**2], axis=1)
        return own_posteriors(
            queries, classes.astype(np.float32), labels, offset.astype(np.float32)
        )


def _within_bounds(bounds, labels):
    """Labels of clusters within bounds, without the filter's warning."""
    sizes = np.bincount(labels)[labels]
    inside = (sizes >= bounds.min_size) & (sizes <= bounds.max_size)
    return np.where(inside, labels, -1)
