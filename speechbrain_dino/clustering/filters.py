"""Which utterances keep their pseudo label: sure ones, in clusters of some size."""

import logging
from typing import NamedTuple

import numpy as np
import torch

from speechbrain_dino.scoring.pairs import BLOCK

logger = logging.getLogger(__name__)


class Filter(NamedTuple):
    """Bounds; None: no bound.

    Arguments
    ---------
    min_posterior : float or None
        Utterances whose posterior of their own cluster is lower are left out first.
    min_size, max_size : int or None
        Then clusters with fewer or more utterances left are left out.
    """

    min_posterior: float | None = None
    min_size: int | None = None
    max_size: int | None = None

    def check(self):
        """Raises ValueError if no utterance could pass; returns itself."""
        if self.min_posterior is not None and not 0 <= self.min_posterior < 1:
            raise ValueError(
                f"min_posterior is {self.min_posterior}: give 0 to 1, or null"
            )
        low, high = self.min_size or 1, self.max_size or np.inf
        if not 1 <= low <= high:
            raise ValueError(
                f"min_size {self.min_size} and max_size {self.max_size} leave no "
                "cluster: give 1 <= min_size <= max_size, or null"
            )
        return self

    def apply(self, labels, posteriors=None):
        """Leaves out what does not pass.

        Arguments
        ---------
        labels : numpy.ndarray, shape (N,)
            int64, from 0.
        posteriors : numpy.ndarray, shape (N,), optional
            Of each utterance's own cluster; needed with ``min_posterior``.

        Returns
        -------
        labels : numpy.ndarray, shape (N,)
            -1 where left out.
        left_out : dict
            ``unsure``, ``small`` and ``large``: utterances left out for this reason.

        Example
        -------
        >>> labels = np.array([0, 0, 0, 1, 2, 2])
        >>> sure = np.array([0.9, 0.9, 0.2, 0.9, 0.9, 0.8])
        >>> Filter(0.5, min_size=2).apply(labels, sure)[0].tolist()
        [0, 0, -1, -1, 2, 2]
        """
        labels, left_out = labels.copy(), {}
        unsure = np.zeros(len(labels), dtype=bool)
        if self.min_posterior is not None:
            unsure = posteriors < self.min_posterior
        sizes = np.bincount(labels[~unsure], minlength=labels.max() + 1)[labels]
        small = ~unsure & (sizes < (self.min_size or 0))
        large = ~unsure & (sizes > (self.max_size or np.inf))
        for cause, rows in (("unsure", unsure), ("small", small), ("large", large)):
            left_out[cause] = int(rows.sum())
            labels[rows] = -1
        if sum(left_out.values()) > len(labels) / 2:
            logger.warning(
                "More than half of %d utterances are left out (%s): widen "
                "min_posterior, min_size or max_size unless that is meant",
                len(labels),
                ", ".join(f"{n} {cause}" for cause, n in left_out.items()),
            )
        return labels, left_out


def own_posteriors(queries, classes, labels, offset=None):
    """Softmax over classes of linear scores, at each query's own class.

    Arguments
    ---------
    queries : numpy.ndarray, shape (N, D)
        float32.
    classes : numpy.ndarray, shape (C, D)
        float32.
    labels : int array, shape (N,)
        Own class of each query.
    offset : numpy.ndarray, shape (C,), optional
        Added to the scores of a class.

    Returns
    -------
    numpy.ndarray, shape (N,)
        float32 in 0..1.

    Example
    -------
    >>> eye = np.eye(2, dtype=np.float32)
    >>> own_posteriors(eye * np.log(3, dtype=np.float32), eye, [0, 1]).round(4).tolist()
    [0.75, 0.75]
    """
    queries, columns = torch.from_numpy(queries), torch.from_numpy(classes).T
    labels = torch.as_tensor(labels)
    offset = torch.zeros(len(classes)) if offset is None else torch.from_numpy(offset)
    found = torch.empty(len(queries))
    block = max(1, BLOCK // len(classes))
    for start in range(0, len(queries), block):
        part = slice(start, start + block)
        scores = torch.addmm(offset, queries[part], columns)
        own = scores.gather(1, labels[part, None])[:, 0]
        found[part] = (own - scores.logsumexp(dim=1)).exp()
    return found.numpy()


def cosine_posteriors(points, labels, directions, temperature):
    """Posterior of each utterance's own cluster from cosines.

    ``exp(cos(x, m_own) / T) / sum over clusters c of exp(cos(x, m_c) / T)``, m being
    the direction of a cluster's mean.

    Arguments
    ---------
    points : numpy.ndarray, shape (N, D)
        float32, rows of length 1.
    labels : int array, shape (N,)
        Own cluster of each.
    directions : numpy.ndarray, shape (C, D)
        float32, rows of length 1.
    temperature : float
        T, above 0: the lower, the surer.

    Returns
    -------
    numpy.ndarray, shape (N,)
        float32 in 0..1.
    """
    scaled = np.float32(1 / temperature) * directions
    return own_posteriors(points, scaled, labels)
