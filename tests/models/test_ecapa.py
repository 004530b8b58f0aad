"""FastECAPA gives SpeechBrain's embeddings, gradients and running statistics."""

import copy

import pytest
import torch
from fake_cuda import fake_cuda
from speechbrain.lobes.models.ECAPA_TDNN import ECAPA_TDNN
from speechbrain.nnet.CNN import Conv1d
from torch import nn
from torch.multiprocessing.spawn import spawn

from speechbrain_dino.models.ecapa import FastECAPA, Statistics, accelerated
from speechbrain_dino.models.encoders import ECAPAWithNorm, LeanECAPA
from speechbrain_dino.models.folded_norm import (
    Folded,
    RectifiedNorm,
    linear,
    moments,
    unfolded,
)

SMALL = {
    "input_size": 20,
    "channels": [16, 16, 16, 16, 24],
    "lin_neurons": 12,
    "attention_channels": 8,
    "se_channels": 8,
    "res2net_scale": 4,
}
LENGTHS = torch.tensor([1.0, 0.7, 0.42, 0.9, 0.55], dtype=torch.float64)
# A bias in front of a softmax over frames moves all of them: its gradient is rounding.
NO_GRADIENT = "asp.conv.conv.bias"


@pytest.fixture(autouse=True)
def double_precision():
    """SpeechBrain's masks and weights of frames are of the default type."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def pair(ours=FastECAPA, dtype=torch.float64, theirs=ECAPA_TDNN, **options):
    """Our encoder and SpeechBrain's with the same weights and statistics."""
    torch.manual_seed(0)
    slow = theirs(**{**SMALL, **options}).to(dtype)
    for part in slow.modules():
        if isinstance(part, nn.BatchNorm1d):
            nn.init.normal_(part.weight)  # also negative ones
            nn.init.normal_(part.bias)
            part.running_mean.normal_()
            part.running_var.uniform_(0.5, 2)
    fast = ours(**{**SMALL, **options}).to(dtype)
    fast.load_state_dict(slow.state_dict())
    return fast, slow


