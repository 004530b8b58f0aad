"""Telephone calls: a narrow band, 8-bit samples, clipping and lost packets."""

import numpy as np
import torch

from speechbrain_dino.augment.channel import AddChannel
from speechbrain_dino.augment.draws import RandomEffect, gain_to, on_device

_MU = 255
_PEAK = 0.9
# Uniform numbers: whether, the band (3), law, clipping, loss, and which packets.
_BAND, _LAW, _CLIP, _LOSS, _WHICH = 1, 4, 5, 6, 7


class AddTelephone(RandomEffect):
    """Sends each crop, with a probability of its own, through a telephone call.

    The band ends between 3 and 3.6 kHz, as with 8 kHz; then, each with a share of its
    own, samples are clipped, take the 8 bits of G.711's mu-law, and packets of 20 ms
    are lost, in whose place the packet before is heard again, fading. The power is
    kept. There is no model of a voice in it (GSM, AMR): such codecs do not run on the
    model's device.

    Arguments
    ---------
    prob, sample_rate : float, int
        Share of crops that are sent; Hz.
    low, high, tilt : tuple of float, tuple of float, float
        The band, see :class:`~speechbrain_dino.augment.channel.AddChannel`.
    law_prob, clip_prob, loss_prob : float
        Shares of the calls that are quantized, clipped, and lose packets.
    clipped : tuple of float
        Range of the level of clipping, a share of the crop's peak.
    lost : float
        Most packets that are lost, a share of all.
    """

    num_draws = 8

    def __init__(
        self,
        prob=0.3,
        low=(150, 400),
        high=(3000, 3600),
        tilt=2.0,
        law_prob=0.5,
        clip_prob=0.2,
        clipped=(0.2, 0.8),
        loss_prob=0.3,
        lost=0.1,
        packet_seconds=0.02,
        sample_rate=16000,
    ):
        super().__init__(prob)
        self.band = AddChannel(1.0, low, high, tilt, order=6, sample_rate=sample_rate)
        self.law_prob, self.clip_prob, self.loss_prob = law_prob, clip_prob, loss_prob
        self.clipped, self.lost = clipped, lost
        self.packet = round(packet_seconds * sample_rate)

    def effect(self, waveforms, draws, mask):
        """Sends each crop."""
        device = waveforms.device
        heard = self.band.effect(waveforms, draws[:, _BAND - 1 : _LAW], None)
        peak = heard.abs().amax(dim=1, keepdim=True).clamp(min=1e-9)
        heard = heard / peak * _PEAK
        clips = draws[:, _CLIP] / max(self.clip_prob, 1e-9)  # below 1: clipped
        low, high = self.clipped
        level = np.where(clips < 1, low + clips * (high - low), 1.0)
        level = _PEAK * on_device(level.astype(np.float32), device)[:, None]
        heard = heard.clamp(-level, level)
        coded = on_device(draws[:, _LAW] < self.law_prob, device)[:, None]
        heard = torch.where(coded, mu_law(heard), heard)
        heard = self._lose(heard, draws)
        return heard * gain_to(waveforms, heard, mask)

    def _lose(self, waveforms, draws):
        """Repeats the last packet that came, at half its level for each one missing."""
        rows, time = waveforms.shape
        packets = -(-time // self.packet)
        gone = self._gone(draws, packets)
        if not gone.any():
            return waveforms
        number = np.arange(packets)
        last = np.maximum.accumulate(np.where(gone, 0, number), axis=1)
        gain = (0.5 ** (number - last)).astype(np.float32)
        padded = torch.nn.functional.pad(waveforms, (0, packets * self.packet - time))
        padded = padded.view(rows, packets, self.packet)
        index = on_device(last, waveforms.device)[..., None].expand_as(padded)
        heard = padded.gather(1, index) * on_device(gain, waveforms.device)[..., None]
        return heard.reshape(rows, -1)[:, :time]

    def _gone(self, draws, packets):
        """Which packets are lost, bool (rows, packets); never the first one."""
        losses = draws[:, _LOSS] / max(self.loss_prob, 1e-9)
        share = np.where(losses < 1, losses * self.lost, 0.0)
        # One number for a whole crop: it is the seed of those of its packets.
        seeds = (draws[:, _WHICH].astype(np.float64) * 2**24).astype(np.int64)
        uniform = np.stack(
            [np.random.Generator(np.random.Philox(s)).random(packets) for s in seeds]
        )
        gone = uniform < share[:, None]
        gone[:, 0] = False
        return gone


def mu_law(waveforms):
    """Samples in -1..1 after 8 bits of G.711's mu-law and back.

    Example
    -------
    >>> mu_law(torch.tensor([0.0, 0.5, -1.0])).round(decimals=3)
    tensor([ 0.0000,  0.4950, -1.0000])
    """
    scale = torch.log1p(waveforms.abs().clamp(max=1.0) * _MU) / np.log1p(_MU)
    # Even steps on both sides of zero, as the code has a bit for the sign.
    code = (scale * 127).round() / 127
    return waveforms.sign() * ((1 + _MU) ** code - 1) / _MU
