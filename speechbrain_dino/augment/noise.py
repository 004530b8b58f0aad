"""Noise, music and babble for a whole batch, on the model's device, drawn per crop."""

import numpy as np

from speechbrain_dino.augment.banks import NoiseBank
from speechbrain_dino.augment.draws import (
    RandomEffect,
    choose,
    choose_weighted,
    gain_to,
    on_device,
    prepared,
)

# Uniform numbers: whether, which kind, which SNR, how many voices; then for each
# voice which piece and where to begin in it.
_FIRST_VOICE = 4


class AddNoise(RandomEffect):
    """Adds noise, music or babble to each crop with a probability of its own.

    Arguments
    ---------
    csv_file, prob : str, float
        Noises in SpeechBrain's form, from ``prepare_noise_rir``, all of kind "noise"
        without a column ``kind`` (noise, music, speech); share of crops with noise.
    snr : dict
        For each kind the lowest and the highest signal-to-noise ratio in dB. Kinds
        of which the file has no noise are left out, the others equally likely but for
        ``weights``.
    babble : tuple of int
        Fewest and most voices (kind speech) in babble; ValueError if below one.
    bank : dict
        Further arguments of :class:`speechbrain_dino.augment.banks.NoiseBank`.
    weights : dict, optional
        How often each kind is taken.
    """

    def __init__(
        self, csv_file, snr=None, prob=0.7, babble=(3, 7), bank=None, weights=None
    ):
        super().__init__(prob)
        if not 1 <= babble[0] <= babble[1]:
            raise ValueError(
                f"babble={tuple(babble)} was given; fewest and most voices were "
                "expected, for instance [3, 7]."
            )
        self.csv_file = csv_file
        self.ranges = snr or {"noise": (0, 18), "music": (3, 18), "speech": (3, 18)}
        if weights is not None and set(weights) != set(self.ranges):
            raise ValueError(
                f"weights were given for {sorted(weights)}, snr for "
                f"{sorted(self.ranges)}: give both the same kinds"
            )
        self.weights = weights
        self.babble = babble
        self.num_draws = _FIRST_VOICE + 2 * babble[1]
        self.bank_options = bank or {}
        self.bank = None

    def load(self):
        """Reads the noises once; without a file warns, and nothing is added."""
        if self.bank is not None or self.prob == 0:
            return
        if not prepared(self.csv_file, "noise_folder", "noise_prob"):
            self.prob = 0
            return
        self.bank = NoiseBank(
            self.csv_file, kinds=tuple(self.ranges), **self.bank_options
        )
        ranges = [self.ranges[kind] for kind in self.bank.kinds]
        self.snr = np.array(ranges, dtype=np.float32)

    def effect(self, waveforms, draws, mask):
        """Adds noise to each crop, none to its padding."""
        kind = self._kinds(draws[:, 1])
        low, high = self.snr[kind].T
        device = waveforms.device
        snr = on_device(low + draws[:, 2] * (high - low), device)
        noise = self.bank.cut(*self._mix(kind, draws), waveforms.shape[1], device)
        if mask is not None:
            noise = noise * mask
        gain = gain_to(waveforms, noise, mask) * 10 ** (-snr[:, None] / 20)
        return waveforms + gain * noise

    def _kinds(self, uniform):
        if self.weights is None:
            return choose(uniform, len(self.bank.kinds))
        weights = [self.weights[kind] for kind in self.bank.kinds]
        return choose_weighted(uniform, weights)[0]

    def _mix(self, kind, draws):
        """Pieces, starts and which voices of them are used, each ``(rows, voices)``."""
        fewest, most = self.babble
        voices = np.ones(len(kind), dtype=np.int64)
        spoken = np.array(self.bank.kinds)[kind] == "speech"
        voices[spoken] = fewest + choose(draws[spoken, 3], most - fewest + 1)
        first, count = self.bank.first[kind, None], self.bank.count[kind, None]
        pieces = first + choose(draws[:, _FIRST_VOICE::2], count)
        begins = draws[:, _FIRST_VOICE + 1 :: 2]
        return pieces, begins, np.arange(most) < voices[:, None]
