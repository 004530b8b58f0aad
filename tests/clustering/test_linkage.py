"""Average linkage beside SciPy's and beside a slow version."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy.cluster.hierarchy import fcluster, linkage
from sklearn.metrics import adjusted_rand_score

from speechbrain_dino.clustering.linkage import average_linkage, cut_tree

CASES = st.tuples(st.integers(3, 60), st.integers(2, 8), st.integers(0, 10_000))


def unit(count, dim, seed):
    drawn = np.random.default_rng(seed).standard_normal((count, dim))
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def same(one, other):
    return adjusted_rand_score(one, other) == 1


def slow_heights(points, bias):
    """Unites the best pair, again and again."""
    scores = points @ points.T + bias[:, None] + bias
    parts, heights = [[row] for row in range(len(points))], []
    while len(parts) > 1:
        pairs = [(a, b) for a in range(len(parts)) for b in range(a)]
        means = [scores[np.ix_(parts[a], parts[b])].mean() for a, b in pairs]
        a, b = pairs[int(np.argmax(means))]
        heights.append(1 - max(means))
        parts[b] += parts.pop(a)
    return heights


@settings(deadline=None, max_examples=40)
@given(CASES)
def test_heights_and_cuts_are_scipys(case):
    points = unit(*case)
    tree = average_linkage(points)
    reference = linkage(points, method="average", metric="cosine")
    np.testing.assert_allclose(tree[:, 2], reference[:, 2], atol=1e-5)
    assert tree[-1, 3] == len(points)
    for number in {2, len(points) // 2 + 1, len(points)}:
        expected = fcluster(reference, number, "maxclust")
        gaps = np.diff(reference[:, 2], prepend=-1)
        unions = len(points) - number
        assert len(set(cut_tree(tree, number))) == number
        if unions < len(gaps) and gaps[unions] > 1e-5:
            assert same(cut_tree(tree, number), expected)


@settings(deadline=None, max_examples=40)
@given(CASES, st.floats(-0.5, 0.95))
def test_threshold_cuts_are_fclusters(case, threshold):
    points = unit(*case)
    reference = linkage(points, method="average", metric="cosine")
    if np.abs(reference[:, 2] - (1 - threshold)).min() > 1e-5:
        expected = fcluster(reference, 1 - threshold, "distance")
        labels = cut_tree(average_linkage(points), threshold=threshold)
        assert len(set(labels)) == len(set(expected))
        assert same(labels, expected)


@settings(deadline=None, max_examples=30)
@given(CASES)
def test_weights_stand_for_repeated_rows(case):
    points = unit(*case)
    weights = np.random.default_rng(case[-1]).integers(1, 5, len(points))
    repeated = np.repeat(points, weights, axis=0)
    whole = linkage(repeated, method="average", metric="cosine")
    # Equal rows are united first, at height 0.
    first = len(repeated) - len(points)
    tree = average_linkage(points, weights=weights)
    np.testing.assert_allclose(tree[:, 2], whole[first:, 2], atol=1e-5)


@settings(deadline=None, max_examples=30)
@given(st.tuples(st.integers(3, 14), st.integers(2, 6), st.integers(0, 10_000)))
def test_bias_beside_the_slow_version(case):
    points = unit(*case)
    bias = np.random.default_rng(case[-1]).normal(0, 0.3, len(points))
    tree = average_linkage(points, bias=bias)
    np.testing.assert_allclose(tree[:, 2], slow_heights(points, bias), atol=1e-5)


def test_bad_input():
    with pytest.raises(ValueError, match=r"two points.*\(1, 2\)"):
        average_linkage(np.ones((1, 2)))
    tree = average_linkage(unit(5, 3, 0))
    with pytest.raises(ValueError, match="6 clusters of 5 points"):
        cut_tree(tree, 6)
    with pytest.raises(ValueError, match="one of them"):
        cut_tree(tree)
    with pytest.raises(ValueError, match="one of them"):
        cut_tree(tree, 2, 0.5)
