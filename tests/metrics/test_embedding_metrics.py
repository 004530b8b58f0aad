"""Label-free metrics against their definitions."""

import math

import numpy as np
import pytest
import torch

from speechbrain_dino.metrics.embeddings import effective_rank, neighbor_agreement


def test_effective_rank_counts_directions():
    generator = torch.Generator().manual_seed(3)
    basis = torch.linalg.qr(torch.randn(16, 4, generator=generator)).Q
    signs = torch.cat([torch.eye(4), -torch.eye(4)]) @ basis.T
    assert effective_rank(signs + 100) == pytest.approx(4, abs=1e-3)
    weights = torch.diag(torch.tensor([3.0, 1.0, 0.0, 0.0]))
    uneven = torch.cat([weights, -weights]) @ basis.T
    share = np.array([0.75, 0.25])
    expected = math.exp(-(share * np.log(share)).sum())
    assert effective_rank(uneven) == pytest.approx(expected, abs=1e-3)
    assert effective_rank(torch.full((5, 3), 0.1)) == 0.0


def test_neighbor_agreement_equals_a_loop():
    generator = torch.Generator().manual_seed(4)
    first = torch.randn(60, 4, generator=generator)
    second = first + 0.7 * torch.randn(60, 4, generator=generator)
    cosine = torch.nn.functional.cosine_similarity(first[:, None], second[None], dim=-1)
    for k in (1, 3):
        ranks = [(cosine[i] > cosine[i, i]).sum().item() for i in range(60)]
        expected = sum(rank < k for rank in ranks) / 60
        assert 0 < expected < 1
        assert neighbor_agreement(first, second, k) == pytest.approx(expected)


def test_neighbor_agreement_of_many_utterances_goes_in_blocks():
    first = torch.randn(3000, 8)
    assert neighbor_agreement(first, 2 * first) == 1.0


def test_neighbor_agreement_of_equal_embeddings_is_zero():
    same = torch.ones(10, 4)
    assert neighbor_agreement(same, same) == 0.0


def test_label_free_metrics_reject_bad_input():
    with pytest.raises(ValueError, match=r"1 of 3 rows of embeddings"):
        effective_rank([[1.0, 2.0], [float("nan"), 1.0], [0.0, 0.0]])
    with pytest.raises(ValueError, match=r"\(1, 2\)"):
        effective_rank([[1.0, 2.0]])
    with pytest.raises(ValueError, match=r"\(2, 3\) and \(3, 3\)"):
        neighbor_agreement(torch.ones(2, 3), torch.ones(3, 3))
