"""Sinkhorn against the iteration written out, and the losses that use it."""

import numpy as np
import pytest
import torch

from speechbrain_dino.losses.dino import (
    DINOLoss,
    SDPNLoss,
    dino_cross_entropy,
    sinkhorn,
)


def slow_sinkhorn(q, iterations):
    """SwAV's iteration on a matrix of samples x prototypes, float64."""
    q = np.asarray(q, dtype=float).T.copy()
    q /= q.sum()
    prototypes, samples = q.shape
    for _ in range(iterations):
        q /= q.sum(1, keepdims=True) * prototypes
        q /= q.sum(0, keepdims=True) * samples
    return (q * samples).T


@pytest.mark.parametrize("iterations", [1, 3, 10])
@pytest.mark.parametrize("samples, prototypes", [(12, 5), (4, 30)])
def test_sinkhorn_equals_the_iteration(samples, prototypes, iterations):
    scores = 4 * torch.randn(samples, prototypes)
    expected = slow_sinkhorn(scores.double().exp(), iterations)
    assigned = sinkhorn(scores, iterations)
    np.testing.assert_allclose(assigned, expected, rtol=1e-4, atol=1e-7)


def test_prototypes_are_used_alike():
    assigned = sinkhorn(torch.randn(2, 32, 8) + torch.arange(8), 50)
    torch.testing.assert_close(assigned.sum(-1), torch.ones(2, 32))
    torch.testing.assert_close(assigned.mean((0, 1)), torch.full((8,), 1 / 8))


def test_any_size_of_scores_is_borne():
    assigned = sinkhorn(1e4 * torch.randn(6, 9))
    assert assigned.isfinite().all()
    torch.testing.assert_close(assigned.sum(-1), torch.ones(6))
    with pytest.raises(ValueError, match="at least 1"):
        sinkhorn(torch.randn(2, 2), 0)


def test_sinkhorn_takes_the_place_of_the_center():
    student, teacher = torch.randn(4, 6, 10), torch.randn(2, 6, 10)
    loss = DINOLoss(10, teacher_temp=0.5, centering="sinkhorn")
    flat = slow_sinkhorn((teacher.double() / 0.5).exp().flatten(0, 1), 3)
    targets = torch.from_numpy(flat).view(2, 6, 10).float()
    log_probs = torch.log_softmax(student / 0.1, -1)
    expected = dino_cross_entropy(log_probs, targets)
    torch.testing.assert_close(loss(student, teacher), expected)
    assert loss.center.count_nonzero() == 0
    with pytest.raises(ValueError, match="centering is 'mean'"):
        DINOLoss(10, centering="mean")


def test_sdpn_equals_the_formula():
    """Soft neighbors of prototypes, sharpened, Sinkhorn, cross-entropy."""
    student, teacher = torch.randn(4, 6, 10), torch.randn(1, 6, 10)
    p = torch.softmax(student.double() / 0.1, -1)
    r = torch.softmax(teacher[0].double() / 0.1, -1) ** (1 / 0.25)
    q = torch.from_numpy(slow_sinkhorn(r / r.sum(-1, keepdim=True), 3))
    terms = [-(q * view.log()).sum(-1).mean() for view in p]
    value = SDPNLoss(10)(student, teacher, shared=0)
    assert value.item() == pytest.approx(np.mean(terms), rel=1e-5)
