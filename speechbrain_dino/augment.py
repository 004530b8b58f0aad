"""Noise and reverberation for a whole batch, on the model's device, drawn per crop.

Every random choice comes from uniform numbers (``draws``) that the loader made for
each crop, so that it depends on (seed, epoch, utterance, crop) alone. Called without
draws, as SpeechBrain's ``Augmenter`` does, the numbers come from torch's generator.
"""

import logging
from pathlib import Path

import numpy as np
import torch

from speechbrain_dino.banks import NoiseBank, RoomBank

logger = logging.getLogger(__name__)


class AddNoise(torch.nn.Module):
    """Adds noise, music or babble to each crop with a probability of its own.

    Arguments
    ---------
    csv_file : str
        Noises in SpeechBrain's form, from ``prepare_noise_rir``; a column ``kind``
        (noise, music, speech) tells them apart, all are noise without it.
    snr : dict
        For each kind the lowest and the highest signal-to-noise ratio in dB. Kinds
        of which the file has no noise are left out, the others equally likely.
    prob : float
        Share of crops to which noise is added.
    babble : tuple of int
        Fewest and most voices that make up one piece of babble (kind speech).
    bank : dict
        Further arguments of :class:`speechbrain_dino.banks.NoiseBank`.
    """

    num_draws = 20

    def __init__(self, csv_file, snr=None, prob=0.7, babble=(3, 7), bank=None):
        super().__init__()
        self.csv_file = csv_file
        self.ranges = snr or {"noise": (0, 18), "music": (3, 18), "speech": (3, 18)}
        self.prob = prob
        self.babble = babble
        self.bank_options = bank or {}
        self.bank = None

    def load(self):
        """Reads the noises; happens at the first call where it was not done before.

        Without a file (no ``noise_folder`` was given) a warning says so, and nothing
        is added.
        """
        if self.bank is not None or self.prob == 0:
            return
        if not _prepared(self.csv_file, "noise"):
            self.prob = 0
            return
        self.bank = NoiseBank(
            self.csv_file, kinds=tuple(self.ranges), **self.bank_options
        )
        self.kinds = list(self.bank.kinds)
        self.snr = np.array([self.ranges[k] for k in self.kinds], dtype=np.float32)

    def forward(self, waveforms, lengths=None, draws=None):
        """Adds noise.

        Arguments
        ---------
        waveforms : torch.Tensor
            Speech ``(batch, time)``.
        lengths : torch.Tensor, optional
            Relative lengths; not needed, kept for SpeechBrain's call form.
        draws : torch.Tensor, optional
            Uniform numbers ``(batch, num_draws)`` on the CPU.

        Returns
        -------
        torch.Tensor
            Same shape; crops without noise are unchanged.
        """
        self.load()
        draws = _numbers(draws, waveforms, self.num_draws)
        rows = np.flatnonzero(draws[:, 0] < self.prob)
        if len(rows) == 0:
            return waveforms
        draws = draws[rows]
        kind = _choice(draws[:, 1], len(self.kinds))
        low, high = self.snr[kind].T
        snr = low + draws[:, 2] * (high - low)
        pieces, begins, weights = self._mix(kind, draws)
        device = waveforms.device
        noise = self.bank.cut(pieces, begins, weights, waveforms.shape[1], device)
        rows = torch.from_numpy(rows).to(device)
        snr = torch.from_numpy(snr).to(device)
        speech = waveforms[rows]
        gain = (_power(speech) / _power(noise).clamp(min=1e-12)).sqrt()
        gain = gain * 10 ** (-snr[:, None] / 20)
        return waveforms.index_copy(0, rows, speech + gain * noise)

    def _mix(self, kind, draws):
        """Which pieces to add up, from where, for each row: ``(rows, voices)``."""
        fewest, most = self.babble
        voices = np.ones(len(kind), dtype=np.int64)
        spoken = np.array(self.kinds)[kind] == "speech"
        voices[spoken] = fewest + _choice(draws[spoken, 3], most - fewest + 1)
        slots = int(voices.max())
        use = np.arange(slots) < voices[:, None]
        first, count = self.bank.range_of(np.array(self.kinds)[kind])
        which = draws[:, 4 : 4 + 2 * slots : 2]
        pieces = first[:, None] + _choice(which, count[:, None])
        begins = draws[:, 5 : 5 + 2 * slots : 2]
        return pieces, begins, use.astype(np.float32)


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
        Further arguments of :class:`speechbrain_dino.banks.RoomBank`.
    """

    num_draws = 2

    def __init__(self, csv_file, prob=0.45, bank=None):
        super().__init__()
        self.csv_file = csv_file
        self.prob = prob
        self.bank_options = bank or {}
        self.bank = None

    def load(self):
        """Reads the impulse responses; see :meth:`AddNoise.load`."""
        if self.bank is not None or self.prob == 0:
            return
        if not _prepared(self.csv_file, "rir"):
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
            Relative lengths; not needed, kept for SpeechBrain's call form.
        draws : torch.Tensor, optional
            Uniform numbers ``(batch, num_draws)`` on the CPU.

        Returns
        -------
        torch.Tensor
            Same shape; crops without a room are unchanged.
        """
        self.load()
        draws = _numbers(draws, waveforms, self.num_draws)
        rows = np.flatnonzero(draws[:, 0] < self.prob)
        if len(rows) == 0:
            return waveforms
        rooms = _choice(draws[rows, 1], len(self.bank))
        rows = torch.from_numpy(rows).to(waveforms.device)
        dry = waveforms[rows]
        wet = self.bank.convolve(dry, rooms)
        wet = wet * (_power(dry) / _power(wet).clamp(min=1e-12)).sqrt()
        return waveforms.index_copy(0, rows, wet)


