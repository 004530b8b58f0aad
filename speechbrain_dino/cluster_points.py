"""Embeddings made ready to be clustered, and the record of how a clusterer worked."""

import contextlib
import logging
import time

import numpy as np
from sklearn.decomposition import PCA

from speechbrain_dino.cluster_labels import Clustering, numbered_by_size
from speechbrain_dino.neighbours import scaled_to_unit
from speechbrain_dino.pairs import unit_rows

logger = logging.getLogger(__name__)


def unit_points(embeddings, pca_variance=None):
    """Scales embeddings to length 1, perhaps in fewer dimensions.

    With ``pca_variance`` the scaled embeddings are centred, projected onto the
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
    points = unit_rows(embeddings, slice(None), "the embeddings").numpy()
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


class Record:
    """Seconds of the stages of a clusterer and figures of its result.

    Arguments
    ---------
    clusterer : object
        Its class is named, and its settings are told in the log.
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
