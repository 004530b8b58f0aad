"""Random numbers as a function of position."""

import random

import numpy as np
import torch
from hypothesis import given, strategies as st

from speechbrain_dino.utils.randomness import (
    BANK,
    CROPS,
    ORDER,
    STEP,
    generator,
    seed_step,
)


@given(st.integers(0, 2**31), st.integers(0, 10**4), st.integers(0, 10**7))
def test_numbers_depend_on_the_position_alone(seed, epoch, item):
    first = generator(seed, CROPS, epoch, item).random(3)
    generator(seed, CROPS, epoch, item + 1).random(100)
    np.testing.assert_array_equal(generator(seed, CROPS, epoch, item).random(3), first)


def test_different_positions_have_different_streams():
    positions = [
        (seed, kind, epoch, item)
        for seed in (0, 1, 2)
        for kind in (ORDER, CROPS, STEP, BANK)
        for epoch in (1, 2, 3)
        for item in (1, 2, 3, 70000)
    ]
    drawn = {generator(*position).integers(2**62) for position in positions}
    assert len(drawn) == len(positions)


def test_first_numbers_over_items_are_uniform():
    drawn = np.array([generator(7, CROPS, 1, item).random() for item in range(4000)])
    counts = np.histogram(drawn, bins=10, range=(0, 1))[0]
    assert ((counts - 400) ** 2 / 400).sum() < 27.9  # chi square, 9 dof, p = 0.001


def _global_numbers():
    return random.random(), np.random.rand(), torch.rand(1).item()  # noqa: NPY002


def test_a_step_seeds_every_global_generator():
    seed_step(1, 10)
    first = _global_numbers()
    _global_numbers()
    seed_step(1, 10)
    assert _global_numbers() == first
    for other in ((2, 10), (1, 11), (1, 10, 1)):
        seed_step(*other)
        assert all(a != b for a, b in zip(_global_numbers(), first))
