"""Speeds that make classes."""

import math

import pytest
import torch

from speechbrain_dino.augment.speeds import SpeedClasses

RATE = 16000


def test_a_tone_moves_by_the_speed():
    speeds = SpeedClasses([1.0, 0.9, 1.1])
    length = round(1.1 * RATE)
    time = torch.arange(length) / RATE
    waves = torch.sin(2 * math.pi * 1000 * time).repeat(6, 1)
    draws = torch.tensor([0.0, 0.34, 0.67, 0.33, 0.66, 0.999])
    played, which = speeds(waves, draws)
    assert played.shape == (6, RATE) and which.tolist() == [0, 1, 2, 0, 1, 2]
    peaks = torch.fft.rfft(played).abs().argmax(1).tolist()
    expected = [1000 * [1.0, 0.9, 1.1][k] for k in which.tolist()]
    assert peaks == pytest.approx(expected, abs=1.5)
    # At the speed of the labels nothing is changed.
    torch.testing.assert_close(played[0], waves[0, :RATE], rtol=0, atol=0)


@pytest.mark.parametrize("speeds", [[], [1.0, 1.0], [1.0, 0.0], [1.0, 1.01]])
def test_what_makes_no_sense_is_refused(speeds):
    with pytest.raises(ValueError, match="differ by"):
        SpeedClasses(speeds)


def test_mixed_precision_does_not_touch_the_samples():
    waves, draws = torch.randn(3, 1100), torch.tensor([0.1, 0.5, 0.9])
    expected, _ = SpeedClasses()(waves, draws)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        played, _ = SpeedClasses()(waves, draws)
    torch.testing.assert_close(played, expected, rtol=0, atol=0)


def test_speeds_of_one_class():
    labels, which = torch.tensor([3, 1]), torch.tensor([2, 0])
    assert SpeedClasses(new_classes=False).labels(labels, which, 5).tolist() == [3, 1]
    assert SpeedClasses().labels(labels, which, 15).tolist() == [13, 1]
