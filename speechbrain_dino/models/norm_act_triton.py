"""Triton kernels of :mod:`.norm_act`: what follows a convolution in one pass each way.

Eager PyTorch runs BatchNorm, sum and activation as three kernels that each read and
write a whole tensor. These take rows (batch x height x width, channels), which is the
memory of a channels-last tensor. They serve CUDA devices with Triton alone, after they
have given there what PyTorch gives; everything else takes PyTorch's own kernels.
"""

import logging
from functools import lru_cache

import torch
import torch.nn.functional as F

try:
    import triton
    import triton.language as tl
except ImportError:  # no build for this platform
    triton = None

logger = logging.getLogger(__name__)

CODES = {torch.relu: 1, F.relu6: 2, F.silu: 3}
_TILE = 4096  # elements
_STEPS = 8  # tiles that a program sums up


def usable(x, residual, mask):
    """Whether the kernels serve these tensors: on CUDA, channels-last, unmasked."""
    if triton is None or x.device.type != "cuda" or mask is not None:
        return False
    if type(x) is not torch.Tensor or x.dtype == torch.float64:
        return False  # tensors without numbers, in tests; gradients checked in double
    if not _channels_last(x) or not (residual is None or _matches(residual, x)):
        return False
    return works_on(x.device.index)


def _channels_last(x):
    return x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last)


def _matches(tensor, x):
    return _channels_last(tensor) and tensor.dtype == x.dtype


@lru_cache
def works_on(device):
    """Whether kernels run on a CUDA device and give PyTorch's values; asked once."""
    try:
        with torch.cuda.device(device), torch.random.fork_rng([device]):
            difference = max(_difference(f, "cuda") for f in CODES)
    except Exception as error:  # no compiler, a driver too old: PyTorch serves as well
        logger.warning("no Triton kernels on this device (%s)", str(error)[:200])
        return False
    if difference > 1e-4:
        logger.warning("Triton kernels are off by %.1e here: not used", difference)
    return difference <= 1e-4


def _difference(activation, device):
    """Largest difference of values and gradients to PyTorch's, in float32."""
    size = (3, 5, 7, 11)
    x, residual, grad = (
        torch.randn(size, device=device).contiguous(memory_format=torch.channels_last)
        for _ in range(3)
    )
    weight, bias = torch.rand(2, 5, device=device)
    inputs = [value.requires_grad_() for value in (x, weight, bias, residual)]
    plain = F.batch_norm(x, None, None, weight, bias, True, 0.1, 1e-5)
    plain = activation(plain + residual)
    expected = [plain, *torch.autograd.grad(plain, inputs, grad)]
    with torch.no_grad():
        statistics = (None, None, 0.1, 1e-5)
        y, mean, invstd = forward(x, weight, bias, residual, statistics, activation)
        passed, grads = backward(
            grad, x, weight, bias, residual, mean, invstd, activation
        )
    pairs = zip([y, *grads, passed], expected)
    return max((one - two).abs().max().item() for one, two in pairs)


