"""Spherical k-means within a training, against scikit-learn and loops."""

import numpy as np
import pytest
import torch
from sklearn.metrics import adjusted_rand_score

from speechbrain_dino.losses.device_kmeans import nearest_others, spherical_kmeans


def blobs(clusters=6, members=30, dims=16):
    centers = torch.randn(clusters, dims)
    x = centers.repeat_interleave(members, 0) + 0.1 * torch.randn(
        clusters * members, dims
    )
    return x, np.repeat(np.arange(clusters), members)


def test_well_separated_clusters_are_found_again():
    x, truth = blobs(clusters=3)
    scores = []
    for seed in range(12):
        clusters, _ = spherical_kmeans(x * torch.rand(len(x), 1), 3, seed=seed)
        scores.append(adjusted_rand_score(truth, clusters))
    # A start without an embedding of one of them may stay in two.
    assert max(scores) == 1.0 and min(scores) > 0.4


def test_assignments_are_the_nearest_centroids_whatever_the_block():
    x, _ = blobs()
    clusters, centroids = spherical_kmeans(x, 9, iterations=3, seed=2)
    torch.testing.assert_close(centroids.norm(dim=1), torch.ones(9))
    assert torch.equal(clusters, (x @ centroids.T).argmax(1))
    for block in (1, 9 * 7):
        other, _ = spherical_kmeans(x, 9, iterations=3, seed=2, block=block)
        assert torch.equal(other, clusters)
    half, _ = spherical_kmeans(x.half(), 9, iterations=3, seed=2)
    assert adjusted_rand_score(clusters, half) > 0.9


def test_every_iteration_brings_the_embeddings_nearer():
    x, _ = blobs(clusters=20, members=5)
    unit = torch.nn.functional.normalize(x, dim=1)
    sums = []
    for iterations in range(1, 6):
        clusters, centroids = spherical_kmeans(x, 12, iterations, seed=3)
        sums.append((unit * centroids[clusters]).sum().item())
    assert sums == pytest.approx(sorted(sums), abs=1e-4) and sums[-1] > sums[0]


def test_more_clusters_than_embeddings_are_refused():
    with pytest.raises(ValueError, match="5 clusters of 4 embeddings"):
        spherical_kmeans(torch.randn(4, 2), 5)


@pytest.mark.parametrize("block", [1, 2**20])
def test_nearest_others_equal_the_loop(block):
    centroids = torch.nn.functional.normalize(torch.randn(7, 3), dim=1)
    usable = torch.tensor([True, True, False, True, True, False, True])
    nearest = nearest_others(centroids, usable, 3, block)
    for own in range(7):
        order = (centroids @ centroids[own]).argsort(descending=True).tolist()
        expected = [c for c in order if c != own and usable[c]][:3]
        assert nearest[own].tolist() == expected
    only = nearest_others(centroids, torch.arange(7) == 3, 2)
    assert only[3].tolist() == [-1, -1] and only[0].tolist() == [3, -1]
