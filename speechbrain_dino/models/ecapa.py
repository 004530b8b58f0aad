"""SpeechBrain's ECAPA-TDNN in another order of computation: faster, in less memory.

Frames come before channels, so that a convolution over one frame is a matrix product;
BatchNorm is left to the layer that follows (:mod:`folded_norm`); the statistics that
the attention sees beside each frame become a bias, W [x; mean; std] = V x + U [mean;
std]; the pooling is one function with a backward pass of its own.
"""

import torch
import torch.nn.functional as F
from speechbrain.dataio.dataio import length_to_mask
from speechbrain.lobes.models.ECAPA_TDNN import ECAPA_TDNN
from speechbrain.nnet.CNN import Conv1d
from torch import nn
from torch.autograd import Function

from speechbrain_dino.models.folded_norm import (
    Folded,
    can_fold,
    linear,
    rectified_norm,
    unfolded,
    with_factors,
)

PADDINGS = ("reflect", "zeros")


class FastECAPA(ECAPA_TDNN):
    """SpeechBrain's ECAPA-TDNN: same arguments, weights and embeddings, other order.

    ``padding``: at the ends of an utterance convolutions see its frames reflected
    ("reflect", SpeechBrain) or zeros ("zeros", wespeaker, sslsv). Other arguments are
    those of ``speechbrain.lobes.models.ECAPA_TDNN.ECAPA_TDNN``, whose weights load.

    Example
    -------
    >>> encoder = FastECAPA(input_size=80, lin_neurons=192)
    >>> encoder(torch.rand(2, 100, 80)).shape
    torch.Size([2, 1, 192])
    """

    def __init__(self, *args, padding="reflect", **kwargs):
        super().__init__(*args, **kwargs)
        if padding not in PADDINGS:
            raise ValueError(
                f"padding is {padding!r}; expected one of {', '.join(PADDINGS)}"
            )
        for layer in self.modules() if padding == "zeros" else ():
            if isinstance(layer, Conv1d):
                layer.padding = "valid"
                layer.conv.padding = (_reach(layer.conv),)

    def forward(self, x, lengths=None):
        """Embeddings (batch, 1, lin_neurons) of log-mels (batch, frames, bands).

        Frames beyond relative ``lengths`` (batch,) take no part in the pooling and the
        squeeze; as in SpeechBrain they are seen by BatchNorm and convolutions.
        """
        batch, frames, _ = x.shape
        mask = None
        if lengths is not None:
            mask = length_to_mask(lengths * frames, max_len=frames, device=x.device)
            mask = mask[..., None].bool()
        first, *blocks = self.blocks
        x = _tdnn(first, batch, Folded(x.flatten(0, 1)))
        outputs = []
        for block in blocks:
            x = Folded(_se_res2net(block, batch, x, mask))
            outputs.append(x)
        x = _pooled(self.asp, batch, _tdnn(self.mfa, batch, *outputs), mask)
        return self.fc(self.asp_bn(x.unsqueeze(2))).transpose(1, 2)


def accelerated(encoder):
    """An encoder that computes as `FastECAPA` if it is SpeechBrain's, or itself."""
    if type(encoder) is ECAPA_TDNN:
        encoder.__class__ = FastECAPA
    return encoder


# Activations are rows, (batch frames, channels), between these functions.


def _tdnn(block, batch, *parts):
    """SpeechBrain's TDNNBlock of the channels of all parts, `Folded`."""
    conv = block.conv.conv
    if conv.groups > 1:
        rows = torch.cat([unfolded(part) for part in parts], dim=1)
        rows = _convolved(block.conv, rows.unflatten(0, (batch, -1)))
    elif conv.kernel_size == (1,):
        rows = linear(conv.weight.squeeze(2), conv.bias, *parts)
    else:
        rows = torch.cat([unfolded(part) for part in parts], dim=1)
        rows = _windows(block.conv, rows.unflatten(0, (batch, -1)))
        rows = F.linear(rows, conv.weight.transpose(1, 2).flatten(1), conv.bias)
    return _normalized(block, batch, rows)


def _normalized(block, batch, rows):
    """What a TDNNBlock does behind its convolution, `Folded`."""
    norm, dropout = block.norm.norm, block.dropout
    drops = dropout.training and dropout.p > 0
    if type(block.activation) is nn.ReLU and can_fold(norm) and not drops:
        return rectified_norm(rows, norm)
    rows = norm(block.activation(rows))
    if drops:
        rows = rows.unflatten(0, (batch, -1)).transpose(1, 2)
        rows = dropout(rows).transpose(1, 2).flatten(0, 1)
    return Folded(rows)


def _reach(conv):
    return conv.dilation[0] * (conv.kernel_size[0] - 1) // 2


def _padded(layer, x):
    """(batch, frames, channels) with what a Conv1d of SpeechBrain sees at both ends."""
    size = _reach(layer.conv)
    if size == 0:
        return x
    if layer.padding == "valid":
        return F.pad(x, (0, 0, size, size))
    if size >= x.shape[1]:
        raise RuntimeError(
            f"{x.shape[1]} frames are too few to be reflected over {size}; expected "
            "longer utterances, or an encoder that pads with zeros"
        )
    return torch.cat(
        [x[:, 1 : size + 1].flip(1), x, x[:, -size - 1 : -1].flip(1)], dim=1
    )


def _windows(layer, x):
    """Rows that hold the frames side by side that a convolution sees at a time."""
    (width,), (dilation,) = layer.conv.kernel_size, layer.conv.dilation
    x = _padded(layer, x)
    frames = x.shape[1] - dilation * (width - 1)
    shifted = [x[:, n * dilation : n * dilation + frames] for n in range(width)]
    return torch.cat(shifted, dim=2).flatten(0, 1)


