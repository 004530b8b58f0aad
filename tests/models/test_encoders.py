"""LResNet34 and the lean ECAPA-TDNN."""

import pytest
import torch
from speechbrain.lobes.models.ECAPA_TDNN import ECAPA_TDNN
from torch import nn

from speechbrain_dino.models.encoders import LeanECAPA, LResNet34


@pytest.fixture(scope="module")
def trained():
    """Encoder in eval mode with BatchNorm statistics that are not the initial ones."""
    torch.manual_seed(0)
    encoder = LResNet34(input_size=40, channels=(4, 6, 8, 10), lin_neurons=16)
    encoder.train()
    for _ in range(3):
        encoder(torch.randn(8, 60, 40) * 20 + 3)
    return encoder.eval()


def test_stages_have_the_shapes_of_the_paper():
    encoder, shapes = LResNet34(), []
    for layer in [encoder.stem, *encoder.blocks]:
        layer.register_forward_hook(
            lambda _, __, out: shapes.append(
                tuple((out[0] if isinstance(out, tuple) else out).shape[1:])
            )
        )
    assert encoder(torch.randn(2, 200, 80)).shape == (2, 1, 256)
    expected = [(16, 80, 200)] * (1 + 3) + [(32, 40, 100)] * 4
    expected += [(64, 20, 50)] * 6 + [(128, 10, 25)] * 3
    assert shapes == expected


def test_number_of_parameters():
    def block(width, out):
        shortcut = width * out + 2 * out if width != out else 0
        return 9 * width * out + 9 * out * out + 4 * out + shortcut

    stem = 9 * 16 + 2 * 16
    first = 3 * block(16, 16) + block(16, 32) + 3 * block(32, 32)
    second = block(32, 64) + 5 * block(64, 64) + block(64, 128) + 2 * block(128, 128)
    pooled = 2 * 128 * 10 * 256 + 2 * 256
    counted = sum(p.numel() for p in LResNet34().parameters())
    assert counted == stem + first + second + pooled


def test_block_is_the_residual_block(trained):
    block = next(b for b in trained.blocks if b.stride == 2)
    x = torch.randn(2, block.conv1.in_channels, 8, 12)
    y = block.norm2(block.conv2(torch.relu(block.norm1(block.conv1(x)))))
    expected = torch.relu(y + block.shortcut(x))
    torch.testing.assert_close(block(x)[0], expected)
    same = next(b for b in trained.blocks if isinstance(b.shortcut, nn.Identity))
    assert same.stride == 1


@pytest.mark.parametrize("name", ["relu", "relu6", "swish"])
def test_activation_is_the_one_named(name):
    function = {"relu": torch.relu, "relu6": lambda x: x.clamp(0, 6)}
    function["swish"] = lambda x: x * torch.sigmoid(x)
    encoder = LResNet34(8, (2, 2, 2, 2), (1, 1, 1, 1), activation=name).eval()
    seen = []
    encoder.blocks[0].register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    x = torch.randn(2, 9, 8) * 20
    block = encoder.blocks[0]
    encoder(x)
    stem = encoder.stem_norm(encoder.stem(x.transpose(1, 2)[:, None]))
    torch.testing.assert_close(seen[0], function[name](stem))
    y = function[name](block.norm1(block.conv1(seen[0])))
    expected = function[name](block.norm2(block.conv2(y)) + seen[0])
    torch.testing.assert_close(block(seen[0])[0], expected)


def test_unknown_activation_is_named():
    with pytest.raises(ValueError, match="'gelu'; expected one of relu, relu6, swish"):
        LResNet34(activation="gelu")


def test_convolutions_begin_by_fan_out():
    for layer in LResNet34().modules():
        if isinstance(layer, nn.Conv2d) and layer.weight.numel() > 2000:
            fan_out = layer.out_channels * layer.kernel_size[0] ** 2
            variance = layer.weight.var().item() * fan_out / 2
            assert variance == pytest.approx(1.0, abs=0.15)


def test_padded_batch_equals_one_by_one(trained):
    frames = [60, 59, 58, 33, 8, 7, 2, 1]
    alone = [torch.randn(n, 40) * 20 for n in frames]
    batch = torch.randn(len(frames), 60, 40) * 1e3
    for row, feats in zip(batch, alone):
        row[: len(feats)] = feats
    with torch.no_grad():
        together = trained(batch, torch.tensor(frames) / 60)
        for row, feats in zip(together, alone):
            torch.testing.assert_close(row, trained(feats[None])[0], atol=1e-4, rtol=0)


def test_full_lengths_equal_no_lengths(trained):
    feats = torch.randn(3, 50, 40)
    with torch.no_grad():
        torch.testing.assert_close(trained(feats, torch.ones(3)), trained(feats))
    assert trained.masks_padding


def test_every_parameter_gets_a_gradient():
    encoder = LResNet34(input_size=40, channels=(4, 4, 8, 8), lin_neurons=16)
    target = torch.randn(4, 1, 16)
    (encoder(torch.randn(4, 40, 40)) - target).square().mean().backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


def test_constant_input_gives_finite_gradients():
    encoder = LResNet34(input_size=40, channels=(4, 4, 8, 8), lin_neurons=16)
    feats = torch.zeros(2, 40, 40)
    encoder(feats).square().sum().backward()
    assert all(p.grad.isfinite().all() for p in encoder.parameters())


def test_bfloat16_is_finite_and_close(trained):
    feats, lengths = torch.randn(4, 60, 40) * 20, torch.tensor([1.0, 0.8, 0.5, 0.3])
    with torch.no_grad():
        exact = trained(feats, lengths)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rough = trained(feats, lengths).float()
    assert rough.isfinite().all()
    cosine = torch.cosine_similarity(exact, rough, dim=-1)
    assert cosine.min() > 0.99


def test_lean_ecapa_is_speechbrains_with_zero_padding():
    sizes = {"input_size": 20, "channels": [16] * 4 + [48], "lin_neurons": 12}
    sizes |= {"attention_channels": 8, "se_channels": 8, "res2net_scale": 4}
    theirs, lean = ECAPA_TDNN(**sizes).eval(), LeanECAPA(**sizes).eval()
    lean.load_state_dict(theirs.state_dict())
    first, conv = lean.blocks[0], lean.blocks[0].conv.conv
    x = torch.randn(2, 20, 30)
    padded = torch.nn.functional.pad(x, (2, 2))
    plain = torch.nn.functional.conv1d(padded, conv.weight, conv.bias)
    assert torch.allclose(first.conv(x), plain, atol=1e-5)
    # Away from the edges the padding makes no difference.
    inner = theirs.blocks[0].conv(x)[..., 2:-2]
    assert torch.allclose(first.conv(x)[..., 2:-2], inner, atol=1e-5)
    feats = torch.randn(2, 200, 20)
    close = torch.cosine_similarity(lean(feats), theirs(feats), dim=-1)
    assert close.min() > 0.99
    assert lean(feats).shape == (2, 1, 12)
