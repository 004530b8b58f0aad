"""Reverberation for a whole batch, on the model's device, a room for each crop."""

from speechbrain_dino.augment.banks import RoomBank
from speechbrain_dino.augment.draws import (
    RandomEffect,
    choose,
    gain_to,
    prepared,
)


class AddReverb(RandomEffect):
    """Convolves each crop, with a probability of its own, with a room of its own.

    The convolution is linear (nothing wraps round), the direct sound stays in place and
    the power of the crop is kept.

    Arguments
    ---------
    csv_file, prob : str, float
        Responses, from ``prepare_noise_rir``; share of crops that are reverberated.
    bank : dict
        Further arguments of :class:`speechbrain_dino.augment.banks.RoomBank`.
    """

    num_draws = 2

    def __init__(self, csv_file, prob=0.45, bank=None):
        super().__init__(prob)
        self.csv_file = csv_file
        self.bank_options = bank or {}
        self.bank = None

    def load(self):
        """Reads the responses once; without a file warns, and nothing is convolved."""
        if self.bank is not None or self.prob == 0:
            return
        if not prepared(self.csv_file, "rir_folder", "reverb_prob"):
            self.prob = 0
            return
        self.bank = RoomBank(self.csv_file, **self.bank_options)

    def effect(self, waveforms, draws, mask):
        """Convolves each crop with a room."""
        wet = self.bank.convolve(waveforms, choose(draws[:, 1], len(self.bank)))
        return wet * gain_to(waveforms, wet, mask)
