"""Encoders that SpeechBrain lacks; its ECAPA-TDNN, x-vector and ResNet serve too."""

from functools import partial

import torch
import torch.nn.functional as F
from torch import nn

from speechbrain_dino.models.ecapa import FastECAPA
from speechbrain_dino.models.features import frame_mask
from speechbrain_dino.models.norm_act import norm_act
from speechbrain_dino.models.recompute import recomputed

ACTIVATIONS = {"relu": torch.relu, "relu6": F.relu6, "swish": F.silu}


class LeanECAPA(FastECAPA):
    """`FastECAPA` with convolutions that see zeros beyond both ends of an utterance."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, padding="zeros", **kwargs)


class ECAPAWithNorm(FastECAPA):
    """`FastECAPA` with batch normalization of the embedding (wespeaker).

    Arguments are the same; the embedding's dimensions have one scale, which cosine
    scoring and self-distillation gain from.
    """

    def __init__(self, *args, lin_neurons=192, **kwargs):
        super().__init__(*args, lin_neurons=lin_neurons, **kwargs)
        self.embedding_norm = nn.BatchNorm1d(lin_neurons)

    def forward(self, x, lengths=None):
        """Embeddings (batch, 1, lin_neurons) of log-mels (batch, frames, bands)."""
        embeddings = super().forward(x, lengths)
        return self.embedding_norm(embeddings.squeeze(1)).unsqueeze(1)


class MaskedResNet(nn.Module):
    """A residual network over log-mels whose embeddings do not depend on padding.

    A 3x3 stem of stride 1 without pooling, stages of blocks that a subclass gives,
    mean and standard deviation over time, then a linear layer without bias and batch
    normalization. Strides, one per stage, are in time and frequency. ``activation`` is
    a key of ``ACTIVATIONS``; convolutions begin as He et al. (2015), by fan out.
    ``fused``: BatchNorm, residual and activation are one step
    (:mod:`speechbrain_dino.models.norm_act`), tensors lie channels-last in memory (on
    CPUs where channels come in sixteens); written for GPUs, where it was not run yet.
    ``recompute``: backward computes blocks again instead of keeping what lies inside
    them, for larger batches.
    """

    def __init__(
        self,
        input_size,
        channels,
        block_sizes,
        strides,
        lin_neurons,
        activation="relu",
        fused=False,
        recompute=False,
    ):
        super().__init__()
        self.fused, self.recompute = fused, recompute
        if activation not in ACTIVATIONS:
            raise ValueError(
                f"activation is {activation!r}; expected one of "
                f"{', '.join(ACTIVATIONS)}"
            )
        self.activation = ACTIVATIONS[activation]
        self.stem = conv(1, channels[0], 3)
        self.stem_norm = nn.BatchNorm2d(channels[0])
        blocks, width, bands = [], channels[0], input_size
        for out, count, stride in zip(channels, block_sizes, strides):
            for number in range(count):
                block = self.block(width, out, stride if number == 0 else 1)
                block.fused = fused
                blocks.append(block)
                width = block.width_out
            bands = -(-bands // stride)
        self.blocks = nn.ModuleList(blocks)
        self.embedding = nn.Linear(2 * width * bands, lin_neurons, bias=False)
        self.embedding_norm = nn.BatchNorm1d(lin_neurons)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out")
        convolutions = [m for m in self.blocks.modules() if isinstance(m, nn.Conv2d)]
        self.wide = all(
            width % 16 == 0
            for layer in convolutions
            for width in (layer.in_channels, layer.out_channels)
        )

    def forward(self, feats, lengths=None):
        """Embeddings (batch, 1, lin_neurons) of log-mels (batch, frames, input_size).

        Padding by relative ``lengths`` (batch,) is masked exactly.
        """
        mask = frame_mask(lengths, feats)
        # (batch, 1, bands, frames)
        x = masked(feats.transpose(1, 2).unsqueeze(1), mask)
        if self.fused and (self.wide or x.device.type != "cpu"):
            # Channels-last by its strides. Not on CPUs for other widths: oneDNN's
            # backward of strided 1x1 convolutions then writes past its memory.
            x = x.squeeze(1).contiguous()[..., None].permute(0, 3, 1, 2)
        x = self.stem(x)
        x = norm_act(self.stem_norm, x, self.activation, mask=mask, fused=self.fused)
        for block in self.blocks:
            if self.recompute:
                x, mask = recomputed(block, x, mask)
            else:
                x, mask = block(x, mask)
        x = self.embedding(_statistics(x.flatten(1, 2), mask))
        return self.embedding_norm(x).unsqueeze(1)

    @property
    def masks_padding(self):
        """Utterances of several lengths may share a batch."""
        return True


class LResNet34(MaskedResNet):
    """The paper's light ResNet-34: basic blocks [3, 4, 6, 3], 16-32-64-128 channels.

    The paper's activation is "relu6", which recipes name; the default is that of
    inference folders whose YAML names none.

    Example
    -------
    >>> encoder = LResNet34(input_size=80).eval()
    >>> encoder(torch.rand(2, 200, 80)).shape
    torch.Size([2, 1, 256])
    """

    def __init__(
        self,
        input_size=80,
        channels=(16, 32, 64, 128),
        block_sizes=(3, 4, 6, 3),
        strides=(1, 2, 2, 2),
        lin_neurons=256,
        activation="relu",
        fused=False,
        recompute=False,
    ):
        sizes = input_size, channels, block_sizes, strides, lin_neurons
        super().__init__(*sizes, activation, fused, recompute)

    def block(self, width, out, stride):
        return BasicBlock(width, out, stride, self.activation)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with a shortcut (He et al., 2016)."""

    fused = False

    def __init__(self, width, out, stride, activation=torch.relu):
        super().__init__()
        self.stride, self.width_out, self.activation = stride, out, activation
        self.conv1 = conv(width, out, 3, stride)
        self.norm1 = nn.BatchNorm2d(out)
        self.conv2 = conv(out, out, 3)
        self.norm2 = nn.BatchNorm2d(out)
        self.shortcut = shortcut(width, out, stride)

    def forward(self, x, mask=None):
        """Applies the block; returns the result and the mask at its frame rate."""
        inner = None if mask is None else mask[:, :: self.stride]
        step = partial(norm_act, activation=self.activation, fused=self.fused)
        y = step(self.norm1, self.conv1(x), mask=inner)
        y = self.conv2(y)
        return step(self.norm2, y, residual=self.shortcut(x), mask=inner), inner


def conv(width, out, kernel, stride=1):
    return nn.Conv2d(width, out, kernel, stride, padding=kernel // 2, bias=False)


def shortcut(width, out, stride):
    if stride == 1 and width == out:
        return nn.Identity()
    return nn.Sequential(conv(width, out, 1, stride), nn.BatchNorm2d(out))


def masked(x, mask):
    return x if mask is None else x * mask[:, None, None]


def _statistics(x, mask, floor=1e-5):
    """Mean and standard deviation over time, (batch, 2 channels), in float32."""
    x = x.to(torch.promote_types(x.dtype, torch.float32))
    if mask is None:
        mean = x.mean(dim=2)
        variance = x.var(dim=2, unbiased=False)
    else:
        weight = mask[:, None] / mask.sum(1)[:, None, None]
        mean = (x * weight).sum(dim=2)
        variance = ((x - mean[..., None]).square() * weight).sum(dim=2)
    return torch.cat([mean, variance.clamp(min=floor).sqrt()], dim=1)
