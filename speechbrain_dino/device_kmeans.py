"""Spherical k-means in torch, for clusters that are made anew within a training."""

import torch
import torch.nn.functional as F


@torch.no_grad()
def spherical_kmeans(embeddings, num_clusters, iterations=10, seed=0, block=2**27):
    """Clusters embeddings by cosine, on the device that they are on.

    Starts from embeddings drawn at random; a cluster that loses all its members keeps
    its centroid.

    Arguments
    ---------
    embeddings : torch.Tensor
        (N, D), of any length and floating-point type.
    num_clusters : int
        Number of clusters K, at most N.
    iterations : int
        Passes over the embeddings.
    seed : int
        Chooses the first centroids.
    block : int
        Similarities that are held at a time.

    Returns
    -------
    assignments : torch.Tensor
        Cluster of each embedding, int64 (N,).
    centroids : torch.Tensor
        Unit vectors (K, D), float32.

    Raises
    ------
    ValueError
        If there are fewer embeddings than clusters.

    Example
    -------
    >>> x = torch.tensor([[1.0, 0.0], [2.0, 0.1], [0.0, 1.0], [0.1, 3.0]])
    >>> found, _ = spherical_kmeans(x, 2, seed=1)
    >>> bool(found[0] == found[1] and found[2] == found[3] and found[0] != found[2])
    True
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
        for part, found in zip(embeddings.split(rows), assignments.split(rows)):
            sums.index_add_(0, found, F.normalize(part.float(), dim=1))
        filled = torch.bincount(assignments, minlength=num_clusters) > 0
        centroids = torch.where(filled[:, None], F.normalize(sums, dim=1), centroids)
    return _nearest(embeddings, centroids, rows), centroids


def _nearest(embeddings, centroids, rows):
    # The length of an embedding does not change which centroid is nearest.
    parts = embeddings.split(rows)
    return torch.cat([(part.float() @ centroids.T).argmax(1) for part in parts])


@torch.no_grad()
def nearest_others(centroids, usable, number=1, block=2**27):
    """The nearest other clusters of each cluster, by cosine.

    Arguments
    ---------
    centroids : torch.Tensor
        Unit vectors (K, D).
    usable : torch.Tensor
        Which clusters may be chosen, bool (K,).
    number : int
        How many to give.
    block : int
        Similarities that are held at a time.

    Returns
    -------
    torch.Tensor
        int64 (K, number), nearest first; -1 where there is none left.

    Example
    -------
    >>> centroids = torch.nn.functional.normalize(
    ...     torch.tensor([[1.0, 0.0], [1.0, 0.5], [0.0, 1.0]])
    ... )
    >>> nearest_others(centroids, torch.tensor([True, True, True])).flatten()
    tensor([1, 0, 1])
    """
    found = []
    rows = max(block // len(centroids), 1)
    for first in range(0, len(centroids), rows):
        cosines = centroids[first : first + rows] @ centroids.T
        cosines.diagonal(offset=first).fill_(-2)
        cosines.masked_fill_(~usable, -2)
        best, clusters = cosines.topk(min(number, len(centroids)), dim=1)
        found.append(clusters.where(best > -1.5, -1))
    return torch.cat(found)
