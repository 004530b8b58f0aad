"""Kinds of rooms by weight, and one of several effects."""

import numpy as np
import pytest
import soundfile as sf
import torch

from speechbrain_dino.augment.channel import AddChannel
from speechbrain_dino.augment.crops import AddReverb, CropAugment, OneOf
from speechbrain_dino.corpora.noise_rir import prepare_noise_rir

RATE = 16000


@pytest.fixture(scope="module")
def rooms(tmp_path_factory):
    """CSV of two small, five real and three large rooms, each with an echo of its own.

    The echo of room n comes n + 1 samples after the direct sound.
    """
    folder = tmp_path_factory.mktemp("rooms")
    places = ["simulated_rirs/smallroom"] * 2 + ["real_rirs_isotropic_noises"] * 5
    places += ["simulated_rirs/largeroom"] * 3
    for number, place in enumerate(places):
        room = np.zeros(20)
        room[[0, number + 1]] = 0.9, 0.4
        wav = folder / "in" / place / f"rir{number:02d}.wav"
        wav.parent.mkdir(parents=True, exist_ok=True)
        sf.write(wav, room, RATE)
    prepare_noise_rir(folder, rir_folder=folder / "in", num_workers=1)
    return folder / "rir.csv"


def echoes(waves):
    """Delay of the echo of crops that were a single impulse."""
    return waves[:, 1:].abs().argmax(1) + 1


def test_kinds_of_rooms_are_taken_by_their_weights(rooms):
    reverb = AddReverb(rooms, prob=1.0, kinds={"smallroom": 1, "real": 3})
    waves = torch.zeros(4000, 100)
    waves[:, 0] = 1.0
    draws = torch.rand(4000, 2)
    draws[:, 1] = (torch.arange(4000) + 0.5) / 4000
    delays, counts = echoes(reverb(waves, draws=draws)).unique(return_counts=True)
    by_room = dict(zip(delays.tolist(), counts.tolist()))
    assert by_room == {1: 500, 2: 500, **dict.fromkeys(range(3, 8), 600)}


def test_kinds_that_are_missing_are_named(rooms, caplog):
    AddReverb(rooms, kinds={"smallroom": 1, "mediumroom": 1}).load()
    assert "has no room of kind mediumroom: rooms of kind smallroom" in caplog.text
    AddReverb(rooms, kinds={"cave": 1}).load()
    assert "has no room of kind cave: rooms of kind room are used" in caplog.text
    with pytest.raises(ValueError, match="weights must be positive"):
        AddReverb(rooms, kinds={"real": 0})


def test_one_of_applies_exactly_one_step_to_each_crop(rooms):
    steps = AddChannel(prob=1.0), AddReverb(rooms, prob=1.0)
    one = OneOf(*steps)
    assert one.num_draws == 1 + 4 + 2
    clean, draws = torch.randn(64, 4000), torch.rand(64, one.num_draws)
    result = one(clean, None, draws)
    filtered = steps[0](clean, draws=draws[:, 1:5])
    wet = steps[1](clean, draws=draws[:, 5:])
    expected = torch.where(draws[:, :1] < 0.5, filtered, wet)
    torch.testing.assert_close(result, expected)


def test_one_of_leaves_the_share_of_an_absent_step_to_the_others(tmp_path):
    reverb = AddReverb(tmp_path / "no.csv", prob=1.0)
    one = CropAugment(OneOf(AddChannel(prob=1.0), reverb))
    one.load()
    clean = torch.randn(32, 4000)
    assert (one(clean, None, torch.rand(32, one.num_draws)) != clean).any(1).all()
    nothing = OneOf(AddReverb(tmp_path / "no.csv", prob=1.0))
    assert torch.equal(nothing(clean, None, torch.rand(32, 3)), clean)
