"""Noise and rooms, drawn per crop."""

import logging
import re

import numpy as np
import pytest
import scipy.signal
import soundfile as sf
import torch
from speechbrain.augment.augmenter import Augmenter
from speechbrain.augment.time_domain import (
    AddNoise as TheirNoise,
    AddReverb as TheirReverb,
    DropChunk,
    DropFreq,
    SpeedPerturb,
)

from speechbrain_dino.augment.crops import AddNoise, AddReverb, CropAugment, augmented
from speechbrain_dino.corpora.noise_rir import prepare_noise_rir

RATE = 16000
TIME = 4000
RANGES = {"noise": (0, 18), "music": (3, 18), "speech": (5, 12)}


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    """Folder with noise.csv (three kinds) and rir.csv (four rooms)."""
    folder = tmp_path_factory.mktemp("sounds")
    rng = np.random.default_rng(0)
    for kind in RANGES:
        for number in range(3):
            wav = folder / "noises" / kind / f"{kind}{number}.wav"
            wav.parent.mkdir(parents=True, exist_ok=True)
            sf.write(wav, 0.05 * rng.standard_normal(RATE), RATE)
    for number in range(4):
        room = 0.1 * rng.standard_normal(1500) * np.exp(-np.arange(1500) / 300)
        room[: 10 * number] = 0
        room[10 * number] = 0.9
        wav = folder / "rooms" / f"room{number}.wav"
        wav.parent.mkdir(exist_ok=True)
        sf.write(wav, room, RATE)
    save = folder / "save"
    prepare_noise_rir(save, folder / "noises", folder / "rooms", num_workers=1)
    return save


def noise(sounds, **options):
    bank = {"piece_seconds": 0.5}
    return AddNoise(sounds / "noise.csv", **{"snr": RANGES, "bank": bank, **options})


def reverb(sounds, **options):
    return AddReverb(sounds / "rir.csv", **options)


def speech(rows=64, time=TIME):
    return 0.1 * torch.randn(rows, time)


def decibels(wave, other):
    return 10 * torch.log10(wave.square().mean(1) / other.square().mean(1))


# -- noise --------------------------------------------------------------------


def test_snr_is_the_one_drawn_from_the_range_of_the_kind(sounds):
    add, clean, draws = noise(sounds, prob=1.0), speech(), torch.rand(64, 18)
    snr = decibels(clean, add(clean, draws=draws) - clean)
    ranges = [RANGES[add.bank.kinds[int(x * 3)]] for x in draws[:, 1]]
    expected = [lo + x * (hi - lo) for (lo, hi), x in zip(ranges, draws[:, 2])]
    torch.testing.assert_close(snr, torch.stack(expected), atol=0.01, rtol=0)


def test_kinds_are_taken_by_their_weights(sounds):
    weights = {"noise": 1, "music": 2, "speech": 1}
    add = noise(sounds, prob=1.0, weights=weights)
    clean, draws = speech(4), torch.rand(4, 18)
    draws[:, 1] = torch.tensor([0.24, 0.26, 0.74, 0.76])
    draws[:, 2] = 0.0
    snr = decibels(clean, add(clean, draws=draws) - clean)
    expected = [RANGES[kind][0] for kind in ("noise", "music", "music", "speech")]
    torch.testing.assert_close(snr, torch.tensor(expected).float(), atol=0.01, rtol=0)
    with pytest.raises(ValueError, match=r"\['noise'\], snr for \['music'"):
        noise(sounds, weights={"noise": 1})


def test_padding_counts_for_nothing_and_stays(sounds):
    clean = speech(16)
    clean[:, 1000:] = 0
    lengths = torch.full((16,), 0.25)
    draws = torch.rand(16, 18)
    noisy = noise(sounds, prob=1.0)(clean, lengths, draws)
    assert (noisy[:, 1000:] == 0).all()
    snr = decibels(clean[:, :1000], (noisy - clean)[:, :1000])
    full = noise(sounds, prob=1.0)(speech(16), None, draws)
    assert full[:, 1000:].abs().min(1).values.max() > 0
    low = torch.tensor([RANGES[k][0] for k in RANGES]).min()
    assert ((snr >= low - 0.01) & (snr <= 18.01)).all()


def test_share_of_crops_with_noise(sounds):
    clean = speech(4000, 200)
    changed = (noise(sounds, prob=0.7)(clean) != clean).any(1).float().mean()
    assert changed.item() == pytest.approx(0.7, abs=4 * (0.21 / 4000) ** 0.5)


def test_kinds_are_equally_likely_and_noises_differ_between_crops(sounds):
    levels = {"noise": (0, 0), "music": (10, 10), "speech": (20, 20)}
    add = noise(sounds, prob=1.0, snr=levels)
    clean = speech(1500, 400)
    added = add(clean) - clean
    assert len({tuple(row[:5].tolist()) for row in added}) == 1500
    counts = torch.bincount((decibels(clean, added) / 10).round().int())
    np.testing.assert_allclose(counts, 500, atol=4 * (1500 * 2 / 9) ** 0.5)


