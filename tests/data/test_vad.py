"""The energy VAD against a slow version of Kaldi's."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from speechbrain_dino.data.vad import energy_vad, log_energies


def slow_vad(samples, rate):
    """Kaldi's decision per frame, by its formula, one frame after the other."""
    frame, hop = rate * 25 // 1000, rate // 100
    energies = []
    for start in range(0, len(samples) - frame + 1, hop):
        window = samples[start : start + frame].astype(np.float64)
        window -= window.mean()
        energies.append(np.log(max(window @ window, np.finfo(np.float32).eps)))
    threshold = 5.5 + 0.5 * np.mean(energies)
    decisions = []
    for t in range(len(energies)):
        around = energies[max(t - 2, 0) : t + 3]
        decisions.append(sum(e > threshold for e in around) >= 0.12 * len(around))
    return np.array(energies), np.array(decisions)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000), st.sampled_from([8000, 16000]), st.integers(400, 30_000))
def test_agrees_with_the_slow_version(seed, rate, length):
    rng = np.random.default_rng(seed)
    level = np.repeat(10 ** rng.uniform(-0.5, 4, length // 800 + 1), 800)[:length]
    samples = (rng.standard_normal(length) * level).clip(-32768, 32767).astype(np.int16)
    energies, decisions = slow_vad(samples, rate)
    assert np.allclose(log_energies(samples, rate), energies)
    runs = energy_vad(samples, rate)
    hop, lead = rate // 100, rate * 15 // 2000
    middle = np.arange(len(decisions)) * hop + lead + hop // 2
    inside = ((runs[:, :1] <= middle) & (middle < runs[:, 1:])).any(axis=0)
    assert np.array_equal(inside, decisions)
    assert ((np.diff(runs) > 0).all()) and (runs[1:, 0] > runs[:-1, 1]).all()
    assert len(runs) == 0 or (runs.min() >= 0 and runs.max() <= length)


def test_everything_of_a_steady_signal_and_nothing_of_silence():
    rng = np.random.default_rng(0)
    loud = (3000 * rng.standard_normal(16007)).astype(np.int16)
    assert energy_vad(loud).tolist() == [[0, 16007]]
    assert energy_vad(np.zeros(16000, dtype=np.int16)).shape == (0, 2)


@pytest.mark.parametrize("length", [0, 1, 399])
def test_too_short_for_a_frame(length):
    assert energy_vad(np.ones(length, dtype=np.int16)).shape == (0, 2)


def test_full_scale_does_not_overflow():
    samples = np.tile(np.array([32767, -32768], dtype=np.int16), 400)
    expected = np.log(400 * 32767.5**2)
    assert np.allclose(log_energies(samples), expected, rtol=1e-9)
