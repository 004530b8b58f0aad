"""BatchNorm, residual and activation in one step, against the modules one by one."""

import copy
import os
import subprocess
import sys

import pytest
import recipe_runs as runs
import torch
import torch.nn.functional as F
from torch import nn

from speechbrain_dino.models import norm_act_triton
from speechbrain_dino.models.encoders import LResNet34
from speechbrain_dino.models.norm_act import FUSED, norm_act
from speechbrain_dino.models.recompute import recomputed
from speechbrain_dino.models.res2net import Res2Net50

SHAPE = (3, 16, 5, 7)
FORMATS = [torch.contiguous_format, torch.channels_last]
MASK = torch.arange(7) < torch.tensor([[7], [4], [1]])


def one_by_one(norm, x, activation, residual=None, mask=None):
    y = norm(x)
    y = activation(y if residual is None else y + residual)
    return y if mask is None else y * mask[:, None, None]


def norm_of(channels=16, dtype=torch.float32):
    norm = nn.BatchNorm2d(channels, momentum=0.3).to(dtype)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    return norm


@pytest.mark.parametrize("memory_format", FORMATS, ids=["contiguous", "last"])
@pytest.mark.parametrize("activation", FUSED, ids=lambda f: f.__name__)
@pytest.mark.parametrize("adds", [False, True])
@pytest.mark.parametrize("mask", [None, MASK], ids=["whole", "masked"])
@pytest.mark.parametrize("training", [True, False])
def test_values_gradients_and_statistics(
    memory_format, activation, adds, mask, training
):
    ours = norm_of(dtype=torch.float64).train(training)
    theirs = copy.deepcopy(ours)
    results = []
    for norm, function in ((ours, norm_act), (theirs, one_by_one)):
        torch.manual_seed(1)
        x, residual, grad = (
            torch.randn(SHAPE, dtype=torch.float64)
            .contiguous(memory_format=memory_format)
            .mul_(4)
            .add_(1)
            .requires_grad_()
            for _ in range(3)
        )
        inputs = [x, norm.weight, norm.bias, *([residual] if adds else [])]
        y = function(norm, x, activation, residual if adds else None, mask)
        with torch.no_grad():
            again = function(norm, x, activation, residual if adds else None, mask)
        results += [[y, again, *torch.autograd.grad(y, inputs, grad)]]
        assert y.is_contiguous(memory_format=memory_format)
    for one, two in zip(*results):
        torch.testing.assert_close(one, two)
    for one, two in zip(ours.buffers(), theirs.buffers()):
        torch.testing.assert_close(one, two)


@pytest.mark.parametrize("activation", FUSED, ids=lambda f: f.__name__)
def test_gradcheck(activation):
    torch.manual_seed(3)
    norm = norm_of(2, torch.float64)
    norm.track_running_stats = False
    x, residual = torch.randn(2, 2, 2, 3, 4, dtype=torch.float64).unbind()

    inputs = [value.requires_grad_() for value in (x, residual)]
    assert torch.autograd.gradcheck(
        lambda a, b: norm_act(norm, a, activation, b), inputs
    )


@pytest.mark.parametrize("memory_format", FORMATS, ids=["contiguous", "last"])
def test_float32_statistics_have_float32_digits(memory_format):
    x = (torch.randn(4, 16, 80, 400) * 2 + 1).contiguous(memory_format=memory_format)
    norm = nn.BatchNorm2d(16, momentum=1.0)
    norm_act(norm, x, torch.relu)
    double = x.double()
    torch.testing.assert_close(
        norm.running_mean.double(), double.mean((0, 2, 3)), rtol=2e-6, atol=0
    )
    torch.testing.assert_close(
        norm.running_var.double(), double.var((0, 2, 3)), rtol=2e-6, atol=0
    )


def test_less_is_kept_for_backward():
    def kept(function):
        addresses, norm = {}, norm_of()
        x = torch.randn(SHAPE, requires_grad=True)

        def pack(tensor):
            addresses[tensor.data_ptr()] = tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
            y = function(norm, x, F.relu6)
            F.conv2d(y, torch.ones(1, 16, 1, 1, requires_grad=True))
        return sum(size == x.numel() for size in addresses.values())

    assert (kept(norm_act), kept(one_by_one)) == (2, 3)


def test_other_norms_and_hooks_run_as_they_are():
    x = torch.randn(SHAPE)
    sync = nn.SyncBatchNorm.convert_sync_batchnorm(norm_of())
    assert type(sync) is nn.SyncBatchNorm
    for norm in (sync.eval(), nn.GroupNorm(2, 16), nn.BatchNorm2d(16, affine=False)):
        expected = one_by_one(copy.deepcopy(norm), x, torch.relu)
        torch.testing.assert_close(norm_act(norm, x, torch.relu), expected)
    norm, seen = norm_of(), []
    norm.register_forward_hook(lambda *args: seen.append(args))
    norm_act(norm, x, torch.relu)
    assert len(seen) == 1
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        norm_act(norm_of(), torch.randn(1, 16, 1, 1), torch.relu)


