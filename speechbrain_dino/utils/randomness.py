"""Random numbers as a function of (seed, epoch or step, item), never of history.

Crops, noise, rooms and order can be computed again for any step, on any number of
workers and processes, which makes resuming exact.
"""

import random

import numpy as np
import torch

ORDER, CROPS, STEP, BANK = range(4)


def generator(seed, *position):
    """Makes the generator that belongs to a position in the training.

    Arguments
    ---------
    seed : int
        Seed of the run.
    *position : int
        What the numbers are for, for instance ``(CROPS, epoch, item)``.

    Returns
    -------
    np.random.Generator
        Always the same for the same arguments.

    Example
    -------
    >>> drawn = [generator(1, CROPS, 0, 7).integers(100) for _ in range(2)]
    >>> drawn[0] == drawn[1]
    np.True_
    """
    # Philox is counter based: the position selects a stream without drawing from it.
    key = np.random.SeedSequence((seed, *position)).generate_state(2, np.uint64)
    return np.random.Generator(np.random.Philox(key=key))


def seed_step(seed, step, rank=0):
    """Seeds the global generators for one training step.

    What draws from them (dropout, SpeechBrain's own augmentations) then depends on
    the step alone, so that a resumed run repeats an uninterrupted one.

    Arguments
    ---------
    seed : int
        Seed of the run.
    step : int
        Number of batches seen since the start of the run.
    rank : int
        Process number; every process draws its own numbers.
    """
    value = int(generator(seed, STEP, step, rank).integers(2**32))
    random.seed(value)
    np.random.seed(value)  # noqa: NPY002
    torch.manual_seed(value)