class CropAugment(torch.nn.Module):
    """Applies augmentations one after another, each with its share of the draws.

    Arguments
    ---------
    *steps : torch.nn.Module or None
        In order of application, for instance AddReverb then AddNoise; None is left
        out, so that a YAML can switch one off.

    Example
    -------
    >>> CropAugment(None).num_draws
    0
    """

    def __init__(self, *steps):
        super().__init__()
        self.steps = torch.nn.ModuleList(step for step in steps if step is not None)
        self.num_draws = sum(step.num_draws for step in self.steps)

    def load(self):
        """Reads noises and rooms, before training rather than in its first step."""
        for step in self.steps:
            step.load()

    def forward(self, waveforms, lengths=None, draws=None):
        """Augments a batch.

        Arguments
        ---------
        waveforms : torch.Tensor
            Speech ``(batch, time)``.
        lengths : torch.Tensor, optional
            Relative lengths, as SpeechBrain passes them.
        draws : torch.Tensor, optional
            Uniform numbers ``(batch, num_draws)`` on the CPU.

        Returns
        -------
        torch.Tensor
            Same shape.
        """
        used = 0
        for step in self.steps:
            part = None
            if draws is not None:
                part = draws[:, used : used + step.num_draws]
            waveforms = step(waveforms, lengths, part)
            used += step.num_draws
        return waveforms


def augmented(augment, waves, lengths, draws):
    """Applies an augmentation of this package or SpeechBrain's ``Augmenter``.

    Arguments
    ---------
    augment : callable
        With an attribute ``num_draws``: called with ``draws``. Without: SpeechBrain's
        call form, ``(waves, lengths)`` to waves or (waves, lengths).
    waves : torch.Tensor
        Crops ``(batch, time)``.
    lengths : torch.Tensor
        Relative lengths, all 1.
    draws : torch.Tensor
        Uniform numbers ``(batch, draws)`` on the CPU.

    Returns
    -------
    torch.Tensor
        Same shape as ``waves``.

    Raises
    ------
    ValueError
        If the augmentation changes the number of crops or their length.

    Example
    -------
    >>> augmented(lambda waves, lengths: -waves, torch.ones(1, 2), torch.ones(1), None)
    tensor([[-1., -1.]])
    """
    if hasattr(augment, "num_draws"):
        return augment(waves, lengths, draws)
    result = augment(waves, lengths)
    result = result[0] if isinstance(result, tuple) else result
    if len(result) != len(waves):
        raise ValueError(
            f"the augmentation made {len(result)} crops of {len(waves)}: give "
            "Augmenter concat_original: False, repeat_augment: 1, "
            "parallel_augment: False."
        )
    # SpeedPerturb shortens or lengthens: crops keep the length the batch has.
    missing = waves.shape[1] - result.shape[1]
    if missing > 0:
        result = torch.cat([result, result[:, :missing]], dim=1)
    return result[:, : waves.shape[1]]


def _prepared(csv_file, what):
    if Path(csv_file).exists():
        return True
    logger.warning(
        "There is no %s: training goes without. Give %s_folder to have it, or set "
        "%s_prob to 0 to be rid of this line.",
        csv_file,
        what,
        {"noise": "noise", "rir": "reverb"}[what],
    )
    return False


def _numbers(draws, waveforms, count):
    if draws is None:
        draws = torch.rand(len(waveforms), count)
    elif draws.shape != (len(waveforms), count):
        raise ValueError(
            f"draws of shape {tuple(draws.shape)} were given, "
            f"({len(waveforms)}, {count}) was expected: build the crops with "
            "num_draws of the whole augmentation."
        )
    return draws.numpy()


def _choice(uniform, count):
    """Turns numbers in [0, 1) into one of ``count``; float32 can round up to 1."""
    return np.minimum((uniform * count).astype(np.int64), count - 1)


def _power(waveforms):
    return waveforms.square().mean(dim=1, keepdim=True)
