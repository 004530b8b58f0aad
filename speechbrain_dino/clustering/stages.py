"""Stages that clusterers share: means, tree, cut, and the checks of their options."""

import contextlib
import logging
import time

import numpy as np
from sklearn.decomposition import PCA

from speechbrain_dino.clustering.count import choose_number, default_candidates, spread
from speechbrain_dino.clustering.kmeans import fit_kmeans
from speechbrain_dino.clustering.labels import Clustering, numbered_by_size
from speechbrain_dino.clustering.linkage import cut_tree
from speechbrain_dino.scoring.pairs import unit_rows

logger = logging.getLogger(__name__)


def find_means(points, number, seed, record, prefix=""):
    """`fit_kmeans` with its inertia in the record, names beginning with ``prefix``.

    ``number`` is one of means, or a share of the points below 1. Raises ValueError if
    there are not so many points.
    """
    if isinstance(number, float) and 0 < number < 1:
        number = max(2, round(number * len(points)))
    if isinstance(number, bool) or number != int(number) or number < 2:
        raise ValueError(
            f"{number} means were asked for: give 2 or more, or a share below 1"
        )
    _enough(number, len(points), "embeddings")
    with record.stage(f"{prefix}kmeans"):
        means = fit_kmeans(points, int(number), seed)
    record.summary |= {f"{prefix}means": int(number)}
    record.summary |= {f"{prefix}inertia": means.inertia}
    return means


def cut_as_asked(tree, points, leaves, number, threshold, auto, record):
    """Cuts a tree at a number of clusters, at a score, or where the silhouette says.

    Returns clusters, int64 (N,). ``points`` (N, D) and ``auto`` (range or None, number
    of candidates, seed) serve ``number`` "auto"; ``leaves`` (N,) maps points to leaves.
    The record gets ``curve``, ``last_union`` and ``next_union``: the average scores of
    the last pair that was united and of the first that was not. Raises ValueError if
    there are fewer leaves than clusters.
    """
    if number == "auto":
        with record.stage("number"):
            candidates = _candidates(len(points), len(tree) + 1, *auto[:2])
            number, curve = choose_number(points, leaves, tree, candidates, auto[2])
        record.summary["curve"] = curve
    elif number is not None:
        _enough(number, len(tree) + 1, "means or utterances to unite")
    labels = cut_tree(tree, number, threshold)
    unions = len(tree) - labels.max()
    if unions:
        record.summary["last_union"] = float(1 - tree[unions - 1, 2])
    if unions < len(tree):
        record.summary["next_union"] = float(1 - tree[unions, 2])
    return labels[leaves]


def _candidates(utterances, leaves, bounds, number):
    if bounds is None:
        return default_candidates(utterances, leaves, number=number)
    low, high = bounds
    if not 2 <= low <= high:
        raise ValueError(f"count_range is {list(bounds)}: give 2 <= low <= high")
    _enough(low, leaves, "means or utterances to unite")
    return spread(low, high, number, leaves)


def _enough(number, available, what):
    if number > available:
        raise ValueError(
            f"{number} clusters were asked for and there are {available} {what}: ask "
            "for fewer, or give num_means as a share such as 0.25, or null"
        )


def one_of(number, threshold, names=("num_clusters", "threshold")):
    """Raises ValueError unless clusters are asked for by number or by threshold."""
    if (number is None) == (threshold is None):
        raise ValueError(
            f"{names[0]} is {number} and {names[1]} is {threshold}: give one of them, "
            "null for the other"
        )
    whole = isinstance(number, int | np.integer) and not isinstance(number, bool)
    if number not in (None, "auto") and not (whole and number >= 2):
        raise ValueError(f"{names[0]} is {number!r}: a number of 2 or more is needed")
    if threshold is not None and not np.isfinite(threshold):
        raise ValueError(f"{names[1]} is {threshold}: a finite number is needed")


def within(value, low, high, name):
    """Returns a number between two others, both excluded, or None; else ValueError."""
    if value is not None and not low < value < high:
        raise ValueError(
            f"{name} is {value}: a number between {low} and {high} is needed"
        )
    return value


def unit_points(embeddings, pca_variance=None):
    """Scales embeddings (N, D) to length 1, float32, optionally after PCA.

    With ``pca_variance`` the scaled embeddings are centered, projected onto the
    principal directions that keep this share of their variance, and scaled again.
    Raises ValueError if the shape is another, there are fewer than two embeddings, one
    is zero or not finite, or all have one direction.
    """
    embeddings = np.asarray(embeddings)
    if embeddings.ndim != 2 or len(embeddings) < 2:
        raise ValueError(
            "clustering needs at least two embeddings, one per row (N, D), was given "
            f"shape {embeddings.shape}"
        )
    points = unit_rows(embeddings, name="the embeddings")
    # Scaling leaves differences of rounding between equal directions.
    if np.abs(points - points[0]).max() < 1e-6:
        raise ValueError(
            f"all {len(points)} embeddings have one direction: there is nothing to "
            "cluster, the model has collapsed"
        )
    if pca_variance is None:
        return points
    pca = PCA(n_components=pca_variance, svd_solver="covariance_eigh").fit(points)
    parts = np.array_split(points, max(1, len(points) // 65_536))
    points = np.concatenate([pca.transform(part) for part in parts])
    return unit_rows(points, keep_zeros=True)


class Record:
    """Seconds of the stages of a clusterer and a summary of its result."""

    def __init__(self, clusterer):
        self.summary = {"clusterer": type(clusterer).__name__}
        self.seconds = {}

    @contextlib.contextmanager
    def stage(self, name):
        """Measures the time that a block takes."""
        begun = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - begun, 3)
        logger.info("Clustering, %s: %.1f s", name, self.seconds[name])

    def finish(self, labels, left_out):
        """Numbers the clusters and returns the `Clustering` with its summary.

        ``left_out`` maps causes to numbers of utterances. Raises ValueError if fewer
        than two clusters are left.
        """
        labels = numbered_by_size(labels)
        sizes = np.bincount(labels[labels >= 0])
        if len(sizes) < 2:
            raise ValueError(
                f"{len(sizes)} clusters are left of {len(labels)} utterances (left "
                f"out: {left_out}), and training needs two: ask for more clusters, "
                "raise the threshold or loosen the filters"
            )
        self.summary |= {
            "utterances": len(labels),
            "kept": int(sizes.sum()),
            "left_out": left_out,
            "clusters": len(sizes),
            "sizes": size_quantiles(sizes),
            "seconds": {**self.seconds, "all": round(sum(self.seconds.values()), 3)},
        }
        return Clustering(labels, self.summary)


def size_quantiles(sizes):
    """``mean``, ``ones`` (clusters of one utterance) and quantiles of sizes (C,).

    Example
    -------
    >>> quantiles = size_quantiles(np.array([5, 1, 3]))
    >>> quantiles["mean"], quantiles["50%"], quantiles["ones"]
    (3.0, 3.0, 1)
    """
    shares = {"min": 0, "5%": 5, "25%": 25, "50%": 50, "75%": 75, "95%": 95}
    shares["max"] = 100
    values = np.percentile(sizes, list(shares.values()))
    quantiles = {"mean": float(np.mean(sizes)), "ones": int((sizes == 1).sum())}
    return quantiles | dict(zip(shares, map(float, values)))
