"""Moves of means: the objective rises by what the moves promise."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from speechbrain_dino.clustering.kmeans import fill_empty, move_means
from speechbrain_dino.clustering.neighbors import (
    members,
    nearest,
    sum_rows,
)
from speechbrain_dino.scoring.pairs import unit_rows


def drawn(count, dim, seed):
    return unit_rows(np.random.default_rng(seed).standard_normal((count, dim)))


def objective(points, labels):
    sums = [points[labels == label].sum(axis=0) for label in np.unique(labels)]
    return np.linalg.norm(sums, axis=1).sum()


@settings(deadline=None, max_examples=40)
@given(st.integers(20, 120), st.integers(3, 12), st.integers(0, 10_000))
def test_moves_raise_the_objective_and_keep_the_number(count, number, seed):
    points = drawn(count, 4, seed)
    labels = np.random.default_rng(seed).integers(0, number, count)
    labels[:number] = np.arange(number)
    near = np.tile(np.arange(number), (number, 1))
    moved_to, moves = move_means(points, labels, sum_rows(points, labels, number), near)
    assert sorted(set(moved_to)) == list(range(number))
    if moves:
        assert objective(points, moved_to) > objective(points, labels)
    else:
        np.testing.assert_array_equal(moved_to, labels)


def test_a_misplaced_mean_finds_its_place():
    # Two means share one group, two groups share one mean.
    groups = np.repeat(np.eye(3), 20, axis=0)
    points = unit_rows(groups + 0.05 * drawn(60, 3, 0))
    labels = np.repeat([0, 2, 2], 20)
    labels[10:20] = 1
    near = np.array([[1, 2], [0, 2], [0, 1]])
    moved_to, moves = move_means(points, labels, sum_rows(points, labels, 3), near)
    assert moves == 1
    for group in np.split(moved_to, 3):
        assert len(set(group)) == 1
    assert len(set(moved_to)) == 3


@settings(deadline=None, max_examples=30)
@given(st.integers(5, 60), st.integers(0, 10_000))
def test_empty_clusters_are_filled(count, seed):
    points = drawn(count, 3, seed)
    rng = np.random.default_rng(seed)
    number = int(rng.integers(2, count + 1))
    labels = rng.integers(0, (number + 1) // 2, count)
    filled = fill_empty(points, labels, number)
    assert np.bincount(filled, minlength=number).min() >= 1
    # Clusters were divided, never mixed.
    for label in range(number):
        assert len(set(labels[filled == label])) == 1


def test_equal_points_cannot_be_divided():
    points = np.repeat(np.eye(3, dtype=np.float32), 4, axis=0)
    with pytest.raises(ValueError, match=r"4 clusters.*only 3 different"):
        fill_empty(points, np.zeros(12, dtype=np.int64), 4)


@settings(deadline=None, max_examples=30)
@given(st.integers(2, 50), st.integers(1, 9), st.integers(0, 10_000))
def test_sums_members_and_nearest_beside_slow_versions(count, number, seed):
    rng = np.random.default_rng(seed)
    points, labels = drawn(count, 4, seed), rng.integers(0, number, count)
    rows, first = members(labels, number)
    sums = sum_rows(points, labels, number)
    for label in range(number):
        own = np.flatnonzero(labels == label)
        np.testing.assert_array_equal(rows[first[label] : first[label + 1]], own)
        np.testing.assert_allclose(sums[label], points[own].sum(axis=0), atol=1e-5)
    products, rows = nearest(points, points, 2)
    slow = np.sort(points @ points.T, axis=1)[:, :-3:-1]
    np.testing.assert_allclose(products, slow, atol=1e-5)
    own = np.einsum("nd,nkd->nk", points, points[rows])
    np.testing.assert_allclose(products, own, atol=1e-5)
