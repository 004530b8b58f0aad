"""Reverberation for a whole batch, on the model's device, a room for each crop."""

import logging

import numpy as np
from speechbrain.utils.distributed import if_main_process

from speechbrain_dino.augment.banks import RoomBank
from speechbrain_dino.augment.draws import (
    RandomEffect,
    choose,
    choose_weighted,
    gain_to,
    prepared,
)

logger = logging.getLogger(__name__)


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
    kinds : dict, optional
        How often which kind of room is taken, such as ``{smallroom: 1, real: 2}``, of
        the CSV's kinds (smallroom, mediumroom, largeroom, real); no others. A kind of
        which the CSV has no room is left out, with a warning; without any of them, or
        without ``kinds``, all rooms are equally likely.
    """

    num_draws = 2

    def __init__(self, csv_file, prob=0.45, bank=None, kinds=None):
        super().__init__(prob)
        if kinds is not None and not all(weight > 0 for weight in kinds.values()):
            raise ValueError(f"kinds is {dict(kinds)}; its weights must be positive")
        self.kinds = kinds or {}
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
        self.bank = RoomBank(self.csv_file, kinds=list(self.kinds), **self.bank_options)
        missing = [kind for kind in self.kinds if kind not in self.bank.kinds]
        if missing and if_main_process():
            logger.warning(
                "%s has no room of kind %s: rooms of kind %s are used. Give rir_folder "
                "RIRS_NOISES as distributed to have all.",
                self.csv_file,
                " or ".join(missing),
                ", ".join(self.bank.kinds),
            )

    def effect(self, waveforms, draws, mask):
        """Convolves each crop with a room."""
        wet = self.bank.convolve(waveforms, self._rooms(draws[:, 1]))
        return wet * gain_to(waveforms, wet, mask)

    def _rooms(self, uniform):
        if len(self.bank.kinds) == 1:
            return choose(uniform, len(self.bank))
        weights = [self.kinds[kind] for kind in self.bank.kinds]
        kind, left = choose_weighted(uniform.astype(np.float64), weights)
        return self.bank.first[kind] + choose(left, self.bank.count[kind])
