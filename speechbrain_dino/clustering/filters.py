"""Which utterances keep their pseudo label: sure ones, in clusters of some size."""

import logging
from typing import NamedTuple

import numpy as np
import torch

from speechbrain_dino.scoring.pairs import BLOCK

logger = logging.getLogger(__name__)


class Filter(NamedTuple):
    """Bounds; None: no bound."""

    min_posterior: float | None = None
    """Utterances whose posterior of their own cluster is lower are left out first."""
    min_size: int | None = None
    """Then clusters with fewer utterances left."""
    max_size: int | None = None
    """And clusters with more."""

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
        """Returns labels (N,), -1 where left out, and how many by cause.

        The causes are ``unsure``, by the posteriors (N,) of the own clusters, ``small``
        and ``large``.

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
    """Softmax over classes of linear scores, at each query's own class, float32 (N,).

    Queries (N, D) and classes (C, D) are float32, ``labels`` (N,) the own classes,
    ``offset`` (C,) is added to the scores of a class.
    """
    queries, columns = torch.from_numpy(queries), torch.from_numpy(classes).T
    labels = torch.as_tensor(labels)
    offset = torch.zeros(len(classes)) if offset is None else torch.from_numpy(offset)
    posteriors = torch.empty(len(queries))
    block = max(1, BLOCK // len(classes))
    for start in range(0, len(queries), block):
        part = slice(start, start + block)
        scores = torch.addmm(offset, queries[part], columns)
        own = scores.gather(1, labels[part, None])[:, 0]
        posteriors[part] = (own - scores.logsumexp(dim=1)).exp()
    return posteriors.numpy()


def cosine_posteriors(points, labels, directions, temperature):
    """Posterior of each utterance's own cluster from cosines, float32 (N,).

    ``exp(cos(x, m_own) / T) / sum over clusters c of exp(cos(x, m_c) / T)``, with the
    points x (N, D) and the directions m (C, D) of the means, rows of length 1.
    """
    scaled = np.float32(1 / temperature) * directions
    return own_posteriors(points, scaled, labels)
