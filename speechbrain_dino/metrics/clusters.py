"""Clusters against true labels. For diagnosis: no decision is made with these."""

import numpy as np
from sklearn.metrics import normalized_mutual_info_score
from sklearn.metrics.cluster import contingency_matrix, pair_confusion_matrix


def against_truth(labels, truth):
    """Metrics of clusters (N,), from 0, against true speakers (N,), in O(N).

    What is left out (-1) or of no known speaker (empty, None) takes no part and is
    counted. Raises ValueError if the numbers differ or nothing can be compared.

    ``nmi`` (arithmetic normalization); ``purity``, the share of utterances of their
    cluster's most frequent speaker; ``speaker_purity``, the same the other way round;
    ``pairs``: of pairs in one cluster the share of one speaker (precision), of pairs
    of one speaker the share in one cluster (recall), and F; ``b_cubed``: the same as
    means over utterances of their own cluster's and speaker's shares (Bagga and
    Baldwin, 1998), the utterance itself counted.

    Example
    -------
    >>> metrics = against_truth([0, 0, 1, -1], ["ann", "ann", "ann", "bob"])
    >>> metrics["purity"], metrics["pairs"]["recall"], metrics["left_out"]
    (1.0, 0.3333333333333333, 1)
    """
    labels = np.asarray(labels)
    truth = np.array(["" if name is None else str(name) for name in truth])
    if labels.shape != truth.shape:
        raise ValueError(
            f"{len(truth)} true labels do not fit {len(labels)} clustered utterances"
        )
    has_truth = truth != ""
    used = (labels >= 0) & has_truth
    if not used.any():
        raise ValueError(
            "no utterance has both a cluster and a true label: is the truth of these "
            "utterances?"
        )
    labels, truth = labels[used], np.unique(truth[used], return_inverse=True)[1]
    table = contingency_matrix(truth, labels, sparse=True).tocoo()
    (_, only_clustered), (only_spoken, both) = pair_confusion_matrix(truth, labels)
    by_speaker = np.bincount(table.row, table.data)
    by_cluster = np.bincount(table.col, table.data)
    return {
        "nmi": float(normalized_mutual_info_score(truth, labels)),
        "purity": _largest(table.col, table.data) / len(labels),
        "speaker_purity": _largest(table.row, table.data) / len(labels),
        "pairs": _f(both, both, both + only_clustered, both + only_spoken),
        "b_cubed": _b_cubed(table, by_cluster, by_speaker),
        "utterances": len(labels),
        "clusters": len(by_cluster),
        "speakers": len(by_speaker),
        "left_out": int((~used & has_truth).sum()),
        "unknown": int((~has_truth).sum()),
    }


def _largest(group, counts):
    """Sum over groups of their largest count."""
    largest = np.zeros(group.max() + 1, dtype=np.int64)
    np.maximum.at(largest, group, counts)
    return int(largest.sum())


def _b_cubed(table, by_cluster, by_speaker):
    square = table.data.astype(np.float64) ** 2
    precise = (square / by_cluster[table.col]).sum()
    recalled = (square / by_speaker[table.row]).sum()
    return _f(precise, recalled, table.data.sum(), table.data.sum())


def _f(precise, recalled, clustered, spoken):
    """Precision, recall and F; where there is nothing to find, all of it is found."""
    precision = float(precise / clustered) if clustered else 1.0
    recall = float(recalled / spoken) if spoken else 1.0
    total = precision + recall
    f = 2 * precision * recall / total if total else 0.0
    return {"precision": precision, "recall": recall, "f": f}
