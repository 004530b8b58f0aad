"""BatchNorm after ReLU that is not computed: what comes next takes its factors.

BatchNorm multiplies each channel by a number and adds another. A linear layer behind it
can take both into its weights, so the normalized tensor is neither written nor kept for
the backward pass, and the sums over all frames that BatchNorm's gradient needs come
out of the gradient of those weights.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd import Function


class Folded(NamedTuple):
    """Rows (batch frames, channels) and BatchNorm's factors (channels,), if any.

    What BatchNorm would give is ``rows * scale + shift``.
    """

    rows: torch.Tensor
    scale: torch.Tensor | None = None
    shift: torch.Tensor | None = None


def rectified_norm(rows, norm):
    """ReLU of rows (N, C), then a BatchNorm layer, as `Folded`; rows are overwritten.

    A layer in training mode moves its running statistics, also a SyncBatchNorm, which
    takes them over all processes.
    """
    if not norm.training:
        scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
        return Folded(rows.relu_(), scale, norm.bias - norm.running_mean * scale)
    group = group_of(norm)
    rows, scale, shift, mean, variance = RectifiedNorm.apply(
        rows, norm.weight, norm.bias, norm.eps, group
    )
    with torch.no_grad():
        norm.num_batches_tracked.add_(1)
        norm.running_mean.lerp_(mean.to(norm.running_mean.dtype), norm.momentum)
        norm.running_var.lerp_(variance.to(norm.running_var.dtype), norm.momentum)
    return Folded(rows, scale, shift)


def can_fold(norm):
    """Whether `rectified_norm` does what this layer does."""
    plain = type(norm) in (nn.BatchNorm1d, nn.SyncBatchNorm)
    return plain and norm.affine and norm.track_running_stats and bool(norm.momentum)


def group_of(norm):
    """The processes over which a SyncBatchNorm takes statistics, None if alone."""
    distributed = torch.distributed
    if not isinstance(norm, nn.SyncBatchNorm) or not distributed.is_initialized():
        return None
    group = norm.process_group or distributed.group.WORLD
    return group if distributed.get_world_size(group) > 1 else None


class RectifiedNorm(Function):
    """ReLU in place, and BatchNorm's factors: rows, scale, shift, mean, variance.

    The variance is the unbiased one, for the running statistics; mean and variance
    take no gradient. Only the rectified rows are kept for the backward pass.
    """

    @staticmethod
    def forward(ctx, rows, weight, bias, eps, group):
        if torch.compiler.is_compiling() or rows._is_view():
            rows = rows.relu()
        else:
            ctx.mark_dirty(rows.relu_())
        mean, variance, count = moments(rows.detach(), group)
        inverse = (variance + eps).rsqrt()
        scale = weight * inverse
        ctx.save_for_backward(rows, weight, mean, inverse)
        ctx.count, ctx.group = count, group
        unbiased = variance * (count / (count - 1))
        ctx.mark_non_differentiable(mean, unbiased)
        return rows, scale, bias - mean * scale, mean, unbiased

    @staticmethod
    def backward(ctx, grad, of_scale, of_shift, *_):
        rows, weight, mean, inverse = ctx.saved_tensors
        of_scale = of_scale - mean * of_shift
        of_weight, of_bias = of_scale * inverse, of_shift
        if ctx.group is not None:
            both = torch.stack([of_scale, of_shift])
            torch.distributed.all_reduce(both, group=ctx.group)
            of_scale, of_shift = both
        # Through the variance each row has a part of its own, through the mean one
        # that is the same for all.
        slope = -of_scale * weight * inverse.pow(3) / ctx.count
        offset = -of_shift * weight * inverse / ctx.count - slope * mean
        whole = scaled(rows, slope, offset).add_(grad)
        grad = torch.ops.aten.threshold_backward(whole, rows, 0)
        return grad, of_weight, of_bias, None, None


def moments(rows, group=None):
    """Mean and biased variance (C,) of rows (N, C), float32 or better, and their count.

    With a process group: over the rows of all its processes.
    """
    count = len(rows)
    if torch.compiler.is_compiling():
        exact = rows.to(torch.promote_types(rows.dtype, torch.float32))
        variance, mean = torch.var_mean(exact, 0, correction=0)
    else:
        mean, variance = _batch_norm_moments(rows)
    if group is None:
        return mean, variance, count
    own = torch.cat([mean, variance, mean.new_full((1,), count)])
    gathered = [
        torch.empty_like(own) for _ in range(torch.distributed.get_world_size(group))
    ]
    torch.distributed.all_gather(gathered, own, group=group)
    gathered = torch.stack(gathered)
    means, variances, counts = gathered.split([len(mean), len(mean), 1], dim=1)
    count = counts.sum()
    shares = counts / count
    mean = (shares * means).sum(0)
    return mean, (shares * (variances + (means - mean).square())).sum(0), count


@torch.library.custom_op("speechbrain_dino::batch_norm_moments", mutates_args=())
def _batch_norm_moments(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    # BatchNorm's own kernel: on CPUs 30 times as fast as torch.var_mean over rows. The
    # running statistics that it wants to move tell it what to compute in.
    exact = torch.promote_types(rows.dtype, torch.float32)
    moved = rows.new_zeros(2, rows.shape[1], dtype=exact)
    return torch.batch_norm_update_stats(rows, moved[0], moved[1], 0.0)


@_batch_norm_moments.register_fake
def _shapes_of_moments(rows):
    exact = torch.promote_types(rows.dtype, torch.float32)
    return tuple(rows.new_empty(2, rows.shape[1], dtype=exact).unbind())


def scaled(rows, scale, shift):
    """``rows * scale + shift`` computed as the factors are and kept as the rows are."""
    if torch.compiler.is_compiling() or rows.dtype == scale.dtype:
        return torch.addcmul(shift, rows, scale).to(rows.dtype)
    # Conversions in the same pass, without a float32 copy of the rows.
    return torch.addcmul(shift, rows, scale, out=torch.empty_like(rows))


def with_factors(folded):
    """The same with factors, 1 and 0 where BatchNorm is already done."""
    if folded.scale is not None:
        return folded
    exact = torch.promote_types(folded.rows.dtype, torch.float32)
    scale = folded.rows.new_ones(folded.rows.shape[1], dtype=exact)
    return Folded(folded.rows, scale, torch.zeros_like(scale))


def unfolded(folded):
    """The normalized rows themselves."""
    if folded.scale is None:
        return folded.rows
    # PyTorch's BatchNorm in evaluation mode: all its gradients in one pass.
    ones, zeros = torch.ones_like(folded.scale), torch.zeros_like(folded.shift)
    return torch.batch_norm(
        folded.rows, folded.scale, folded.shift, zeros, ones, False, 0.0, 0.0, False
    )


def linear(weight, bias, *parts):
    """A linear layer (out, in) over the channels of all parts, without joining them."""
    rows = None
    weights = weight.split([part.rows.shape[1] for part in parts], dim=1)
    for part, weight in zip(parts, weights):
        if part.scale is not None:
            bias = bias + (weight * part.shift).sum(1)
    for part, weight in zip(parts, weights):
        if part.scale is not None:
            weight = weight * part.scale
        if rows is None:
            rows = F.linear(part.rows, weight, bias)
        else:
            rows.addmm_(part.rows.to(rows.dtype), weight.t().to(rows.dtype))
    return rows