@pytest.mark.parametrize("make", [LResNet34, Res2Net50])
def test_recomputed_blocks_give_the_same(make):
    sizes = {"channels": (16, 16, 16, 16), "block_sizes": (1, 1, 1, 1)}
    encoder = make(16, **sizes, fused=True)
    encoder.double()
    other = copy.deepcopy(encoder)
    other.recompute = True
    feats, lengths = torch.randn(6, 20, 16).double(), torch.linspace(0.3, 1, 6)
    for network in (encoder, other):
        network(feats, lengths).pow(3).sum().backward()
    for one, two in zip(encoder.parameters(), other.parameters()):
        torch.testing.assert_close(one.grad, two.grad)
    for one, two in zip(encoder.buffers(), other.buffers()):
        torch.testing.assert_close(one, two)


@pytest.mark.parametrize("activation", ["relu", "relu6", "swish"])
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("make", [LResNet34, Res2Net50])
def test_fused_networks_are_the_others(make, padded, activation):
    """Embeddings, gradients and statistics, in double precision."""
    sizes = {"channels": (16,) * 4, "block_sizes": (1,) * 4, "activation": activation}
    plain = make(16, **sizes).double()
    fused = make(16, **sizes, fused=True).double()
    fused.load_state_dict(plain.state_dict())
    feats = torch.randn(6, 20, 16).double()
    lengths = torch.linspace(0.3, 1, 6).double() if padded else None
    embeddings = []
    for network in (plain, fused):
        embeddings.append(network(feats, lengths))
        embeddings[-1].pow(3).sum().backward()
    torch.testing.assert_close(*embeddings)
    for one, two in zip(plain.parameters(), fused.parameters()):
        torch.testing.assert_close(one.grad, two.grad)
    for one, two in zip(plain.buffers(), fused.buffers()):
        torch.testing.assert_close(one, two)


def test_recomputed_keeps_its_input_alone():
    block, kept = LResNet34(channels=(16,) * 4).blocks[0], []
    x = torch.randn(2, 16, 4, 6, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(
        lambda t: kept.append(t) or t, lambda t: t
    ):
        recomputed(block, x, None)
    assert sum(tensor.numel() > 0 for tensor in kept) == 1  # and an empty one


def test_narrow_and_wide_networks_choose_their_memory_format():
    """oneDNN writes past its memory in backward where few channels come last."""
    for width, last in ((4, False), (16, True)):
        encoder, seen = LResNet34(16, (width,) * 4, (1,) * 4, fused=True), []
        encoder.blocks[0].register_forward_pre_hook(lambda _, a, s=seen: s.append(a[0]))
        encoder(torch.randn(2, 20, 16)).sum().backward()
        assert seen[0].is_contiguous(memory_format=torch.channels_last) == last


def test_one_graph_for_both_crop_lengths():
    encoder = LResNet34(16, (16,) * 4, (1,) * 4, fused=True)
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    compiled = torch.compile(encoder, backend=backend, fullgraph=True, dynamic=True)
    expected = copy.deepcopy(encoder)
    for frames in (40, 20, 40):
        feats = torch.randn(4, frames, 16)
        torch.testing.assert_close(
            compiled(feats), expected(feats), rtol=1e-3, atol=1e-4
        )
    assert len(graphs) == 1


@pytest.mark.skipif(norm_act_triton.triton is None, reason="Triton is not installed")
def test_kernels_without_a_gpu():
    """Triton's interpreter runs the kernels on the CPU, where they equal PyTorch."""
    code = "from speechbrain_dino.models import norm_act_triton as n\n"
    code += "print(max(n._difference(f, 'cpu') for f in n.CODES))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": str(runs.ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert float(done.stdout) < 1e-4


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_kernels_on_the_gpu(dtype):
    norm, results = norm_of().cuda(), []
    assert norm_act_triton.works_on(0)
    for function in (norm_act, one_by_one):
        torch.manual_seed(1)
        x, residual, grad = (
            torch.randn(8, 16, 20, 50, device="cuda")
            .to(dtype)
            .contiguous(memory_format=torch.channels_last)
            .requires_grad_()
            for _ in range(3)
        )
        y = function(norm, x, F.relu6, residual)
        inputs = (x, residual, norm.weight, norm.bias)
        results.append([y, *torch.autograd.grad(y, inputs, grad)])
    for one, two in zip(*results):
        cosine = torch.cosine_similarity(one.flatten(), two.flatten(), dim=0)
        assert cosine.float() > 0.999
