"""Figures that show a collapse: entropy of distributions, spread of embeddings."""

import math

import torch
import torch.nn.functional as F


def entropy(probs):
    """Entropy over the last axis, in nats.

    Arguments
    ---------
    probs : torch.Tensor
        Probabilities (..., K).

    Returns
    -------
    torch.Tensor
        (...), from 0 (one prototype) to ln K (uniform).

    Example
    -------
    >>> entropy(torch.tensor([[0.25, 0.25, 0.25, 0.25], [1.0, 0.0, 0.0, 0.0]]))
    tensor([1.3863, 0.0000])
    """
    return torch.special.entr(probs).sum(-1)


def embedding_std(embeddings):
    """Spread of unit embeddings: mean standard deviation of a dimension, x sqrt(D).

    Arguments
    ---------
    embeddings : torch.Tensor
        Embeddings (N, D), of any length.

    Returns
    -------
    torch.Tensor
        Scalar, 1 where directions are spread evenly, 0 where all are one.

    Example
    -------
    >>> embeddings = torch.tensor([[2.0, 0.0], [-1.0, 0.0], [0.0, 3.0], [0.0, -1.0]])
    >>> embedding_std(embeddings)
    tensor(1.0000)
    """
    unit = F.normalize(embeddings.float(), dim=1)
    return unit.std(0, correction=0).mean() * math.sqrt(unit.shape[1])