def _convolved(layer, x):
    """Rows of a convolution over (batch, frames, channels), without a transposition."""
    conv, zeros = layer.conv, layer.padding == "valid"
    x = x if zeros else _padded(layer, x)
    x = F.conv2d(
        x.transpose(1, 2).unsqueeze(2),
        conv.weight.unsqueeze(2),
        conv.bias,
        padding=(0, _reach(conv) if zeros else 0),
        dilation=(1, conv.dilation[0]),
        groups=conv.groups,
    )
    return x.squeeze(2).transpose(1, 2).flatten(0, 1)


def _res2net(block, batch, x):
    first, *slices = unfolded(x).chunk(block.scale, dim=1)
    outputs = [with_factors(Folded(first))]
    for part, layer in zip(slices, block.blocks):
        if len(outputs) > 1:
            part = part + unfolded(outputs[-1])
        rows = _convolved(layer.conv, part.unflatten(0, (batch, -1)))
        outputs.append(with_factors(_normalized(layer, batch, rows)))
    rows, scales, shifts = zip(*outputs)
    return Folded(torch.cat(rows, dim=1), torch.cat(scales), torch.cat(shifts))


def _se_res2net(block, batch, x, mask):
    if block.shortcut is None:
        residual = unfolded(x)
    else:
        conv = block.shortcut.conv
        residual = linear(conv.weight.squeeze(2), conv.bias, x)
    x = _tdnn(block.tdnn1, batch, x)
    x = _res2net(block.res2net_block, batch, x)
    rows, scale, shift = with_factors(_tdnn(block.tdnn2, batch, x))
    frames = rows.unflatten(0, (batch, -1))
    if mask is None:
        mean = frames.mean(1, dtype=scale.dtype)
    else:
        mean = (frames * mask).sum(1, dtype=scale.dtype) / mask.sum(1)
    squeeze, excite = block.se_block.conv1.conv, block.se_block.conv2.conv
    gate = F.linear(mean * scale + shift, squeeze.weight.squeeze(2), squeeze.bias)
    gate = F.linear(gate.relu(), excite.weight.squeeze(2), excite.bias).sigmoid()
    slope, offset = (gate * factor for factor in (scale, shift))
    out = torch.addcmul(
        residual.unflatten(0, (batch, -1)), frames, slope.to(rows.dtype)[:, None]
    )
    return out.add_(offset.to(rows.dtype)[:, None]).flatten(0, 1)


def _pooled(block, batch, x, mask):
    """SpeechBrain's attentive statistics (batch, 2 channels), without the last axis."""
    x = rows, scale, shift = with_factors(x)
    frames = rows.unflatten(0, (batch, -1))

    def statistics(weights, logits=None):
        mean, variance = Statistics.apply(frames, weights, logits)
        deviation = (variance * scale.square()).clamp(block.eps).sqrt()
        return torch.cat([mean * scale + shift, deviation], dim=1)

    conv = block.tdnn.conv.conv
    weight, bias = conv.weight.squeeze(2), conv.bias
    if block.global_context:
        weights = None
        if mask is not None:
            weights = mask.to(scale.dtype) / mask.sum(1, keepdim=True)
        weight, of_context = weight.tensor_split([rows.shape[1]], dim=1)
        context = F.linear(statistics(weights), of_context, bias)
        hidden = linear(weight, torch.zeros_like(bias), Folded(*x))
        hidden = hidden.unflatten(0, (batch, -1)) + context[:, None]
        hidden = hidden.flatten(0, 1)
    else:
        hidden = linear(weight, bias, Folded(*x))
    hidden = unfolded(_normalized(block.tdnn, batch, hidden)).tanh()
    logits = F.linear(hidden, block.conv.conv.weight.squeeze(2), block.conv.conv.bias)
    logits = logits.unflatten(0, (batch, -1))
    if mask is not None:
        logits = logits.masked_fill(~mask, float("-inf"))
    return statistics(None, logits)


class Statistics(Function):
    """Mean and variance over frames (batch, channels), in float32 or better.

    Of ``x`` (batch, frames, channels); each frame has the same weight, or ``weights``
    (batch, frames, 1), or the softmax over frames of ``logits``, shaped as ``x``.
    """

    @staticmethod
    def forward(ctx, x, weights, logits):
        exact = torch.promote_types(x.dtype, torch.float32)
        if logits is not None:
            weights = F.softmax(logits, 1, dtype=exact)
            ctx.logits_dtype = logits.dtype
        if weights is None:
            mean = x.mean(1, dtype=exact)
            variance = (x - mean[:, None]).square_().mean(1)
        else:
            weights = weights.to(exact)
            mean = (weights * x).sum(1)
            variance = (x - mean[:, None]).square_().mul_(weights).sum(1)
        ctx.save_for_backward(x, weights, mean, variance)
        ctx.attentive = logits is not None
        return mean, variance

    @staticmethod
    def backward(ctx, of_mean, of_variance):
        x, weights, mean, variance = ctx.saved_tensors
        of_mean, of_variance, variance = (
            part[:, None] for part in (of_mean, of_variance, variance)
        )
        gap = x - mean[:, None]
        grad = torch.addcmul(of_mean, gap, 2 * of_variance)
        grad = grad.div_(x.shape[1]) if weights is None else grad.mul_(weights)
        if not ctx.attentive:
            return grad.to(x.dtype), None, None
        # The softmax's mean over frames of what reaches it is known: of_variance times
        # the variance, and the means drop out.
        of_logits = torch.addcmul(of_mean, gap, of_variance).mul_(gap)
        of_logits.sub_(of_variance * variance).mul_(weights)
        return grad.to(x.dtype), None, of_logits.to(ctx.logits_dtype)