def test_kinds_without_a_noise_are_left_out(sounds):
    add = noise(sounds, prob=1.0, snr={"wind": (0, 0), "music": (7, 7)})
    clean = speech(20)
    snr = decibels(clean, add(clean) - clean)
    torch.testing.assert_close(snr, torch.full((20,), 7.0), atol=0.01, rtol=0)


def test_silent_crop_stays_silent(sounds):
    silent = torch.zeros(8, TIME)
    assert torch.equal(noise(sounds, prob=1.0)(silent), silent)


@pytest.mark.parametrize("uniform, voices", [(0.0, 3), (0.5, 5), (0.999, 7)])
def test_babble_sums_voices_of_equal_loudness(sounds, uniform, voices):
    add, clean = noise(sounds, prob=1.0), speech(1)
    draws = torch.rand(1, 18)
    draws[0, :4] = torch.tensor([0.0, 0.99, 0.0, uniform])
    added = (add(clean, draws=draws) - clean)[0]
    assert add.bank.kinds[2] == "speech"
    bank, total = add.bank, np.zeros(TIME)
    for voice in range(voices):
        which, begin = draws[0, 4 + 2 * voice : 6 + 2 * voice].numpy()
        piece = bank.pieces[bank.first[2] + int(which * bank.count[2])].numpy() / 32768
        at = (int(begin * len(piece)) + np.arange(TIME)) % len(piece)
        total += piece[at] / np.sqrt(np.mean(piece[at] ** 2))
    total *= clean.square().mean().sqrt().item() / np.sqrt(np.mean(total**2))
    np.testing.assert_allclose(added, total * 10 ** (-5 / 20), atol=1e-5)


@pytest.mark.parametrize("babble", [(0, 3), (5, 4)])
def test_impossible_babble_is_refused(babble):
    with pytest.raises(ValueError, match="fewest and most voices"):
        AddNoise("noise.csv", babble=babble)


def test_more_voices_than_usual_have_draws_of_their_own(sounds):
    add = noise(sounds, prob=1.0, babble=(12, 12))
    assert add.num_draws == 4 + 2 * 12
    draws = torch.rand(2, 28)
    draws[:, 1] = 0.99
    draws[1, :27] = draws[0, :27]
    draws[1, 27] = (draws[0, 27] + 0.5) % 1
    first, second = add(speech(1).repeat(2, 1), draws=draws)
    assert not torch.allclose(first, second)


# -- rooms --------------------------------------------------------------------


def test_convolution_is_linear_with_the_direct_sound_in_place(sounds):
    add, clean = reverb(sounds, prob=1.0), speech(8)
    draws = torch.rand(8, 2)
    wet = add(clean, draws=draws)
    for row, (dry, uniform) in enumerate(zip(clean.numpy(), draws[:, 1])):
        number = int(uniform * 4)
        room = sf.read(sounds.parent / "rooms" / f"room{number}.wav")[0]
        expected = scipy.signal.fftconvolve(dry, room)
        direct = int(np.abs(room).argmax())
        expected = expected[direct : direct + TIME]
        expected *= np.sqrt(np.mean(dry**2) / np.mean(expected**2))
        np.testing.assert_allclose(wet[row], expected, atol=1e-4)


def test_nothing_wraps_round(sounds):
    click = torch.zeros(4, TIME)
    click[:, -1] = 1.0
    draws = torch.tensor([[0.0, x] for x in (0.1, 0.3, 0.6, 0.9)])
    wet = reverb(sounds, prob=1.0)(click, draws=draws)
    assert wet[:, : TIME - 40].abs().max() < 1e-4 * wet.abs().max()
    assert (wet.abs().argmax(1) == TIME - 1).all()


def test_power_is_kept(sounds):
    clean = speech()
    wet = reverb(sounds, prob=1.0)(clean)
    assert not torch.allclose(wet, clean)
    torch.testing.assert_close(wet.square().mean(1), clean.square().mean(1))


def test_power_of_the_speech_is_kept_in_a_padded_batch(sounds):
    clean = speech(8)
    clean[:, 1000:] = 0
    wet = reverb(sounds, prob=1.0)(clean, torch.full((8,), 0.25))
    torch.testing.assert_close(
        wet[:, :1000].square().mean(1), clean[:, :1000].square().mean(1)
    )


def test_each_crop_has_a_room_of_its_own_and_the_share_is_kept(sounds):
    click = torch.zeros(2000, 2000)
    click[:, 500] = 1.0
    wet = reverb(sounds, prob=0.45)(click)
    begins = wet[:, 480:520]
    apart = torch.cdist(begins, begins, compute_mode="donot_use_mm_for_euclid_dist")
    assert len((apart < 1e-3).unique(dim=0)) == 5
    changed = (wet != click).any(1).float().mean()
    assert changed.item() == pytest.approx(0.45, abs=4 * (0.2475 / 2000) ** 0.5)


# -- both ---------------------------------------------------------------------


