"""Schedules against the arrays of the original DINO code."""

from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st

from speechbrain_dino.training.schedules import (
    by_epoch,
    constant,
    cosine,
    in_turn,
    linear_ramp,
    steps,
    warmup_cosine,
    warmup_exponential,
)


def original(base, final, epochs, steps_an_epoch, warmup_epochs=0):
    """The original's array of one value a step.

    Its warm-up reaches the peak one step early and stays there for two steps; here
    the line ends with the warm-up (``endpoint=False``).
    """
    warmup_steps = warmup_epochs * steps_an_epoch
    warmup = np.linspace(0, base, warmup_steps, endpoint=False)
    steps = np.arange(epochs * steps_an_epoch - warmup_steps)
    half_cosine = 1 + np.cos(np.pi * steps / len(steps))
    return np.concatenate([warmup, final + 0.5 * (base - final) * half_cosine])


@pytest.mark.parametrize("warmup", [0, 1, 10])
@pytest.mark.parametrize("count", [1, 7, 100])
def test_learning_rate_of_each_step_is_the_originals(warmup, count):
    expected = original(0.0025, 1e-6, 20, count, warmup)
    values = [
        warmup_cosine(step / count, 0.0025, 1e-6, warmup, 20)
        for step in range(20 * count)
    ]
    np.testing.assert_allclose(values, expected, rtol=1e-9, atol=1e-15)


def test_teacher_momentum_of_each_step_is_the_originals():
    expected = original(0.996, 1.0, 70, 13)
    values = [cosine(step / 13, 0.996, 1.0, 70) for step in range(70 * 13)]
    np.testing.assert_allclose(values, expected, rtol=1e-12)


def test_steps_are_those_of_torchs_step_lr():
    sgd = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.2)
    torchs = torch.optim.lr_scheduler.StepLR(sgd, step_size=5, gamma=0.95)
    for epoch in range(30):
        for t in (epoch, epoch + 0.5, epoch + 0.999):
            assert steps(t, 0.2, 0.95, 5) == pytest.approx(torchs.get_last_lr()[0])
        sgd.step(), torchs.step()


def test_exponential_is_a_straight_line_in_logarithms_after_the_warm_up():
    t = np.linspace(0, 150, 301)
    values = [warmup_exponential(x, 0.8, 4e-4, 6, 150) for x in t]
    line = np.exp(np.interp(t, [0, 150], np.log([0.8, 4e-4])))
    np.testing.assert_allclose(values, line * np.minimum(t / 6, 1), rtol=1e-9)
    assert warmup_exponential(0, 0.8, 4e-4, 0, 150) == 0.8
    assert warmup_exponential(151, 0.8, 4e-4, 0, 150) == 4e-4


def test_by_epoch_is_numpys_linspace():
    ramp = partial(linear_ramp, start=0.05, end=0.2, ramp=9)
    values = [by_epoch(t, ramp) for t in np.arange(0, 14, 0.5)]
    expected = np.append(np.linspace(0.05, 0.2, 10), [0.2] * 4)
    np.testing.assert_allclose(values, expected.repeat(2))


def test_ramp_is_numpys_interpolation():
    t = np.linspace(0, 50, 101)
    values = [linear_ramp(x, 0.04, 0.07, 30) for x in t]
    np.testing.assert_allclose(values, np.interp(t, [0, 30], [0.04, 0.07]))
    assert linear_ramp(0, 0.04, 0.07, 0) == 0.07


def test_after_the_end_the_last_value_stays():
    for t in (20, 20.01, 1e9):
        assert warmup_cosine(t, 1.0, 0.1, 5, 20) == 0.1
        assert cosine(t, 1.0, 0.1, 20) == 0.1
        assert constant(t, 0.1) == 0.1
    assert warmup_cosine(5, 1.0, 0.1, 5, 5) == 0.1


@given(
    t=st.floats(0, 100),
    peak=st.floats(1e-6, 10),
    final=st.floats(0, 10),
    warmup=st.floats(0, 20),
    rest=st.floats(0, 50),
)
def test_no_value_leaves_its_bounds(t, peak, final, warmup, rest):
    value = warmup_cosine(t, peak, final, warmup, warmup + rest)
    assert -1e-12 <= value <= max(peak, final) * (1 + 1e-12)


@pytest.mark.parametrize("warmup", [-1, 21])
def test_warmup_longer_than_the_run_is_named(warmup):
    with pytest.raises(ValueError, match="warmup"):
        warmup_cosine(0, 1.0, 0.0, warmup, 20)


def test_schedules_in_turn_start_at_their_own_zero():
    calls = []

    def first(t):
        calls.append(("first", t))
        return 1.0

    def second(t):
        calls.append(("second", t))
        return 2.0

    values = [in_turn(t, [2, 0, 3], [first, 9.0, second]) for t in (-1, 0, 1.5, 2, 7)]
    assert values == [1.0, 1.0, 1.0, 2.0, 2.0]
    assert calls[-2:] == [("second", 0), ("second", 5)]
    with pytest.raises(ValueError, match="each schedule needs a length"):
        in_turn(0, [1], [first, second])
    with pytest.raises(ValueError, match="above 0"):
        in_turn(0, [0], [first])
