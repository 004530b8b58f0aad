"""BatchNorm, a residual and an activation as one step that keeps two tensors.

A network of small channels is bound by the bytes that it moves. In a chain of modules
BatchNorm, sum and ReLU6 each write a tensor and keep one for backward; here backward
keeps the convolution's output and the result, both in the precision computed in.
"""

import torch
import torch.nn.functional as F
from torch import nn

from speechbrain_dino.models import norm_act_triton

BOUNDS = {torch.relu: (0.0, float("inf")), F.relu6: (0.0, 6.0)}
"""Activations that clamp, with their bounds: the result says where they let through."""
FUSED = (*BOUNDS, F.silu)
"""The activations that `norm_act` computes in one step."""


def norm_act(norm, x, activation, residual=None, mask=None, fused=True):
    """``activation(norm(x) + residual) * mask`` with fewer bytes moved and kept.

    Values, gradients, running statistics and state are those of the modules. Where the
    step does not apply they are called as they are: a ``norm`` that is not a plain
    ``BatchNorm2d`` (SyncBatchNorm), has hooks or no weights, in evaluation, another
    activation, and in ``torch.compile``, which fuses by itself.

    Arguments
    ---------
    norm : torch.nn.Module
        Normalizes ``x``; usually ``BatchNorm2d``.
    x : torch.Tensor
        (batch, channels, height, width), fastest in channels-last memory.
    activation : callable
        Best one of ``FUSED``.
    residual : torch.Tensor, optional
        Shape of ``x``; is added before the activation.
    mask : torch.Tensor, optional
        Boolean (batch, width): positions that are not padding.
    fused : bool
        Whether it may be one step.

    Returns
    -------
    torch.Tensor
        Shape, precision and memory format of ``x``.

    Example
    -------
    >>> norm_act(nn.BatchNorm2d(3), torch.randn(2, 3, 4, 5), torch.relu).shape
    torch.Size([2, 3, 4, 5])
    """
    usual = torch.compiler.is_compiling() or not norm.training
    if not fused or usual or not _plain(norm):
        return _by_modules(norm, x, activation, residual, mask)
    if activation not in FUSED or x.numel() == x.shape[1]:
        return _by_modules(norm, x, activation, residual, mask)
    mean = variance = None
    if norm.track_running_stats:
        norm.num_batches_tracked.add_(1)
        mean, variance = norm.running_mean, norm.running_var
    return _NormAct.apply(
        x,
        norm.weight,
        norm.bias,
        residual,
        None if mask is None else mask[:, None, None],
        (mean, variance, norm.momentum, norm.eps),
        activation,
    )


def _plain(norm):
    """Whether nothing but BatchNorm2d's own computation would run, with weights."""
    return (
        type(norm) is nn.BatchNorm2d
        and norm.weight is not None
        and norm.momentum is not None
        and not (norm._forward_hooks or norm._forward_pre_hooks)
        and not (norm._backward_hooks or norm._backward_pre_hooks)
    )


def _by_modules(norm, x, activation, residual, mask):
    y = norm(x)
    if not (torch.compiler.is_compiling() or y.requires_grad or y is x):
        # Nothing is kept for backward: the new tensor takes all that follows.
        y = y if residual is None else y.add_(residual)
        y = _activated(y, activation)
        return y if mask is None else y.mul_(mask[:, None, None])
    y = activation(y if residual is None else y + residual)
    return y if mask is None else y * mask[:, None, None]


def _activated(y, activation):
    """The activation of a tensor that is free to be overwritten."""
    if activation is torch.relu:
        return y.relu_()
    if activation in BOUNDS:
        return F.hardtanh_(y, *BOUNDS[activation])
    return F.silu(y, inplace=True) if activation is F.silu else activation(y)


class _NormAct(torch.autograd.Function):
    """Training-mode BatchNorm with what follows; first derivatives alone."""

    @staticmethod
    def forward(ctx, x, weight, bias, residual, mask, statistics, activation):
        ctx.eps, ctx.activation = statistics[-1], activation
        ctx.fast = norm_act_triton.usable(x, residual, mask)
        if ctx.fast:
            y, mean, invstd = norm_act_triton.forward(
                x, weight, bias, residual, statistics, activation
            )
        else:
            y, mean, invstd = _normalized(x, weight, bias, *statistics)
            y = y if residual is None else y.add_(residual)
            y = _activated(y, activation)
            y = y if mask is None else y.mul_(mask)
        # The result of a clamp says where it let through; other slopes need its input.
        bounded = activation in BOUNDS and not ctx.fast
        ctx.has_residual = residual is not None
        ctx.save_for_backward(
            x,
            weight,
            bias,
            mean,
            invstd,
            y if bounded else None,
            None if bounded else residual,
            None if bounded else mask,
        )
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        saved = ctx.saved_tensors  # once: each look computes anew what was not kept
        x, weight, bias, mean, invstd, y, residual, _ = saved
        if _channels_last(x):
            grad = grad.contiguous(memory_format=torch.channels_last)
        if ctx.fast:
            passed, grads = norm_act_triton.backward(
                grad, x, weight, bias, residual, mean, invstd, ctx.activation
            )
        else:
            if y is not None:
                passed = _clamp_backward(grad, y, ctx.activation)
            else:
                passed = _silu_backward(grad, *saved[:5], *saved[6:])
            grads = torch.ops.aten.native_batch_norm_backward(
                passed,
                x,
                weight,
                None,
                None,
                mean,
                invstd,
                True,
                ctx.eps,
                [True, True, True],
            )
        return *grads, passed if ctx.has_residual else None, None, None, None


def _normalized(x, weight, bias, running_mean, running_var, momentum, eps):
    """``native_batch_norm`` in training, with sums that are exact on a CPU, too."""
    if x.device.type != "cpu" or x.element_size() < 4 or not _channels_last(x):
        return torch.native_batch_norm(
            x, weight, bias, running_mean, running_var, True, momentum, eps
        )
    # Channels-last, PyTorch adds all positions of a channel one after the other in
    # float32. Taken as rows of (width x channels), it adds batch x height, and faster.
    batch, channels, height, width = x.shape
    rows = x.permute(0, 2, 3, 1).reshape(batch * height, width * channels)
    means, variances = torch.batch_norm_update_stats(rows, None, None, 0.0)
    between, mean = torch.var_mean(means.view(width, channels), 0, correction=0)
    variance = variances.view(width, channels).mean(0) + between
    if running_mean is not None:
        count = batch * height * width
        running_mean.lerp_(mean, momentum)
        running_var.lerp_(variance * (count / (count - 1)), momentum)
    y, _, _ = torch.native_batch_norm(x, weight, bias, mean, variance, False, 0.0, eps)
    return y, mean, (variance + eps).rsqrt()


def _channels_last(x):
    return x.is_contiguous(memory_format=torch.channels_last)


def _clamp_backward(grad, y, activation):
    # Where a mask made zeros, no gradient goes through either.
    if activation is torch.relu:
        return torch.ops.aten.threshold_backward(grad, y, 0.0)
    return torch.ops.aten.hardtanh_backward(grad, y, *BOUNDS[activation])


def _silu_backward(grad, x, weight, bias, mean, invstd, residual, mask):
    """Through swish, whose input is computed again from the convolution's output."""
    scale = weight * invstd
    shift = bias - mean * scale
    shape = (1, -1, 1, 1)
    y = torch.addcmul(shift.view(shape), x, scale.view(shape)).to(x.dtype)
    y = y if residual is None else y.add_(residual)
    if mask is not None:
        grad = grad * mask
    return torch.ops.aten.silu_backward(grad, y)
