"""Clusters against true labels. For diagnosis: no decision is made with these."""

import numpy as np
from sklearn.metrics import normalized_mutual_info_score
from sklearn.metrics.cluster import contingency_matrix


def against_truth(labels, truth):
    """Figures of clusters against true speakers, in O(N).

    What is left out or of no known speaker takes no part and is counted.

    ``nmi`` (arithmetic normalization); ``purity``, the share of utterances of their
    cluster's most frequent speaker; ``speaker_purity``, the same the other way round;
    ``pairs``: of pairs in one cluster the share of one speaker (precision), of pairs
    of one speaker the share in one cluster (recall), and F; ``b_cubed``: the same as
    means over utterances of their own cluster's and speaker's shares (Bagga and
    Baldwin, 1998), the utterance itself counted.

    Arguments
    ---------
    labels : int array, shape (N,)
        -1: left out.
    truth : sequence, shape (N,)
        Empty or None where not known.

    Returns
    -------
    dict
        The figures above, and ``utterances``, ``clusters`` and ``speakers`` compared,
        ``left_out`` and ``unknown``, which are not.

    Raises
    ------
    ValueError
        If the numbers differ or nothing can be compared.

    Example
    -------
    >>> figures = against_truth([0, 0, 1, -1], ["ann", "ann", "ann", "bob"])
    >>> figures["purity"], figures["pairs"]["recall"], figures["left_out"]
    (1.0, 0.3333333333333333, 1)
    """
    labels = np.asarray(labels)
    truth = np.array(["" if name is None else str(name) for name in truth])
    if labels.shape != truth.shape:
        raise ValueError(
            f"{len(truth)} true labels do not fit {len(labels)} clustered utterances"
        )
    known = truth != ""
    used = (labels >= 0) & known
    if not used.any():
        raise ValueError(
            "no utterance has both a cluster and a true label: is the truth of these "
            "utterances?"
        )
    labels, truth = labels[used], np.unique(truth[used], return_inverse=True)[1]
    table = contingency_matrix(truth, labels, sparse=True).tocoo()
    by_speaker = np.bincount(table.row, table.data)
    by_cluster = np.bincount(table.col, table.data)
    return {
        "nmi": float(normalized_mutual_info_score(truth, labels)),
        "purity": _largest(table.col, table.data) / len(labels),
        "speaker_purity": _largest(table.row, table.data) / len(labels),
        "pairs": _pairs(table.data, by_cluster, by_speaker),
        "b_cubed": _b_cubed(table, by_cluster, by_speaker),
        "utterances": len(labels),
        "clusters": len(by_cluster),
        "speakers": len(by_speaker),
        "left_out": int((~used & known).sum()),
        "unknown": int((~known).sum()),
    }


def _largest(group, counts):
    """Sum over groups of their largest count."""
    largest = np.zeros(group.max() + 1, dtype=np.int64)
    np.maximum.at(largest, group, counts)
    return int(largest.sum())


def _pairs(both, by_cluster, by_speaker):
    def pairs(counts):
        counts = counts.astype(np.float64)
        return float((counts * (counts - 1)).sum() / 2)

    return _f(pairs(both), pairs(both), pairs(by_cluster), pairs(by_speaker))


def _b_cubed(table, by_cluster, by_speaker):
    square = table.data.astype(np.float64) ** 2
    precise = float((square / by_cluster[table.col]).sum())
    recalled = float((square / by_speaker[table.row]).sum())
    return _f(precise, recalled, float(table.data.sum()), float(table.data.sum()))


def _f(precise, recalled, clustered, spoken):
    """Precision, recall and F; where there is nothing to find, all of it is found."""
    precision = precise / clustered if clustered else 1.0
    recall = recalled / spoken if spoken else 1.0
    total = precision + recall
    f = 2 * precision * recall / total if total else 0.0
    return {"precision": precision, "recall": recall, "f": f}
