"""How many clusters there are, without labels: the best cut of a tree.

The silhouette of an utterance compares how far it is from the others of its cluster, a,
with how far it is from the nearest other cluster, b: (b - a) / max(a, b), with 1 -
cosine as distance and directions of means as clusters (Rousseeuw, 1987; 0 for a cluster
of one). Its mean over utterances errs upwards where the sessions of a speaker lie
apart, its mean over clusters downwards where many speakers have one utterance; the
criterion is the mean of the two.

On generated embeddings of 20 to 2,000 speakers of unequal sizes, with and without
sessions, at an EER of 2 to 9 %, most answers lie within 0.65 to 1.3 times the truth.
The worst were 0.55 (20 speakers, close to each other) and 3 times (sessions as far
apart as speakers, which no criterion without labels can tell). A flat curve says that
a range will do.
"""

import logging

import numpy as np

from speechbrain_dino.clustering.linkage import cut_tree
from speechbrain_dino.clustering.neighbors import nearest, sum_rows
from speechbrain_dino.scoring.pairs import unit_rows
from speechbrain_dino.utils.progress import progress
from speechbrain_dino.utils.randomness import generator

logger = logging.getLogger(__name__)


def choose_number(points, leaves, tree, candidates, seed=0, sample=50_000):
    """Cuts a tree of points (N, D), rows of length 1, at every candidate.

    Returns the best, the smallest of equals, and ``clusters``, ``criterion``,
    ``by_utterance`` and ``by_cluster`` of each. ``leaves`` (N,) maps points to leaves
    of the tree (L - 1, 4) of ``average_linkage``; the silhouette is that of ``sample``
    points drawn by ``seed``, the clusters those of all.

    Example
    -------
    >>> turn = np.repeat([0.0, 1.0, 2.0], 4) + np.tile([0.0, 0.1, 0.2, 0.3], 3)
    >>> points = np.stack([np.cos(turn), np.sin(turn)], axis=1).astype(np.float32)
    >>> from speechbrain_dino.clustering.linkage import average_linkage
    >>> choose_number(points, np.arange(12), average_linkage(points), [2, 3, 6])[0]
    3
    """
    leaf_sums = sum_rows(points, leaves, len(tree) + 1)
    leaf_sizes = np.bincount(leaves, minlength=len(tree) + 1)
    rows = np.arange(len(points))
    if len(rows) > sample:
        rows = np.sort(generator(seed).choice(rows, sample, replace=False))
    shown, leaves, curve = points[rows], leaves[rows], []
    for number in progress(candidates, desc="number of clusters", unit="candidates"):
        cut = cut_tree(tree, number)
        sums = sum_rows(leaf_sums, cut, number)
        sizes = np.bincount(cut, leaf_sizes, minlength=number)
        both = silhouettes(shown, cut[leaves], sums, sizes)
        curve.append({"clusters": int(number), "criterion": float(np.mean(both))})
        curve[-1] |= {"by_utterance": both[0], "by_cluster": both[1]}
    best = max(curve, key=lambda line: (line["criterion"], -line["clusters"]))
    logger.info("%d clusters, criterion %.4f", best["clusters"], best["criterion"])
    return best["clusters"], curve


def silhouettes(points, labels, sums, sizes):
    """Mean silhouette (-1..1) of points, and the mean over clusters of their means.

    Points (N, D), rows of length 1, may be a sample; ``labels`` (N,) are their
    clusters, ``sums`` (K, D) and ``sizes`` (K,) those of all points.
    """
    number = len(sums)
    products, clusters = nearest(points, unit_rows(sums, keep_zeros=True), 2)
    other = np.where(clusters[:, 0] == labels, products[:, 1], products[:, 0])
    # The other points of the own cluster.
    others = unit_rows(sums[labels] - points, keep_zeros=True)
    a = 1 - np.einsum("nd,nd->n", points, others, dtype=np.float64)
    b = 1 - other.astype(np.float64)
    value = (b - a) / np.maximum(np.maximum(a, b), 1e-12)
    value[sizes[labels] == 1] = 0
    counts = np.bincount(labels, minlength=number)
    by_cluster = np.bincount(labels, value, minlength=number)[counts > 0]
    return float(value.mean()), float((by_cluster / counts[counts > 0]).mean())


def default_candidates(utterances, leaves, smallest=3, largest=500, number=40):
    """Rising numbers of clusters to try, in equal ratios, within 2 to ``leaves``.

    ``smallest`` and ``largest`` are the utterances in a cluster on average.
    """
    return spread(utterances / largest, utterances / smallest, number, leaves)


def spread(low, high, number, leaves):
    """Whole numbers in equal ratios from ``low`` to ``high``, within 2 to ``leaves``.

    Example
    -------
    >>> spread(1, 1000, 4, 500)
    [2, 10, 100, 500]
    """
    values = np.geomspace(max(low, 1), max(high, 2), number)
    return np.unique(np.clip(np.round(values), 2, leaves).astype(int)).tolist()
