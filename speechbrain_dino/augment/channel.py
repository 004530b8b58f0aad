"""Random recording channels: band limits and spectral tilt, drawn per crop."""

import torch

from speechbrain_dino.augment.draws import RandomEffect, gain_to, on_device


class AddChannel(RandomEffect):
    """Filters each crop, with a probability of its own, by a channel of its own.

    A channel is a band-pass (Butterworth magnitudes, no phase) with a tilt: what
    telephones, loudspeakers and microphones do to a voice. The power is kept.

    Arguments
    ---------
    prob, sample_rate : float, int
        Share of crops that are filtered; Hz.
    low, high : tuple of float
        Ranges of the cut-offs in Hz, drawn evenly in octaves.
    tilt, order : float, int
        Largest tilt, up or down, in dB per octave; slope beyond the cut-offs, in units
        of 6 dB per octave.
    """

    num_draws = 4

    def __init__(
        self,
        prob=0.5,
        low=(30, 400),
        high=(3000, 8000),
        tilt=3.0,
        order=3,
        sample_rate=16000,
    ):
        super().__init__(prob)
        self.low = low
        self.high = high
        self.tilt = tilt
        self.order = order
        self.sample_rate = sample_rate

    def effect(self, waveforms, draws, mask):
        """Filters each crop."""
        time = waveforms.shape[1]
        numbers = on_device(draws[:, 1:], waveforms.device)
        spectrum = torch.fft.rfft(waveforms) * self.response(numbers, time)
        wet = torch.fft.irfft(spectrum, time)
        return wet * gain_to(waveforms, wet)

    def response(self, draws, time):
        """Magnitudes ``(rows, time // 2 + 1)`` of the channels' responses.

        ``draws`` ``(rows, 3)`` give lower cut-off, upper cut-off and tilt; ``time`` is
        the number of samples that are filtered.
        """
        bins = torch.arange(time // 2 + 1, device=draws.device)
        # The mean is lost in any band-pass; a floor keeps 0 Hz out of the divisions.
        hertz = (bins * self.sample_rate / time).clamp(min=1.0)
        low, high = (
            edges[0] * (edges[1] / edges[0]) ** draws[:, number, None]
            for number, edges in enumerate((self.low, self.high))
        )
        band = (
            1 + (low / hertz) ** (2 * self.order) + (hertz / high) ** (2 * self.order)
        )
        slope = self.tilt * (2 * draws[:, 2, None] - 1)
        return band.rsqrt() * 10 ** (slope * torch.log2(hertz / 1000) / 20)
