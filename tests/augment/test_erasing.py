"""What FeatureErasing erases, counted over many utterances."""

import pytest
import torch

from speechbrain_dino.augment.erasing import FeatureErasing

CROPS, UTTERANCES, FRAMES, MELS = 4, 3000, 30, 16


@pytest.fixture(scope="module")
def erased():
    """Which log-mels of many utterances are erased (crops, batch, frames, mels)."""
    torch.manual_seed(3)
    feats = torch.randn(CROPS, UTTERANCES, FRAMES, MELS)
    result = FeatureErasing()(feats, torch.rand(CROPS, UTTERANCES, 5))
    mask = result == -150.3
    assert torch.equal(result[~mask], feats[~mask])
    return mask


def test_a_band_of_mels_is_erased_in_all_crops(erased):
    bands = erased.all(2)  # (crops, batch, mels): over all frames
    assert (bands == bands[:1]).all()
    heights = bands[0].sum(1)
    assert heights.max() == 5
    share = [(heights == height).float().mean().item() for height in range(1, 6)]
    # One utterance in five, heights 0 to 5 alike.
    assert share == pytest.approx([0.2 / 6] * 5, abs=0.012)


def test_frames_are_erased_in_one_of_two_crops(erased):
    stripes = erased.all(3)  # (crops, batch, frames): over all mels
    assert torch.equal(stripes[:2], stripes[2:])
    pairs = torch.cat([stripes[0], stripes[1]], 1)  # laid end to end
    widths = pairs.sum(1)
    assert widths.max() == 9
    share = [(widths == width).float().mean().item() for width in range(1, 10)]
    assert share == pytest.approx([0.02] * 9, abs=0.01)
    edges = pairs.int().diff(dim=1, prepend=torch.zeros(UTTERANCES, 1)).clamp(min=0)
    assert edges.sum(1).max() == 1  # one stripe
    assert pairs[:, :FRAMES].any() and pairs[:, FRAMES:].any()


def test_share_none_and_all():
    feats, draws = torch.randn(2, 50, FRAMES, MELS), torch.rand(2, 50, 5)
    assert torch.equal(FeatureErasing(prob=0.0)(feats, draws), feats)
    changed = (FeatureErasing(prob=1.0)(feats, draws) != feats).any((0, 2, 3))
    assert changed.float().mean() > 0.9  # 1 in 60 erases neither


def test_short_crops_are_refused():
    with pytest.raises(ValueError, match="4 frames and 16 mels were given"):
        FeatureErasing()(torch.randn(2, 1, 4, MELS), torch.rand(2, 1, 5))
