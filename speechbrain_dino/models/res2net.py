"""Res2Net-50, the encoder that the paper trains on pseudo labels."""

from functools import partial

import torch
import torch.nn.functional as F
from torch import nn

from speechbrain_dino.models.encoders import MaskedResNet, conv, masked, shortcut
from speechbrain_dino.models.norm_act import norm_act


class Res2Net50(MaskedResNet):
    """Res2Net-50 (Gao et al., 2021) over log-mels, one embedding per utterance.

    Bottleneck blocks [3, 4, 6, 3] whose 3x3 convolution is cut into ``scale`` groups
    of channels, each of which also sees the output of the group before. A group has
    ``base_width`` channels where a stage has 64, in proportion elsewhere; a block's
    output has ``expansion`` times the stage's. The defaults are a quarter of the paper
    authors' network, whose sizes stand in ``pseudo_labels.yaml``.

    Example
    -------
    >>> encoder = Res2Net50(input_size=40, channels=[8, 16, 32, 64]).eval()
    >>> encoder(torch.rand(2, 50, 40)).shape
    torch.Size([2, 1, 256])
    """

    def __init__(
        self,
        input_size=80,
        channels=(32, 64, 128, 256),
        block_sizes=(3, 4, 6, 3),
        strides=(1, 2, 2, 2),
        scale=4,
        base_width=26,
        expansion=4,
        lin_neurons=256,
        activation="relu",
        fused=False,
        recompute=False,
    ):
        self.scale, self.base_width, self.expansion = scale, base_width, expansion
        sizes = input_size, channels, block_sizes, strides, lin_neurons
        super().__init__(*sizes, activation, fused, recompute)

    def block(self, width, out, stride):
        group = max(out * self.base_width // 64, 1)
        out = out * self.expansion
        return Res2Block(width, out, stride, group, self.scale, self.activation)


class Res2Block(nn.Module):
    """1x1, a row of 3x3 convolutions by groups of channels, 1x1, with a shortcut."""

    fused = False

    def __init__(self, width, out, stride, group, scale, activation=torch.relu):
        super().__init__()
        self.stride, self.width_out, self.scale = stride, out, scale
        self.activation = activation
        self.conv1 = conv(width, group * scale, 1)
        self.norm1 = nn.BatchNorm2d(group * scale)
        convolved = max(scale - 1, 1)  # the last group goes by, if there are several
        self.convs = nn.ModuleList(
            conv(group, group, 3, stride) for _ in range(convolved)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(group) for _ in range(convolved))
        self.conv3 = conv(group * scale, out, 1)
        self.norm3 = nn.BatchNorm2d(out)
        self.shortcut = shortcut(width, out, stride)

    def forward(self, x, mask=None):
        """Applies the block; returns the result and the mask at its frame rate."""
        inner = None if mask is None else mask[:, :: self.stride]
        step = partial(norm_act, activation=self.activation, fused=self.fused)
        y = step(self.norm1, self.conv1(x), mask=mask)
        groups = y.chunk(self.scale, dim=1)
        outputs = []
        for number, (layer, norm) in enumerate(zip(self.convs, self.norms)):
            group = groups[number]
            if number and self.stride == 1:  # else the sizes differ
                group = group + outputs[-1]
            outputs.append(step(norm, layer(group), mask=inner))
        if self.scale > 1:
            last = groups[-1]
            if self.stride > 1:
                last = masked(F.avg_pool2d(last, 3, self.stride, padding=1), inner)
            outputs.append(last)
        y = self.conv3(torch.cat(outputs, dim=1))
        return step(self.norm3, y, residual=self.shortcut(x), mask=inner), inner
