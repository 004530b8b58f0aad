"""Mean normalisation."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from speechbrain_dino.features import MeanNorm


def slow(feats, window):
    """Each frame minus the mean of the frames around it, one after another."""
    result = np.empty_like(feats)
    for t in range(len(feats)):
        near = feats
        if window is not None and len(feats) > window:
            near = feats[max(t - window // 2, 0) : t - window // 2 + window]
        result[t] = feats[t] - near.mean(axis=0)
    return result


@given(st.integers(1, 60), st.one_of(st.none(), st.integers(1, 70)))
@settings(max_examples=60, deadline=None)
def test_equals_the_obvious_version(frames, window):
    feats = np.random.default_rng(frames).normal(50, 30, (2, frames, 3))
    norm = MeanNorm(None if window is None else window * 0.01)
    given_feats = torch.from_numpy(feats).float()
    for row, result in zip(feats, norm(given_feats)):
        np.testing.assert_allclose(result.numpy(), slow(row, window), atol=2e-4)


@pytest.mark.parametrize("window", [None, 0.05, 0.3, 3.0])
def test_padded_equals_alone(window):
    frames = [40, 25, 7, 1]
    alone = [torch.randn(n, 4) * 20 for n in frames]
    batch = torch.randn(4, 40, 4) * 1000
    for row, feats in zip(batch, alone):
        row[: len(feats)] = feats
    norm = MeanNorm(window)
    result = norm(batch, torch.tensor(frames) / 40)
    for row, feats in zip(result, alone):
        torch.testing.assert_close(row[: len(feats)], norm(feats[None])[0])
        assert (row[len(feats) :] == 0).all()


def test_long_utterance_keeps_its_digits():
    feats = torch.randn(1, 60000, 1) + 1e3
    result = MeanNorm(3.0)(feats)[0, :, 0]
    for t in (150, 30000, 59800):
        expected = feats[0, t].double() - feats[0, t - 150 : t + 150].double().mean()
        assert result[t].item() == pytest.approx(expected.item(), abs=2e-4)


def test_gain_of_the_recording_does_not_matter():
    feats = torch.randn(2, 400, 80)
    norm = MeanNorm(3.0)
    torch.testing.assert_close(norm(feats + 12.0), norm(feats), atol=1e-4, rtol=0)
