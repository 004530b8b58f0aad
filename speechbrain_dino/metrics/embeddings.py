"""Label-free metrics of embeddings: directions used, neighbors found again."""

import math

import torch
import torch.nn.functional as F


def effective_rank(embeddings):
    """Number of directions that embeddings (N, D) use, from 1 to min(N - 1, D).

    The exponential of the entropy of the singular values of the mean-free embeddings,
    normalized to sum 1 (Roy and Vetterli, 2007); 0 where all embeddings are equal.
    Raises ValueError at fewer than two embeddings and at values that are not finite.

    Example
    -------
    >>> round(effective_rank([[1.0, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0]]), 6)
    2.0
    """
    matrix = _embeddings(embeddings, "embeddings").double()
    centered = matrix - matrix.mean(dim=0)
    # What the subtraction leaves of equal rows is rounding, not a direction.
    if centered.norm() <= 1e-12 * matrix.norm():
        return 0.0
    values = torch.linalg.svdvals(centered)
    share = values / values.sum()
    return float(torch.special.entr(share).sum().exp())


def neighbor_agreement(first, second, k=1):
    """Share of utterances that find themselves again under another augmentation.

    Embeddings (N, D) of two versions of the same utterances: 1 where each is among the
    ``k`` nearest (cosine) of its other version, about k/N where embeddings carry no
    information, 0 where all are equal, since an equally near stranger counts against
    the utterance. Raises ValueError as `effective_rank`, and at unequal shapes.

    Example
    -------
    >>> neighbor_agreement([[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [1.0, -1.0]])
    0.5
    """
    first, second = _embeddings(first, "first"), _embeddings(second, "second")
    if first.shape != second.shape:
        raise ValueError(
            "neighbor_agreement needs two versions of the same utterances, was given "
            f"shapes {tuple(first.shape)} and {tuple(second.shape)}"
        )
    first = F.normalize(first.float(), dim=1)
    second = F.normalize(second.float(), dim=1)
    agreeing, block = 0, max(1, 4_000_000 // len(second))
    for start in range(0, len(first), block):
        scores = first[start : start + block] @ second.T
        own = scores.diagonal(offset=start).unsqueeze(1)
        agreeing += int(((scores >= own).sum(dim=1) <= k).sum())
    return agreeing / len(first)


def _embeddings(values, name):
    values = torch.as_tensor(values)
    if values.ndim != 2 or len(values) < 2:
        raise ValueError(
            f"{name} must be a matrix of at least two embeddings (N, D), was given "
            f"shape {tuple(values.shape)}"
        )
    bad = len(values) - int(torch.isfinite(values).all(dim=1).sum())
    if bad:
        raise ValueError(f"{bad} of {len(values)} rows of {name} are not finite")
    return values


def entropy(probs):
    """Entropy (...) in nats of probabilities (..., K), from 0 to ln K (uniform)."""
    return torch.special.entr(probs).sum(-1)


def embedding_std(embeddings):
    """Spread of directions (N, D), 0..1: mean deviation of a dimension x sqrt(D)."""
    unit = F.normalize(embeddings.float(), dim=1)
    return unit.std(0, correction=0).mean() * math.sqrt(unit.shape[1])
