"""Spherical k-means: as low as scikit-learn's, never empty, the same each time."""

import numpy as np
import pytest
from sklearn.cluster import KMeans

from speechbrain_dino.clustering.kmeans import fit_kmeans
from speechbrain_dino.scoring.pairs import unit_rows


def clustered(count, centers, dim=16, noise=0.35, seed=0):
    rng = np.random.default_rng(seed)
    directions = unit_rows(rng.standard_normal((centers, dim)))
    truth = np.arange(count) % centers
    drawn = directions[truth] + noise * rng.standard_normal((count, dim))
    return unit_rows(drawn)


def inertia_of(points, labels):
    """Of any labels, with the directions of the means as means."""
    total = 0.0
    for label in np.unique(labels):
        mean = points[labels == label].sum(axis=0, dtype=np.float64)
        mean /= np.linalg.norm(mean)
        total += ((points[labels == label] - mean) ** 2).sum()
    return total


@pytest.mark.parametrize(("number", "seed"), [(5, 0), (40, 1), (150, 2)])
def test_inertia_is_no_worse_than_scikit_learns(number, seed):
    points = clustered(1200, 40, seed=seed)
    means = fit_kmeans(points, number, seed)
    other = KMeans(number, n_init=1, random_state=seed).fit(points).labels_
    own = inertia_of(points, means.labels)
    assert own <= 1.03 * inertia_of(points, other)
    assert means.inertia[-1] == pytest.approx(own, rel=1e-4)


@pytest.mark.parametrize("number", [2, 50, 299, 300])
def test_no_cluster_is_empty(number):
    points = clustered(300, 20)
    means = fit_kmeans(points, number)
    sizes = np.bincount(means.labels, minlength=number)
    assert (means.sizes == sizes).all() and sizes.min() >= 1 and len(sizes) == number
    for label in (0, number - 1):
        expected = points[means.labels == label].sum(axis=0)
        np.testing.assert_allclose(means.sums[label], expected, atol=1e-5)


def test_the_seed_decides():
    points = clustered(400, 60, noise=0.8)
    one, again, other = (fit_kmeans(points, 30, seed) for seed in (3, 3, 4))
    assert (one.labels == again.labels).all() and one.inertia == again.inertia
    assert (one.labels != other.labels).any()


def test_fewer_different_points_than_clusters():
    points = np.repeat(np.eye(4, dtype=np.float32), 5, axis=0)
    assert sorted(fit_kmeans(points, 4).sizes) == [5, 5, 5, 5]
    with pytest.raises(ValueError, match=r"5 clusters.*only 4 different"):
        fit_kmeans(points, 5)


@pytest.mark.parametrize("number", [1, 11])
def test_number_out_of_range(number):
    with pytest.raises(ValueError, match=f"{number} clusters of 10 embeddings"):
        fit_kmeans(clustered(10, 2), number)
