"""FW-SE-ResNet34: its parts against slow versions, and padding."""

import numpy as np
import pytest
import torch
from torch import nn

from speechbrain_dino.models.fwse_resnet import (
    AttentiveStatistics,
    Block,
    FrequencyExcitation,
    FwSEResNet34,
)


def small(**options):
    sizes = {"input_size": 40, "channels": (4, 6, 8, 10), "block_sizes": (1, 2, 1, 1)}
    return FwSEResNet34(**sizes, lin_neurons=16, attention_channels=8, **options)


@pytest.fixture(scope="module")
def trained():
    """In eval mode with BatchNorm statistics that are not the initial ones."""
    torch.manual_seed(0)
    encoder = small().train()
    for _ in range(3):
        encoder(torch.randn(8, 60, 40) * 3 + 1)
    return encoder.eval()


def slow_excitation(layer, x):
    """Band by band, of x (batch, channels, bands, frames)."""
    squeeze, excite = (p.detach().numpy() for p in layer.parameters())
    result = np.empty_like(x)
    for row, y in zip(x, result):
        means = [row[:, band].mean() for band in range(row.shape[1])]
        units = [sum(w * m for w, m in zip(ws, means)) for ws in squeeze]
        units = [unit / (1 + np.exp(-unit)) for unit in units]  # swish
        for band, ws in enumerate(excite):
            weight = 1 / (1 + np.exp(-sum(w * u for w, u in zip(ws, units))))
            y[:, band] = weight * row[:, band]
    return result


def test_excitation_weighs_bands():
    layer = FrequencyExcitation(10, 4, nn.functional.silu)
    assert [tuple(p.shape) for p in layer.parameters()] == [(2, 10), (10, 2)]
    x = np.random.default_rng(0).normal(size=(3, 5, 10, 7)).astype(np.float32)
    ours = layer(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(ours, slow_excitation(layer, x), atol=1e-5)


@pytest.mark.parametrize("stride", [1, 2])
def test_block_normalizes_behind_the_activation(stride):
    swish = nn.functional.silu
    bands = 8 // stride
    block = Block(4, 6, stride, FrequencyExcitation(bands, 4, swish), swish)
    x = torch.randn(2, 4, 8, 12)
    y = block.norm1(swish(block.conv1(x)))
    y = block.norm2(swish(block.conv2(y))).detach().numpy()
    weighed = torch.from_numpy(slow_excitation(block.excitation, y))
    torch.testing.assert_close(block(x)[0], weighed + block.shortcut(x))


def test_attentive_statistics_frame_by_frame():
    pool = AttentiveStatistics(5, 3).eval()
    x = torch.randn(2, 5, 9)
    plain = torch.cat([x.mean(2), x.std(2, unbiased=False)], 1)
    context = pool.context(plain)
    scores = torch.stack(
        [
            pool.scores(
                (pool.norm(pool.frame(x[..., t : t + 1])[..., 0] + context)).tanh()[
                    ..., None
                ]
            )[..., 0]
            for t in range(9)
        ],
        dim=-1,
    )
    weights = scores.exp() / scores.exp().sum(-1, keepdim=True)
    mean = (weights * x).sum(-1)
    deviation = ((weights * x**2).sum(-1) - mean**2).sqrt()
    torch.testing.assert_close(pool(x), torch.cat([mean, deviation], 1))


def test_padded_equals_alone(trained):
    frames = [60, 41, 24, 9]
    batch = torch.randn(4, 60, 40) * 100
    alone = [torch.randn(n, 40) for n in frames]
    for row, feats in zip(batch, alone):
        row[: len(feats)] = feats
    with torch.no_grad():
        together = trained(batch, torch.tensor(frames) / 60)
        for embedding, feats in zip(together, alone):
            expected = trained(feats[None])[0]
            torch.testing.assert_close(embedding, expected, atol=1e-4, rtol=1e-4)


def test_dropout_is_for_training(trained):
    encoder = small(dropout=0.5).train()
    x = torch.randn(4, 30, 40)
    assert not torch.allclose(encoder(x), encoder(x))
    encoder.eval()
    torch.testing.assert_close(encoder(x), encoder(x))


def test_unknown_activations_are_refused():
    with pytest.raises(ValueError, match="activation is 'tanh'"):
        small(activation="tanh")
