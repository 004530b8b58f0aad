"""From uniform numbers to the choices of an augmentation, and what steps share."""

import logging
from pathlib import Path

import numpy as np
import torch

logger = logging.getLogger(__name__)


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
        "to be rid of this line.",
        csv_file,
        folder_key,
        prob_key,
    )
    return False
