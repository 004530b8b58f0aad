"""Label-free figures of embeddings: directions used, neighbors found again."""

import math

import torch
import torch.nn.functional as F


def effective_rank(embeddings):
    """Number of directions that the embeddings use.

    The exponential of the entropy of the singular values of the mean-free
    embeddings, normalized to sum 1 (Roy and Vetterli, 2007): D where all
    directions vary alike, 1 where only one does.

    Arguments
    ---------
    embeddings : array or torch.Tensor, shape (N, D)
        One embedding a row, at least two.

    Returns
    -------
    float
        From 1 to min(N - 1, D); 0 where all embeddings are equal.

    Raises
    ------
    ValueError
        If there are fewer than two embeddings or a value is not finite.

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

    Needs no labels: 1 where each utterance's embedding is nearest (cosine) to that
    of its own other version, about k/N where embeddings say nothing, and 0 where
    all are equal, since an equally near stranger counts against the utterance.

    Arguments
    ---------
    first : array or torch.Tensor, shape (N, D)
        Embeddings of N utterances, at least two.
    second : array or torch.Tensor, shape (N, D)
        Embeddings of other versions of the same utterances in the same order.
    k : int
        How many nearest neighbors in ``second`` may hold the utterance.

    Returns
    -------
    float
        In 0..1.

    Raises
    ------
    ValueError
        If shapes differ, there are fewer than two utterances, or a value is not
        finite.

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
    first = torch.nn.functional.normalize(first.float(), dim=1)
    second = torch.nn.functional.normalize(second.float(), dim=1)
    found, block = 0, max(1, 4_000_000 // len(second))
    for start in range(0, len(first), block):
        scores = first[start : start + block] @ second.T
        own = scores.diagonal(offset=start).unsqueeze(1)
        found += int(((scores >= own).sum(dim=1) <= k).sum())
    return found / len(first)


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
