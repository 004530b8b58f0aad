"""Reverberation for a whole batch, on the model's device, a room for each crop."""

import numpy as np
import torch

from speechbrain_dino.augment.banks import RoomBank
from speechbrain_dino.augment.draws import (
    choose,
    length_mask,
    on_device,
    power,
    prepared,
    uniform_numbers,
)


class AddReverb(torch.nn.Module):
    """Convolves each crop, with a probability of its own, with a room of its own.

    The convolution is linear (nothing wraps round), the direct sound stays where it
    was and the power of the crop is kept.

    Arguments
    ---------
    csv_file : str
        Impulse responses in SpeechBrain's form, from ``prepare_noise_rir``.
    prob : float
        Share of crops that are reverberated.
    bank : dict
        Further arguments of :class:`speechbrain_dino.augment.banks.RoomBank`.

    Example
    -------
    >>> AddReverb("rir.csv").num_draws
    2
    """

    num_draws = 2

    def __init__(self, csv_file, prob=0.45, bank=None):
        super().__init__()
        self.csv_file = csv_file
        self.prob = prob
        self.bank_options = bank or {}
        self.bank = None

    def load(self):
        """Reads the impulse responses, at the first call where it was not done before.

        Without a file (no ``rir_folder`` was given) a warning says so, and nothing
        is convolved.
        """
        if self.bank is not None or self.prob == 0:
            return
        if not prepared(self.csv_file, "rir_folder", "reverb_prob"):
            self.prob = 0
            return
        self.bank = RoomBank(self.csv_file, **self.bank_options)

    def forward(self, waveforms, lengths=None, draws=None):
        """Adds reverberation.

        Arguments
        ---------
        waveforms : torch.Tensor
            Speech ``(batch, time)``.
        lengths : torch.Tensor, optional
            Relative lengths ``(batch,)``; padding counts for no power.
        draws : torch.Tensor, optional
            Uniform numbers ``(batch, num_draws)`` on the CPU.

        Returns
        -------
        torch.Tensor
            Same shape; crops without a room are unchanged.
        """
        self.load()
        draws = uniform_numbers(draws, waveforms, self.num_draws)
        rows = np.flatnonzero(draws[:, 0] < self.prob)
        if len(rows) == 0:
            return waveforms
        rooms = choose(draws[rows, 1], len(self.bank))
        rows = on_device(rows, waveforms.device)
        dry = waveforms[rows]
        wet = self.bank.convolve(dry, rooms)
        mask = None
        if lengths is not None:
            mask = length_mask(dry, lengths.to(waveforms.device)[rows])
        wet = wet * (power(dry, mask) / power(wet, mask).clamp(min=1e-12)).sqrt()
        return waveforms.index_copy(0, rows, wet)
