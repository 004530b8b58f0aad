"""A residual network whose blocks weigh frequencies, with attention over time."""

import torch
import torch.nn.functional as F
from torch import nn

from speechbrain_dino.models.encoders import ACTIVATIONS, masked
from speechbrain_dino.models.features import frame_mask

_LEAST_VARIANCE = 1e-5


class FwSEResNet34(nn.Module):
    """ResNet-34 with frequency-wise squeeze-excitation and attentive statistics.

    The encoder of the authors' later DINO: a 3x3 stem of stride 1 without pooling,
    basic blocks with normalization behind the activation (so that what is summed is
    not cut off), each followed by :class:`FrequencyExcitation`, then
    :class:`AttentiveStatistics` of all channels and bands, a linear layer without bias
    and batch normalization.

    Arguments
    ---------
    input_size, lin_neurons : int
        Mel bands; dimensions of the embedding.
    channels, block_sizes, strides : sequence of int
        Of each stage; the first block of a stage strides in time and frequency.
    reduction, attention_channels : int
        Bands per unit within the excitation; units within the attention.
    activation : str
        A key of ``speechbrain_dino.models.encoders.ACTIVATIONS``.
    dropout : float
        Share of channels set to 0 behind each block while training.

    Example
    -------
    >>> encoder = FwSEResNet34(channels=[8, 8, 16, 16]).eval()
    >>> encoder(torch.rand(2, 100, 80)).shape
    torch.Size([2, 1, 192])
    """

    def __init__(
        self,
        input_size=80,
        channels=(64, 128, 256, 512),
        block_sizes=(3, 4, 6, 3),
        strides=(1, 2, 2, 2),
        lin_neurons=192,
        reduction=4,
        attention_channels=128,
        activation="swish",
        dropout=0.0,
    ):
        super().__init__()
        if activation not in ACTIVATIONS:
            raise ValueError(
                f"activation is {activation!r}; expected one of "
                f"{', '.join(ACTIVATIONS)}"
            )
        self.activation = ACTIVATIONS[activation]
        width, bands, blocks = channels[0], input_size, []
        self.stem = nn.Conv2d(1, width, 3, padding=1)
        self.stem_norm = nn.BatchNorm2d(width)
        for out, count, stride in zip(channels, block_sizes, strides, strict=True):
            bands = -(-bands // stride)
            for number in range(count):
                excitation = FrequencyExcitation(bands, reduction, self.activation)
                steps = stride if number == 0 else 1
                blocks.append(
                    Block(width, out, steps, excitation, self.activation, dropout)
                )
                width = out
        self.blocks = nn.ModuleList(blocks)
        self.pooling = AttentiveStatistics(width * bands, attention_channels)
        self.embedding = nn.Linear(2 * width * bands, lin_neurons, bias=False)
        self.embedding_norm = nn.BatchNorm1d(lin_neurons)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out")

    def forward(self, feats, lengths=None):
        """Embeddings (batch, 1, lin_neurons) of log-mels (batch, frames, input_size).

        Padding by relative ``lengths`` (batch,) is masked exactly.
        """
        mask = frame_mask(lengths, feats)
        # (batch, 1, bands, frames)
        x = masked(feats.transpose(1, 2).unsqueeze(1), mask)
        x = masked(self.stem_norm(self.activation(self.stem(x))), mask)
        for block in self.blocks:
            x, mask = block(x, mask)
        x = self.embedding(self.pooling(x.flatten(1, 2), mask))
        return self.embedding_norm(x).unsqueeze(1)

    @property
    def masks_padding(self):
        """Utterances of several lengths may share a batch."""
        return True


class Block(nn.Module):
    """Two 3x3 convolutions, each activated and then normalized, weighed by frequency.

    The shortcut is added last; where shapes differ it is a 1x1 convolution.
    """

    def __init__(self, width, out, stride, excitation, activation, dropout=0.0):
        super().__init__()
        self.stride, self.activation = stride, activation
        self.conv1 = nn.Conv2d(width, out, 3, stride, padding=1)
        self.norm1 = nn.BatchNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1)
        self.norm2 = nn.BatchNorm2d(out)
        self.shortcut = nn.Identity()
        if stride > 1 or width != out:
            self.shortcut = nn.Conv2d(width, out, 1, stride)
        self.excitation = excitation
        self.dropout = nn.Dropout2d(dropout)

    def forward(self, x, mask=None):
        """Applies the block; returns the result and the mask at its frame rate."""
        inner = None if mask is None else mask[:, :: self.stride]
        y = masked(self.norm1(self.activation(self.conv1(x))), inner)
        y = masked(self.norm2(self.activation(self.conv2(y))), inner)
        y = self.excitation(y, inner) + self.shortcut(x)
        return masked(self.dropout(y), inner), inner


class FrequencyExcitation(nn.Module):
    """Weighs each band by what the mean of all bands over channels and time says.

    ``y = x * sigmoid(W2 act(W1 z))`` with z (batch, bands): squeeze-excitation (Hu et
    al., 2018) of frequencies, where the original weighs channels.
    """

    def __init__(self, bands, reduction, activation):
        super().__init__()
        self.activation = activation
        self.squeeze = nn.Linear(bands, max(bands // reduction, 1), bias=False)
        self.excite = nn.Linear(max(bands // reduction, 1), bands, bias=False)

    def forward(self, x, mask=None):
        """x (batch, channels, bands, frames), 0 where ``mask`` (batch, frames) is."""
        means = x.mean(dim=(1, 3))
        if mask is not None:
            means = means / mask.float().mean(1, keepdim=True)
        weights = self.excite(self.activation(self.squeeze(means))).sigmoid()
        return x * weights[:, None, :, None]


class AttentiveStatistics(nn.Module):
    """Mean and deviation over time, each channel by weights of its own (ECAPA-TDNN).

    The weights see the frame and, through ``context``, the plain mean and deviation.
    """

    def __init__(self, channels, inner):
        super().__init__()
        self.frame = nn.Conv1d(channels, inner, 1, bias=False)
        self.context = nn.Linear(2 * channels, inner, bias=False)
        self.norm = nn.BatchNorm1d(inner)
        self.scores = nn.Conv1d(inner, channels, 1)

    def forward(self, x, mask=None):
        """(batch, 2 channels) of x (batch, channels, frames), in float32."""
        with torch.autocast(x.device.type, enabled=False):
            x = x.float()
            plain = x.new_ones(()) / x.shape[2]
            if mask is not None:
                plain = (mask / mask.sum(1, keepdim=True))[:, None]
            inner = self.frame(x) + self.context(_weighted(x, plain))[..., None]
            scores = self.scores(self.norm(inner).tanh())
            if mask is not None:
                scores = scores.masked_fill(~mask[:, None], -torch.inf)
            return _weighted(x, F.softmax(scores, dim=-1))


def _weighted(x, weights):
    """Mean and deviation (batch, 2 channels) by weights whose sum over time is 1."""
    mean = (x * weights).sum(-1)
    variance = ((x - mean[..., None]).square() * weights).sum(-1)
    return torch.cat([mean, variance.clamp(min=_LEAST_VARIANCE).sqrt()], dim=1)
