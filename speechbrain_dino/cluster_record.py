"""How a clusterer worked: seconds of its stages, figures of its result."""

import contextlib
import logging
import time

import numpy as np

from speechbrain_dino.cluster_labels import Clustering, numbered_by_size

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
