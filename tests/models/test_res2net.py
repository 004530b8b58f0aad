"""Res2Net-50: its block against the formula, its masks against single utterances."""

import pytest
import torch
import torch.nn.functional as F

from speechbrain_dino.models.res2net import Res2Block, Res2Net50


@pytest.mark.parametrize("scale, stride", [(4, 1), (4, 2), (2, 1), (1, 2)])
def test_block_is_the_formula(scale, stride):
    block = Res2Block(8, 12, stride, group=3, scale=scale).eval()
    x = torch.randn(2, 8, 6, 10)
    y = F.relu(block.norm1(block.conv1(x)))
    parts, outputs = [y[:, 3 * k : 3 * k + 3] for k in range(scale)], []
    for k in range(max(scale - 1, 1)):
        group = parts[k]
        if k > 0 and stride == 1:
            group = group + outputs[k - 1]
        outputs.append(F.relu(block.norms[k](block.convs[k](group))))
    if scale > 1:
        last = parts[-1]
        outputs.append(last if stride == 1 else F.avg_pool2d(last, 3, 2, 1))
    expected = F.relu(
        block.norm3(block.conv3(torch.cat(outputs, 1))) + block.shortcut(x)
    )
    torch.testing.assert_close(block(x)[0], expected)


def test_padding_changes_no_embedding():
    encoder = Res2Net50(input_size=20, channels=[8, 16, 16, 32], block_sizes=[1] * 4)
    encoder.eval()
    assert encoder.masks_padding
    feats = torch.randn(3, 61, 20)
    frames = [61, 40, 17]
    alone = [encoder(feats[k : k + 1, :n])[0] for k, n in enumerate(frames)]
    for k, n in enumerate(frames):
        feats[k, n:] = 7.0
    together = encoder(feats, torch.tensor(frames) / 61)
    torch.testing.assert_close(together, torch.stack(alone), rtol=1e-4, atol=1e-5)


def test_depth_and_size():
    encoder = Res2Net50()
    assert [block.stride for block in encoder.blocks].count(2) == 3
    assert len(encoder.blocks) == 16  # 3 x 16 convolutions, stem and linear: 50
    assert sum(p.numel() for p in encoder.parameters()) == pytest.approx(
        11.2e6, rel=0.01
    )
