"""Clusters against true labels, beside scikit-learn and slow versions."""

from collections import Counter
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from sklearn.metrics import normalized_mutual_info_score

from speechbrain_dino.metrics.clusters import against_truth

PAIRS = st.lists(
    st.tuples(st.integers(0, 4), st.sampled_from("abcde")), min_size=2, max_size=40
)


def slow_purity(groups, names):
    most = 0
    for group in set(groups):
        inside = [name for name, own in zip(names, groups) if own == group]
        most += Counter(inside).most_common(1)[0][1]
    return most / len(names)


def slow_b_cubed(groups, names):
    """Precision; recall with the two exchanged."""
    shares = []
    for group, name in zip(groups, names):
        inside = [other for other, own in zip(names, groups) if own == group]
        shares.append(inside.count(name) / len(inside))
    return np.mean(shares)


@settings(deadline=None, max_examples=60)
@given(PAIRS)
def test_beside_slow_versions(pairs):
    labels, names = map(list, zip(*pairs))
    metrics = against_truth(labels, names)
    expected = normalized_mutual_info_score(names, labels)
    assert metrics["nmi"] == pytest.approx(expected, abs=1e-9)
    assert metrics["purity"] == pytest.approx(slow_purity(labels, names))
    assert metrics["speaker_purity"] == pytest.approx(slow_purity(names, labels))
    b_cubed = metrics["b_cubed"]
    assert b_cubed["precision"] == pytest.approx(slow_b_cubed(labels, names))
    assert b_cubed["recall"] == pytest.approx(slow_b_cubed(names, labels))
    clustered = [a == b for a, b in combinations(labels, 2)]
    spoken = [a == b for a, b in combinations(names, 2)]
    both = np.sum(np.logical_and(clustered, spoken))
    precision = both / sum(clustered) if any(clustered) else 1
    recall = both / sum(spoken) if any(spoken) else 1
    assert metrics["pairs"]["precision"] == pytest.approx(precision)
    assert metrics["pairs"]["recall"] == pytest.approx(recall)
    total = precision + recall
    f = 2 * precision * recall / total if total else 0
    assert metrics["pairs"]["f"] == pytest.approx(f)


def test_what_takes_no_part_is_counted():
    metrics = against_truth([0, 0, 1, -1, 1, -1], ["a", "a", "b", "b", None, ""])
    assert (metrics["utterances"], metrics["left_out"], metrics["unknown"]) == (3, 1, 2)
    assert (metrics["nmi"], metrics["purity"], metrics["clusters"]) == (1, 1, 2)


def test_bad_input():
    with pytest.raises(ValueError, match="2 true labels do not fit 3"):
        against_truth([0, 1, 1], ["a", "b"])
    with pytest.raises(ValueError, match="no utterance has both"):
        against_truth([0, -1], ["", "b"])
