"""Stages that clusterers share: means, tree, cut, and what may be asked of them."""

import contextlib
import logging
import time

import numpy as np
from sklearn.decomposition import PCA

from speechbrain_dino.clustering.count import choose_number, default_candidates, spread
from speechbrain_dino.clustering.kmeans import fit_kmeans
from speechbrain_dino.clustering.labels import Clustering, numbered_by_size
from speechbrain_dino.clustering.linkage import cut_tree
from speechbrain_dino.clustering.neighbors import scaled_to_unit
from speechbrain_dino.scoring.pairs import unit_rows


def find_means(points, number, seed, record, prefix=""):
    """K-means, with its inertia in the record.

    Arguments
    ---------
    points : numpy.ndarray, shape (N, D)
        float32, rows of length 1.
    number : int or float
        How many means, or a share of the points below 1.
    seed : int
        Chooses the start.
    record : speechbrain_dino.clustering.stages.Record
        Of the clusterer.
    prefix : str
        Before the names in the record.

    Returns
    -------
    speechbrain_dino.clustering.kmeans.Means

    Raises
    ------
    ValueError
        If there are not so many points.
    """
    if isinstance(number, float) and 0 < number < 1:
        number = max(2, round(number * len(points)))
    if isinstance(number, bool) or number != int(number) or number < 2:
        raise ValueError(
            f"{number} means were asked for: give 2 or more, or a share below 1"
        )
    _enough(number, len(points), "embeddings")
    with record.stage(f"{prefix}kmeans"):
        found = fit_kmeans(points, int(number), seed)
    record.figures |= {f"{prefix}means": int(number)}
    record.figures |= {f"{prefix}inertia": found.inertia}
    return found


def cut_as_asked(tree, points, leaves, number, threshold, auto, record):
    """Cuts a tree at a number of clusters, at a score, or where the silhouette says.

    Arguments
    ---------
    tree : numpy.ndarray, shape (L - 1, 4)
        What ``average_linkage`` gives.
    points : numpy.ndarray, shape (N, D)
        float32, rows of length 1; looked at for "auto" only.
    leaves : numpy.ndarray, shape (N,)
        Leaf of each point.
    number : int, "auto" or None
        How many clusters.
    threshold : float or None
        Average score below which nothing is united, where no number is given.
    auto : tuple
        Range (two int, or None), number of candidates and seed, for "auto".
    record : speechbrain_dino.clustering.stages.Record
        Gets ``curve``, ``last_union`` and ``next_union``: the average scores of the
        last pair that was united and of the first that was not.

    Returns
    -------
    numpy.ndarray, shape (N,)
        int64, 0 to C - 1.

    Raises
    ------
    ValueError
        If more clusters are asked for than there are leaves.
    """
    if number == "auto":
        with record.stage("number"):
            candidates = _candidates(len(points), len(tree) + 1, *auto[:2])
            number, curve = choose_number(points, leaves, tree, candidates, auto[2])
        record.figures["curve"] = curve
    elif number is not None:
        _enough(number, len(tree) + 1, "means or utterances to unite")
    labels = cut_tree(tree, number, threshold)
    made = len(tree) - labels.max()
    if made:
        record.figures["last_union"] = float(1 - tree[made - 1, 2])
    if made < len(tree):
        record.figures["next_union"] = float(1 - tree[made, 2])
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
    """Checks that clusters are asked for by number or by threshold.

    Arguments
    ---------
    number : int, "auto" or None
        How many clusters.
    threshold : float or None
        Score at which to stop.
    names : tuple of two str
        What these are called.

    Raises
    ------
    ValueError
        If both or neither is given, or one is out of range.

    Example
    -------
    >>> one_of(None, 0.5)
    >>> one_of(1, None)
    Traceback (most recent call last):
    ValueError: num_clusters is 1: a number of 2 or more is needed
    """
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
    """Checks that a number lies between two others, both excluded; None may pass.

    Example
    -------
    >>> within(0.99, 0, 1, "pca_variance")
    0.99
    >>> within(1.5, -1, 1, "threshold")
    Traceback (most recent call last):
    ValueError: threshold is 1.5: a number between -1 and 1 is needed
    """
    if value is not None and not low < value < high:
        raise ValueError(
            f"{name} is {value}: a number between {low} and {high} is needed"
        )
    return value