def zero_padded(**options):
    """SpeechBrain's own computation with convolutions that pad with zeros."""
    encoder = ECAPA_TDNN(**options)
    for layer in encoder.modules():
        if isinstance(layer, Conv1d) and layer.padding == "same":
            (kernel,), (dilation,) = layer.conv.kernel_size, layer.conv.dilation
            layer.padding = "valid"
            layer.conv.padding = (dilation * (kernel - 1) // 2,)
    return encoder


def step(encoder, feats, lengths=None):
    """Embeddings, gradients of weights and features, buffers afterwards."""
    feats = feats.clone().requires_grad_()
    encoder.zero_grad()
    torch.manual_seed(1)
    embeddings = encoder(feats, lengths)
    torch.manual_seed(2)
    (embeddings * torch.randn_like(embeddings)).sum().backward()
    gradients = {name: p.grad for name, p in encoder.named_parameters()}
    gradients["feats"] = feats.grad
    buffers = {k: v.clone() for k, v in encoder.named_buffers()}
    return embeddings.detach(), gradients, buffers


def assert_same_step(fast, slow, lengths=None, frames=30, atol=1e-9):
    feats = 3 * torch.randn(5, frames, 20, dtype=next(fast.parameters()).dtype)
    results = [step(encoder, feats, lengths) for encoder in (fast, slow)]
    (embeddings, gradients, buffers), expected = results
    torch.testing.assert_close(embeddings, expected[0], atol=atol, rtol=atol)
    for name, gradient in gradients.items():
        scale = expected[1][name].abs().max().clamp(min=1e-3)
        if name != NO_GRADIENT:
            gap = (gradient - expected[1][name]).abs().max()
            assert gap <= 1e3 * atol * scale, name
    for name, buffer in buffers.items():
        torch.testing.assert_close(buffer, expected[2][name], atol=atol, rtol=atol)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full", "lengths"])
@pytest.mark.parametrize("padding", ["reflect", "zeros"])
def test_embeddings_gradients_and_statistics_are_speechbrains(
    training, lengths, padding
):
    theirs = zero_padded if padding == "zeros" else ECAPA_TDNN
    fast, slow = pair(theirs=theirs)
    fast = FastECAPA(**SMALL, padding=padding).double()
    fast.load_state_dict(slow.state_dict())
    assert_same_step(fast.train(training), slow.train(training), lengths)


@pytest.mark.parametrize(
    "options",
    [
        {"global_context": False},
        {"activation": nn.LeakyReLU},
        {"dropout": 0.3},
        {"groups": [1, 2, 2, 2, 2]},
        {"channels": [8, 16, 16, 16, 24]},  # a shortcut
        {"kernel_sizes": [3, 5, 3, 1, 3], "dilations": [2, 1, 3, 1, 2]},
        {"channels": [16, 16, 24], "kernel_sizes": [5, 3, 1], "dilations": [1, 2, 1]},
    ],
    ids=lambda options: "-".join(options),
)
def test_every_argument_of_speechbrain(options):
    fast, slow = pair(**options)
    assert_same_step(fast.train(), slow.train(), LENGTHS)
    assert_same_step(fast.eval(), slow.eval())


def test_norms_that_cannot_be_folded():
    encoders = pair()
    for encoder in encoders:
        for part in encoder.modules():
            if isinstance(part, nn.BatchNorm1d):
                part.momentum = None  # cumulative average
    assert_same_step(*encoders)


@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full", "lengths"])
def test_float32_embeddings_agree_to_1e5(lengths):
    fast, slow = pair(dtype=torch.float32)
    torch.set_default_dtype(torch.float32)
    lengths = None if lengths is None else lengths.float()
    feats = 3 * torch.randn(5, 60, 20)
    for training in (False, True):
        with torch.no_grad():
            one, other = (e.train(training)(feats, lengths) for e in (fast, slow))
        assert (one - other).abs().max() < 1e-5 * other.abs().max()


def test_lean_ecapa_and_the_one_with_a_norm_compute_alike():
    lean, slow = pair(LeanECAPA, theirs=zero_padded)
    assert_same_step(lean, slow)
    normed = ECAPAWithNorm(**SMALL).double()
    missing, unexpected = normed.load_state_dict(slow.state_dict(), strict=False)
    assert not unexpected and all(k.startswith("embedding_norm.") for k in missing)
    reference = ECAPA_TDNN(**SMALL).double()
    reference.load_state_dict(slow.state_dict())
    feats = torch.randn(5, 30, 20).double()
    expected = normed.embedding_norm(reference(feats).squeeze(1)).unsqueeze(1)
    torch.testing.assert_close(normed(feats), expected)
    zeros = ECAPAWithNorm(**SMALL, padding="zeros")
    assert zeros.state_dict().keys() == normed.state_dict().keys()


def test_weights_begin_as_speechbrains_and_load_both_ways():
    torch.manual_seed(3)
    fast = FastECAPA(**SMALL)
    torch.manual_seed(3)
    slow = ECAPA_TDNN(**SMALL)
    for (name, one), (key, other) in zip(
        fast.state_dict().items(), slow.state_dict().items()
    ):
        assert name == key
        assert torch.equal(one, other)
    slow.load_state_dict(FastECAPA(**SMALL, padding="zeros").state_dict())
    with pytest.raises(ValueError, match="'same'; expected one of reflect, zeros"):
        FastECAPA(**SMALL, padding="same")


def test_a_loaded_encoder_is_accelerated():
    _, slow = pair()
    feats = torch.randn(3, 30, 20).double()
    expected = slow.eval()(feats)
    assert type(accelerated(slow)) is FastECAPA
    torch.testing.assert_close(slow(feats), expected)
    lean = LeanECAPA(**SMALL)
    assert type(accelerated(lean)) is LeanECAPA


def test_utterances_too_short_to_be_reflected():
    fast, slow = pair()
    for frames in (5, 4, 1):
        feats = torch.randn(2, frames, 20).double()
        if frames > 4:
            torch.testing.assert_close(fast(feats), slow(feats))
            continue
        for encoder in (fast, slow):
            with pytest.raises(RuntimeError):
                encoder(feats)
    with pytest.raises(RuntimeError, match="4 frames are too few to be reflected"):
        fast(torch.randn(2, 4, 20).double())
    zeros = FastECAPA(**SMALL, padding="zeros").eval()
    assert zeros(torch.randn(2, 1, 20)).isfinite().all()


def test_frozen_statistics_stay():
    fast, slow = pair()
    for encoder in (fast, slow):
        encoder.train()
        encoder.blocks[1].eval()
    before = copy.deepcopy(fast.blocks[1].state_dict())
    assert_same_step(fast, slow)
    for name, value in fast.blocks[1].state_dict().items():
        assert torch.equal(value, before[name])


def test_a_copy_computes_alike_and_apart():
    fast, _ = pair()
    twin = copy.deepcopy(fast)
    feats = torch.randn(3, 30, 20).double()
    assert torch.equal(twin(feats), fast(feats))
    shared = {t.data_ptr() for t in fast.state_dict().values()}
    assert not shared & {t.data_ptr() for t in twin.state_dict().values()}


def test_gradients_of_the_functions():
    double = {"dtype": torch.float64, "requires_grad": True}
    x, logits = torch.randn(2, 5, 3, **double), torch.randn(2, 5, 3, **double)
    weights = torch.rand(2, 5, 1).double()
    weights = weights / weights.sum(1, keepdim=True)
    for arguments in ((x, None, None), (x, weights, None), (x, None, logits)):
        assert torch.autograd.gradcheck(Statistics.apply, arguments)

    def folded(x, gamma, beta, weight, bias):
        parts = RectifiedNorm.apply(x * 1, gamma, beta, 1e-5, None)[:3]
        return linear(weight, bias, Folded(*parts)), unfolded(Folded(*parts))

    shapes = (7, 4), (4,), (4,), (3, 4), (3,)
    inputs = [torch.randn(shape, **double) for shape in shapes]
    assert torch.autograd.gradcheck(folded, inputs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_moments_are_exact_where_the_mean_is_far_off(dtype):
    rows = (100 + torch.randn(500, 3)).to(dtype)
    mean, variance, count = moments(rows)
    assert (count, mean.dtype, variance.dtype) == (500, torch.float32, torch.float32)
    close = {"rtol": 1e-4, "atol": 0}
    torch.testing.assert_close(mean.double(), rows.double().mean(0), **close)
    expected = rows.double().var(0, unbiased=False)
    torch.testing.assert_close(variance.double(), expected, **close)


def test_constant_frames_have_finite_gradients():
    for encoder in pair():
        _, gradients, _ = step(encoder, torch.zeros(5, 30, 20))
        assert all(g.isfinite().all() for g in gradients.values())


def test_bfloat16_is_as_close_to_float32_as_speechbrains():
    torch.set_default_dtype(torch.float32)
    fast, slow = pair(dtype=torch.float32, channels=[32, 32, 32, 32, 96])
    feats = 3 * torch.randn(16, 60, 20)
    exact = step(slow, feats)
    gaps = []
    for encoder in (fast, slow):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            embeddings, gradients, _ = step(encoder, feats)
        assert embeddings.dtype == torch.bfloat16
        both = [
            torch.cat([g.flatten().double() for k, g in of.items() if k != NO_GRADIENT])
            for of in (gradients, exact[1])
        ]
        gaps.append((both[0] - both[1]).norm() / both[1].norm())
    assert gaps[0] < 1.5 * gaps[1]


@pytest.mark.parametrize("training", [True, False])
def test_on_a_device(training):
    torch.set_default_dtype(torch.float32)
    with fake_cuda():
        encoder = FastECAPA(**SMALL).to("cuda").train(training)
        feats = torch.empty(4, 30, 20, device="cuda")
        for lengths in (None, torch.ones(4, device="cuda")):
            embeddings = encoder(feats, lengths)
            assert embeddings.device.type == "cuda"
            assert embeddings.shape == (4, 1, 12)


def one_of_two(rank, folder):
    """A process with its part of a batch; writes what it has after a step."""
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2
    )
    encoder, feats, weights = torch.load(folder / "whole.pt", weights_only=False)
    encoder = nn.SyncBatchNorm.convert_sync_batchnorm(encoder)
    part = slice(0, 3) if rank == 0 else slice(3, 5)  # not as many utterances each
    torch.save(
        synchronized_step(encoder, feats[part], weights[part]), folder / str(rank)
    )
    torch.distributed.destroy_process_group()


def synchronized_step(encoder, feats, weights):
    feats = feats.clone().requires_grad_()
    embeddings = encoder(feats)
    (embeddings * weights).sum().backward()
    gradients = [p.grad for k, p in encoder.named_parameters() if k != NO_GRADIENT]
    return embeddings.detach(), feats.grad, gradients, list(encoder.buffers())


def test_statistics_of_synchronized_norms_are_those_of_the_whole_batch(tmp_path):
    encoder, _ = pair()
    encoder.asp_bn = nn.Identity()  # PyTorch's own SyncBatchNorm needs GPUs
    feats = torch.randn(5, 30, 20).double()
    weights = torch.randn(5, 1, 12).double()
    torch.save((encoder, feats, weights), tmp_path / "whole.pt")
    spawn(one_of_two, (tmp_path,), nprocs=2)
    parts = [torch.load(tmp_path / str(rank)) for rank in range(2)]
    expected = synchronized_step(encoder, feats, weights)
    close = {"atol": 1e-8, "rtol": 1e-8}
    for n in range(2):  # embeddings, gradients of features
        torch.testing.assert_close(
            torch.cat([p[n] for p in parts]), expected[n], **close
        )
    for first, second, whole in zip(parts[0][2], parts[1][2], expected[2]):
        torch.testing.assert_close(first + second, whole, **close)
    for part in parts:
        torch.testing.assert_close(part[3], expected[3], **close)


# -- torch.compile --------------------------------------------------------------------


def test_compiles_whole_and_once_for_two_crop_lengths():
    """No break in the graph, and none for the second length."""
    torch._dynamo.reset()
    counters = torch._dynamo.utils.counters
    counters.clear()
    sizes = {"channels": [8, 8, 12], "kernel_sizes": [5, 3, 1], "dilations": [1, 2, 1]}
    fast, _ = pair(**sizes, res2net_scale=2)
    twin = copy.deepcopy(fast)
    compiled = torch.compile(fast, backend="aot_eager", dynamic=True, fullgraph=True)
    crops = [torch.randn(n, t, 20).double() for n, t in ((4, 40), (8, 24))]
    for _ in range(2):
        for feats in crops:
            one, other = (step(e, feats) for e in (compiled, twin))
            torch.testing.assert_close(one[0], other[0], atol=1e-9, rtol=1e-9)
            for name, gradient in other[1].items():
                key = name if name == "feats" else f"_orig_mod.{name}"
                if name != NO_GRADIENT:
                    torch.testing.assert_close(
                        one[1][key], gradient, atol=1e-6, rtol=1e-6
                    )
    assert counters["stats"]["unique_graphs"] == 1
    assert not counters["graph_break"]
    torch.testing.assert_close(dict(fast.named_buffers()), dict(twin.named_buffers()))
