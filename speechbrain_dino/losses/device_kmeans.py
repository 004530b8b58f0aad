"""Spherical k-means within a training, on the device of the embeddings."""

import torch
import torch.nn.functional as F


@torch.no_grad()
def spherical_kmeans(embeddings, num_clusters, iterations=10, seed=0, block=2**27):
    """Clusters embeddings (N, D) by cosine, on the device that they are on.

    Returns clusters int64 (N,) and centroids, float32 unit vectors (K, D). Starts from
    embeddings drawn at random; a cluster without members keeps its centroid. ``block``
    similarities are held at a time. Raises ValueError unless 1 <= K <= N.
    """
    if not 1 <= num_clusters <= len(embeddings):
        raise ValueError(
            f"{num_clusters} clusters of {len(embeddings)} embeddings: give at most as "
            "many clusters as there are embeddings"
        )
    drawn = torch.randperm(
        len(embeddings), generator=torch.Generator().manual_seed(seed)
    )
    first = drawn[:num_clusters].to(embeddings.device)
    centroids = F.normalize(embeddings[first].float(), dim=1)
    rows = max(block // num_clusters, 1)
    for _ in range(iterations):
        assignments = _nearest(embeddings, centroids, rows)
        sums = torch.zeros_like(centroids)
        for part, clusters in zip(embeddings.split(rows), assignments.split(rows)):
            sums.index_add_(0, clusters, F.normalize(part.float(), dim=1))
        filled = torch.bincount(assignments, minlength=num_clusters) > 0
        centroids = torch.where(filled[:, None], F.normalize(sums, dim=1), centroids)
    return _nearest(embeddings, centroids, rows), centroids


def _nearest(embeddings, centroids, rows):
    # The length of an embedding does not change which centroid is nearest.
    parts = embeddings.split(rows)
    return torch.cat([(part.float() @ centroids.T).argmax(1) for part in parts])


@torch.no_grad()
def nearest_others(centroids, usable, number=1, block=2**27):
    """Nearest other usable clusters (K, number) by cosine, in order; -1 if none."""
    blocks = []
    rows = max(block // len(centroids), 1)
    for first in range(0, len(centroids), rows):
        cosines = centroids[first : first + rows] @ centroids.T
        cosines.diagonal(offset=first).fill_(-2)
        cosines.masked_fill_(~usable, -2)
        best, clusters = cosines.topk(min(number, len(centroids)), dim=1)
        blocks.append(clusters.where(best > -1.5, -1))
    return torch.cat(blocks)