def unit_points(embeddings, pca_variance=None):
    """Scales embeddings to length 1, perhaps in fewer dimensions.

    With ``pca_variance`` the scaled embeddings are centered, projected onto the
    principal directions that keep this share of their variance, and scaled again.

    Arguments
    ---------
    embeddings : array, shape (N, D)
        One embedding a row; may be mapped into memory.
    pca_variance : float, optional
        Share of variance to keep, between 0 and 1.

    Returns
    -------
    numpy.ndarray, shape (N, D')
        float32.

    Raises
    ------
    ValueError
        If the shape is another, there are fewer than two embeddings, one is zero or
        not finite, or all have one direction.

    Example
    -------
    >>> unit_points([[3.0, 4.0], [0.0, 2.0]]).round(6).tolist()
    [[0.6000000238418579, 0.800000011920929], [0.0, 1.0]]
    """
    embeddings = np.asarray(embeddings)
    if embeddings.ndim != 2 or len(embeddings) < 2:
        raise ValueError(
            "clustering needs at least two embeddings, one a row (N, D), was given "
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
    return scaled_to_unit(points)


logger = logging.getLogger(__name__)


class Record:
    """Seconds of the stages of a clusterer and figures of its result.

    Arguments
    ---------
    clusterer : object
        Its class is named in the figures.
    """

    def __init__(self, clusterer):
        self.figures = {"clusterer": type(clusterer).__name__}
        self.seconds = {}

    @contextlib.contextmanager
    def stage(self, name):
        """Measures the time that a block takes.

        Arguments
        ---------
        name : str
            What the stage is called in the figures.
        """
        begun = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - begun, 3)
        logger.info("Clustering, %s: %.1f s", name, self.seconds[name])

    def finish(self, labels, left_out):
        """Numbers the clusters and adds what is known of them.

        Arguments
        ---------
        labels : numpy.ndarray, shape (N,)
            int64, from 0; -1: left out.
        left_out : dict
            Cause -> utterances.

        Returns
        -------
        Clustering

        Raises
        ------
        ValueError
            If fewer than two clusters are left.
        """
        labels = numbered_by_size(labels)
        sizes = np.bincount(labels[labels >= 0])
        if len(sizes) < 2:
            raise ValueError(
                f"{len(sizes)} clusters are left of {len(labels)} utterances (left "
                f"out: {left_out}), and training needs two: ask for more clusters, "
                "raise the threshold or loosen the filters"
            )
        self.figures |= {
            "utterances": len(labels),
            "kept": int(sizes.sum()),
            "left_out": left_out,
            "clusters": len(sizes),
            "sizes": size_figures(sizes),
            "seconds": {**self.seconds, "all": round(sum(self.seconds.values()), 3)},
        }
        return Clustering(labels, self.figures)


def size_figures(sizes):
    """Quantiles of the sizes of clusters.

    Arguments
    ---------
    sizes : int array, shape (C,)
        Utterances in each.

    Returns
    -------
    dict
        ``mean``, ``ones`` (clusters of one utterance), and the sizes at the shares of
        clusters ``min``, ``5%``, ``25%``, ``50%``, ``75%``, ``95%``, ``max``.

    Example
    -------
    >>> figures = size_figures(np.array([5, 1, 3]))
    >>> figures["mean"], figures["50%"], figures["ones"]
    (3.0, 3.0, 1)
    """
    shares = {"min": 0, "5%": 5, "25%": 25, "50%": 50, "75%": 75, "95%": 95}
    shares["max"] = 100
    values = np.percentile(sizes, list(shares.values()))
    figures = {"mean": float(np.mean(sizes)), "ones": int((sizes == 1).sum())}
    return figures | dict(zip(shares, map(float, values)))
