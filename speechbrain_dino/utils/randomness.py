"""Random numbers as a function of (seed, epoch or step, item), never of history.

They can be recomputed for any step on any number of workers: resuming is exact.
"""

import random

import numpy as np
import torch

ORDER, CROPS, STEP, BANK = range(4)


def generator(seed, *position):
    """NumPy generator of a position in the training, such as ``(CROPS, epoch, item)``.

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
    """Seeds the global generators for one training step of one process.

    What draws from them (dropout, SpeechBrain's own augmentations) then depends on
    the step alone: a resumed run repeats an uninterrupted one.
    """
    value = int(generator(seed, STEP, step, rank).integers(2**32))
    random.seed(value)
    np.random.seed(value)  # noqa: NPY002
    torch.manual_seed(value)