def test_batch_composition_does_not_matter(sounds):
    both = CropAugment(reverb(sounds), None, noise(sounds))
    assert both.num_draws == 20
    clean, draws = speech(20), torch.rand(20, 20)
    together = both(clean, draws=draws)
    for row in range(20):
        alone = both(clean[row : row + 1], draws=draws[row : row + 1])
        torch.testing.assert_close(together[row], alone[0], atol=1e-5, rtol=1e-4)


def test_steps_take_their_own_draws_in_order(sounds):
    room, add = reverb(sounds), noise(sounds)
    clean, draws = speech(20), torch.rand(20, 20)
    expected = add(room(clean, draws=draws[:, :2]), draws=draws[:, 2:])
    assert torch.equal(CropAugment(room, add)(clean, draws=draws), expected)


def test_given_draws_fix_the_result_and_others_follow_torch(sounds):
    both, clean = CropAugment(reverb(sounds), noise(sounds)), speech(20)
    draws = torch.rand(20, 20)
    assert torch.equal(both(clean, draws=draws), both(clean, draws=draws))
    torch.manual_seed(1)
    first = both(clean)
    assert not torch.equal(both(clean), first)
    torch.manual_seed(1)
    assert torch.equal(both(clean), first)


def test_wrong_number_of_draws_is_named(sounds):
    with pytest.raises(ValueError, match=r"\(4, 5\) were given, \(4, 18\) was expec"):
        noise(sounds)(speech(4), draws=torch.rand(4, 5))


def test_input_is_left_as_it_was(sounds):
    clean = speech(8)
    copy = clean.clone()
    CropAugment(reverb(sounds, prob=1.0), noise(sounds, prob=1.0))(clean)
    assert torch.equal(clean, copy)


@pytest.mark.parametrize(
    "kind, remedy",
    [(AddNoise, "Give noise_folder .* noise_prob"), (AddReverb, "rir_folder .* reve")],
)
def test_without_a_file_a_warning_and_nothing_else(tmp_path, caplog, kind, remedy):
    step, clean = kind(tmp_path / "none.csv", prob=1.0), speech(4)
    with caplog.at_level(logging.WARNING):
        assert step(clean) is clean
        assert step(clean) is clean
    assert len(caplog.records) == 1
    assert caplog.records[0].getMessage().startswith(f"There is no {tmp_path}")
    assert re.search(remedy, caplog.text)


def test_switched_off_reads_nothing_and_logs_nothing(tmp_path, caplog):
    clean = speech(4)
    off = CropAugment(AddNoise(tmp_path / "none.csv", prob=0))
    off.load()
    assert off(clean) is clean
    assert not caplog.records


# -- together with SpeechBrain's ----------------------------------------------

ONE_TO_ONE = {"parallel_augment": False, "concat_original": False}


def test_ours_work_in_their_augmenter(sounds):
    steps = [
        SpeedPerturb(RATE, speeds=[90]),
        reverb(sounds, prob=1.0),
        noise(sounds, prob=1.0),
        DropFreq(),
        DropChunk(drop_length_low=10, drop_length_high=50),
    ]
    augment = Augmenter(
        **ONE_TO_ONE, min_augmentations=5, max_augmentations=5, augmentations=steps
    )
    clean = speech(6)
    result = augmented(augment, clean, torch.ones(6), torch.rand(6, 0))
    assert result.shape == clean.shape
    assert result.isfinite().all() and not torch.allclose(result, clean)


def test_theirs_take_the_place_of_ours(sounds):
    steps = [
        TheirReverb(str(sounds / "rir.csv")),
        TheirNoise(str(sounds / "noise.csv"), snr_low=10, snr_high=10, num_workers=0),
    ]
    augment = Augmenter(
        **ONE_TO_ONE, min_augmentations=2, max_augmentations=2, augmentations=steps
    )
    clean = speech(6)
    result = augmented(augment, clean, torch.ones(6), torch.rand(6, 0))
    assert result.shape == clean.shape
    assert result.isfinite().all() and not torch.allclose(result, clean)


@pytest.mark.parametrize("time", [300, 700, 1000, 2500])
def test_crops_keep_their_length(time):
    clean = torch.arange(1000.0).repeat(2, 1)

    def change_speed(waves, lengths):
        return waves.repeat(1, 3)[:, :time], lengths

    result = augmented(change_speed, clean, torch.ones(2), None)
    kept = np.resize(np.arange(3000) % 1000, 3000)[:time]
    np.testing.assert_array_equal(result[1], np.resize(kept, 1000))


def test_more_crops_than_given_are_refused():
    with pytest.raises(ValueError, match="made 4 crops of 2: give Augmenter concat"):
        augmented(
            lambda waves, lengths: waves.repeat(2, 1), torch.ones(2, 3), None, None
        )


def test_an_augmentation_without_lengths_may_stand_alone():
    class Flip(torch.nn.Module):
        def forward(self, waveforms):
            return -waveforms

    waves = torch.randn(2, 100)
    assert torch.equal(augmented(Flip(), waves, torch.ones(2), None), -waves)