def forward(x, weight, bias, residual, statistics, activation):
    """The result, mean and inverse standard deviation; moves running statistics."""
    running_mean, running_var, momentum, eps = statistics
    mean, variance = torch.batch_norm_update_stats(
        x, running_mean, running_var, momentum
    )
    invstd = (variance + eps).rsqrt()
    y = torch.empty_like(x)
    channels, rows = x.shape[1], x.numel() // x.shape[1]
    block = triton.next_power_of_2(channels)
    tile = max(_TILE // block, 1)
    _forward_kernel[(triton.cdiv(rows, tile),)](
        x,
        x if residual is None else residual,
        weight,
        bias,
        mean,
        invstd,
        y,
        rows,
        C=channels,
        BLOCK=block,
        TILE=tile,
        ADDS=residual is not None,
        ACT=CODES[activation],
    )
    return y, mean, invstd


def backward(grad, x, weight, bias, residual, mean, invstd, activation):
    """The residual's gradient (None without one), then those of x, weight and bias.

    What went into the activation is computed again from ``x``: the result is not read.
    """
    grad = grad.contiguous(memory_format=torch.channels_last)
    channels, rows = x.shape[1], x.numel() // x.shape[1]
    block = triton.next_power_of_2(channels)
    tile = max(_TILE // block, 1)
    parts = triton.cdiv(rows, tile * _STEPS)
    sums = torch.empty(parts, 2, channels, device=x.device, dtype=torch.float32)
    adds = residual is not None
    common = (grad, x, residual if adds else x, weight, bias, mean, invstd)
    sizes = {"C": channels, "BLOCK": block, "TILE": tile, "ADDS": adds}
    sizes["ACT"] = CODES[activation]
    _sums_kernel[(parts,)](*common, sums, rows, STEPS=_STEPS, **sizes)
    bias_grad, weight_grad = sums.sum(0)
    x_grad = torch.empty_like(x)
    passed = torch.empty_like(x) if adds else None
    _gradient_kernel[(triton.cdiv(rows, tile),)](
        *common,
        bias_grad,
        weight_grad,
        x_grad,
        passed if adds else x_grad,
        rows,
        **sizes,
    )
    grads = (x_grad, weight_grad.to(weight.dtype), bias_grad.to(bias.dtype))
    return passed, grads


if triton is not None:

    @triton.jit
    def _forward_kernel(
        x_ptr,
        residual_ptr,
        weight_ptr,
        bias_ptr,
        mean_ptr,
        invstd_ptr,
        y_ptr,
        rows,
        C: tl.constexpr,
        BLOCK: tl.constexpr,
        TILE: tl.constexpr,
        ADDS: tl.constexpr,
        ACT: tl.constexpr,
    ):
        channel = tl.arange(0, BLOCK)
        there = channel < C
        row = tl.program_id(0).to(tl.int64) * TILE + tl.arange(0, TILE)
        place = row[:, None] * C + channel[None, :]
        inside = (row < rows)[:, None] & there[None, :]
        mean = tl.load(mean_ptr + channel, there, 0.0)
        invstd = tl.load(invstd_ptr + channel, there, 0.0)
        weight = tl.load(weight_ptr + channel, there, 0.0).to(tl.float32)
        bias = tl.load(bias_ptr + channel, there, 0.0).to(tl.float32)
        # As in backward, to the last bit: there the same positions are shut.
        y = tl.load(x_ptr + place, inside, 0.0).to(tl.float32)
        y = (y - mean[None, :]) * invstd[None, :]
        y = y * weight[None, :] + bias[None, :]
        if ADDS:
            y += tl.load(residual_ptr + place, inside, 0.0).to(tl.float32)
        if ACT == 3:
            y = y * tl.sigmoid(y)
        else:
            # A comparison, not a maximum: what is not a number stays so.
            y = tl.where(y < 0.0, 0.0, y)
            if ACT == 2:
                y = tl.where(y > 6.0, 6.0, y)
        tl.store(y_ptr + place, y, inside)

    @triton.jit
    def _through_activation(
        grad_ptr, residual_ptr, place, inside, normalized, ADDS, ACT
    ):
        grad = tl.load(grad_ptr + place, inside, 0.0).to(tl.float32)
        if ADDS:
            normalized += tl.load(residual_ptr + place, inside, 0.0).to(tl.float32)
        if ACT == 3:
            sigmoid = tl.sigmoid(normalized)
            return grad * sigmoid * (1.0 + normalized * (1.0 - sigmoid))
        shut = normalized <= 0.0
        if ACT == 2:
            shut = shut | (normalized >= 6.0)
        return tl.where(shut, 0.0, grad)

    @triton.jit
    def _sums_kernel(
        grad_ptr,
        x_ptr,
        residual_ptr,
        weight_ptr,
        bias_ptr,
        mean_ptr,
        invstd_ptr,
        sums_ptr,
        rows,
        STEPS: tl.constexpr,
        C: tl.constexpr,
        BLOCK: tl.constexpr,
        TILE: tl.constexpr,
        ADDS: tl.constexpr,
        ACT: tl.constexpr,
    ):
        channel = tl.arange(0, BLOCK)
        there = channel < C
        mean = tl.load(mean_ptr + channel, there, 0.0)
        invstd = tl.load(invstd_ptr + channel, there, 0.0)
        weight = tl.load(weight_ptr + channel, there, 0.0).to(tl.float32)
        bias = tl.load(bias_ptr + channel, there, 0.0).to(tl.float32)
        first = tl.program_id(0).to(tl.int64) * TILE * STEPS
        total = tl.zeros((TILE, BLOCK), tl.float32)
        weighted = tl.zeros((TILE, BLOCK), tl.float32)
        for step in range(STEPS):
            row = first + step * TILE + tl.arange(0, TILE)
            place = row[:, None] * C + channel[None, :]
            inside = (row < rows)[:, None] & there[None, :]
            x = tl.load(x_ptr + place, inside, 0.0).to(tl.float32)
            x = (x - mean[None, :]) * invstd[None, :]
            normalized = x * weight[None, :] + bias[None, :]
            grad = _through_activation(
                grad_ptr, residual_ptr, place, inside, normalized, ADDS, ACT
            )
            total += grad
            weighted += grad * x
        to = sums_ptr + tl.program_id(0) * 2 * C + channel
        tl.store(to, tl.sum(total, 0), there)
        tl.store(to + C, tl.sum(weighted, 0), there)

    @triton.jit
    def _gradient_kernel(
        grad_ptr,
        x_ptr,
        residual_ptr,
        weight_ptr,
        bias_ptr,
        mean_ptr,
        invstd_ptr,
        bias_grad_ptr,
        weight_grad_ptr,
        x_grad_ptr,
        passed_ptr,
        rows,
        C: tl.constexpr,
        BLOCK: tl.constexpr,
        TILE: tl.constexpr,
        ADDS: tl.constexpr,
        ACT: tl.constexpr,
    ):
        channel = tl.arange(0, BLOCK)
        there = channel < C
        row = tl.program_id(0).to(tl.int64) * TILE + tl.arange(0, TILE)
        place = row[:, None] * C + channel[None, :]
        inside = (row < rows)[:, None] & there[None, :]
        mean = tl.load(mean_ptr + channel, there, 0.0)
        invstd = tl.load(invstd_ptr + channel, there, 0.0)
        weight = tl.load(weight_ptr + channel, there, 0.0).to(tl.float32)
        bias = tl.load(bias_ptr + channel, there, 0.0).to(tl.float32)
        of_bias = tl.load(bias_grad_ptr + channel, there, 0.0) / rows
        of_weight = tl.load(weight_grad_ptr + channel, there, 0.0) / rows
        x = tl.load(x_ptr + place, inside, 0.0).to(tl.float32)
        x = (x - mean[None, :]) * invstd[None, :]
        normalized = x * weight[None, :] + bias[None, :]
        grad = _through_activation(
            grad_ptr, residual_ptr, place, inside, normalized, ADDS, ACT
        )
        if ADDS:
            tl.store(passed_ptr + place, grad, inside)
        grad = grad - of_bias[None, :] - x * of_weight[None, :]
        tl.store(x_grad_ptr + place, grad * (weight * invstd)[None, :], inside)
