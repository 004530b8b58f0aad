"""What augmentations share: which crops, from which uniform numbers, and the power."""

import logging
from pathlib import Path

import numpy as np
import torch

logger = logging.getLogger(__name__)


class RandomEffect(torch.nn.Module):
    """Base class: an effect on each crop of a batch, with a probability of its own.

    A subclass gives ``effect``, and ``num_draws``: the uniform numbers of a crop, of
    which the first decides whether it is changed.

    Arguments
    ---------
    prob : float
        Share of crops that are changed.
    """

    num_draws = 1

    def __init__(self, prob):
        super().__init__()
        self.prob = prob

    def load(self):
        """Reads what the effect needs from the disk, before training."""

    def effect(self, waveforms, draws, mask):
        """Changes crops.

        Arguments
        ---------
        waveforms : torch.Tensor
            The crops that are to be changed, ``(rows, time)``.
        draws : np.ndarray
            Their uniform numbers, float32 ``(rows, num_draws)``.
        mask : torch.Tensor or None
            See :func:`length_mask`.

        Returns
        -------
        torch.Tensor
            Same shape as ``waveforms``.
        """
        raise NotImplementedError

    def forward(self, waveforms, lengths=None, draws=None):
        """Applies the effect to some crops of a batch.

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
            Same shape; the other crops are as they were.
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
    """The uniform numbers of a batch: those given, else from torch's generator.

    Arguments
    ---------
    draws : torch.Tensor or None
        Numbers in [0, 1), ``(batch, count)`` on the CPU.
    waveforms : torch.Tensor
        Speech ``(batch, time)``.
    count : int
        Numbers that each crop needs.

    Returns
    -------
    np.ndarray
        float32 ``(batch, count)``.

    Raises
    ------
    ValueError
        If ``draws`` has another shape.

    Example
    -------
    >>> uniform_numbers(None, torch.zeros(3, 16000), 2).shape
    (3, 2)
    """
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
    """Turns numbers in [0, 1) into one of ``count``.

    Arguments
    ---------
    uniform : np.ndarray
        float32 numbers in [0, 1).
    count : int or np.ndarray
        Number of choices, broadcast against ``uniform``.

    Returns
    -------
    np.ndarray
        int64 in [0, count).

    Example
    -------
    >>> choose(np.array([0.0, 0.5, 0.99]), 3)
    array([0, 1, 2])
    """
    # A float32 product can round up to count itself.
    return np.minimum((uniform * count).astype(np.int64), count - 1)


def on_device(array, device):
    """Copies a NumPy array to a device, without waiting for what the device does."""
    return torch.from_numpy(array).to(device, non_blocking=True)


def length_mask(waveforms, lengths):
    """1 where a batch holds speech, 0 in its padding.

    Arguments
    ---------
    waveforms : torch.Tensor
        Speech ``(batch, time)``.
    lengths : torch.Tensor or None
        Relative lengths ``(batch,)``; None: no padding.

    Returns
    -------
    torch.Tensor or None
        float32 ``(batch, time)``; None without lengths.

    Example
    -------
    >>> length_mask(torch.ones(2, 4), torch.tensor([1.0, 0.5])).tolist()
    [[1.0, 1.0, 1.0, 1.0], [1.0, 1.0, 0.0, 0.0]]
    """
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
    """Whether the CSV of an augmentation is there; warns how to have it if not.

    Arguments
    ---------
    csv_file : str
        Noises or impulse responses.
    folder_key : str
        Key of the YAML that names their folder.
    prob_key : str
        Key of the YAML that switches the augmentation off.

    Returns
    -------
    bool
    """
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
