"""Sinkhorn-Knopp: targets that use all prototypes equally, batch by batch."""

import torch

from speechbrain_dino.processes import gathered


@torch.no_grad()
def sinkhorn(scores, iterations=3):
    """Assigns samples to prototypes so that all prototypes are used alike.

    With Q = exp(scores), each iteration divides by the sum over samples (of all
    processes), then by the sum over prototypes; what is left after the last is a
    distribution a sample (SwAV, Caron et al. 2020, section 3.1). Computed with
    logarithms, so that no score is too large or too small.

    Arguments
    ---------
    scores : torch.Tensor
        Logits by temperature, (..., K); all leading axes are samples.
    iterations : int
        Iterations, at least 1.

    Returns
    -------
    torch.Tensor
        Probabilities, of the same shape.

    Raises
    ------
    ValueError
        If there is no iteration.

    Example
    -------
    >>> sinkhorn(torch.tensor([[9.0, 0.0], [9.0, 1.0]]), 30).round(decimals=2)
    tensor([[0.6200, 0.3800],
            [0.3800, 0.6200]])
    """
    if iterations < 1:
        raise ValueError(f"{iterations} iterations of Sinkhorn; at least 1 is needed")
    log = scores.flatten(0, -2).float()
    for _ in range(iterations):
        over_samples = gathered(log.logsumexp(0, keepdim=True)).logsumexp(0)
        log = log - over_samples
        log = log - log.logsumexp(-1, keepdim=True)
    return log.exp().view(scores.shape)
