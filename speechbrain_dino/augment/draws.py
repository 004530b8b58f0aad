"""What augmentations share: which crops, from which uniform numbers, and the power."""

import logging
from pathlib import Path

import numpy as np
import torch

logger = logging.getLogger(__name__)


class RandomEffect(torch.nn.Module):
    """Base class: an effect on each crop, with a probability of its own (``prob``).

    A subclass gives ``effect``, and ``num_draws``: the uniform numbers per crop, of
    which the first decides whether it is changed.
    """

    num_draws = 1

    def __init__(self, prob):
        super().__init__()
        self.prob = prob

    def load(self):
        """Reads what the effect needs from the disk, before training."""

    def effect(self, waveforms, draws, mask):
        """Changes crops ``(rows, time)`` by draws ``(rows, num_draws)`` and mask."""
        raise NotImplementedError

    def forward(self, waveforms, lengths=None, draws=None):
        """Applies the effect to a share ``prob`` of the crops ``(batch, time)``.

        Padding beyond the relative ``lengths`` ``(batch,)`` counts for no power;
        ``draws`` ``(batch, num_draws)`` lie on the CPU, None: from torch's generator.
        """
        self.load()
        draws = uniform_numbers(draws, waveforms, self.num_draws)
        rows = np.flatnonzero(draws[:, 0] < self.prob)
        if len(rows) == 0:
            return waveforms
        chosen = on_device(rows, waveforms.device)
        speech = waveforms[chosen]
        mask = None
        if lengths is not None:
            mask = length_mask(speech, lengths.to(waveforms.device)[chosen])
        changed = self.effect(speech, draws[rows], mask)
        return waveforms.index_copy(0, chosen, changed)


def uniform_numbers(draws, waveforms, count):
    """The draws, else torch's, float32 ``(batch, count)``; ValueError if not so."""
    if draws is None:
        draws = torch.rand(len(waveforms), count)
    elif draws.shape != (len(waveforms), count):
        raise ValueError(
            f"draws of shape {tuple(draws.shape)} were given, "
            f"({len(waveforms)}, {count}) was expected: build the crops with "
            "num_draws of the whole augmentation."
        )
    return draws.numpy()


def choose(uniform, count):
    """Turns numbers in [0, 1) into int64 in [0, count), broadcast together."""
    # A float32 product can round up to count itself.
    return np.minimum((uniform * count).astype(np.int64), count - 1)


def choose_weighted(uniform, weights):
    """Which of ``weights`` numbers in [0, 1) fall to; and what is left of each of them.

    Of (N,): int64 (N,), and float (N,), uniform in [0, 1) again and independent of the
    choice.

    Example
    -------
    >>> which, left = choose_weighted(np.array([0.1, 0.5, 0.875]), [3, 1])
    >>> which.tolist(), left.round(3).tolist()
    ([0, 0, 1], [0.133, 0.667, 0.5])
    """
    ends = np.cumsum(weights) / np.sum(weights)
    which = np.minimum(np.searchsorted(ends, uniform, side="right"), len(ends) - 1)
    begins = np.concatenate([[0.0], ends[:-1]])
    return which, (uniform - begins[which]) / (ends - begins)[which]


def on_device(array, device):
    """Copies a NumPy array to a device, without waiting for what the device does."""
    return torch.from_numpy(array).to(device, non_blocking=True)


def length_mask(waveforms, lengths):
    """1 in speech, 0 in padding, float32 ``(batch, time)``; None without lengths."""
    if lengths is None:
        return None
    time = waveforms.shape[1]
    ends = (lengths.to(waveforms.device) * time).round()
    return (torch.arange(time, device=waveforms.device) < ends[:, None]).float()


def power(waveforms, mask=None):
    """Mean square of each waveform, ``(batch, 1)``; of its speech, given a mask."""
    if mask is None:
        return waveforms.square().mean(dim=1, keepdim=True)
    total = (waveforms * mask).square().sum(dim=1, keepdim=True)
    return total / mask.sum(dim=1, keepdim=True).clamp(min=1)


def gain_to(others, waveforms, mask=None):
    """Factors ``(batch, 1)`` that give waveforms the power of others."""
    return (power(others, mask) / power(waveforms, mask).clamp(min=1e-12)).sqrt()


def prepared(csv_file, folder_key, prob_key):
    """Whether an augmentation's CSV exists; if not, warns which YAML keys to set."""
    if Path(csv_file).exists():
        return True
    logger.warning(
        "There is no %s: training goes without. Give %s to have it, or set %s to 0 "
        "to silence this warning.",
        csv_file,
        folder_key,
        prob_key,
    )
    return False
