"""Noises and rooms in memory."""

import numpy as np
import pandas as pd
import pytest
import soundfile as sf
import torch

from speechbrain_dino.augment.banks import NoiseBank, RoomBank

RATE = 16000
CPU = torch.device("cpu")


def csv_of(folder, sounds, rate=RATE, **columns):
    """Writes sounds (name -> samples) and the CSV that names them."""
    rows = []
    for name, samples in sounds.items():
        wav = folder / f"{name}.wav"
        subtype = "FLOAT" if np.asarray(samples).dtype.kind == "f" else "PCM_16"
        sf.write(wav, samples, rate, subtype=subtype)
        rows.append({"ID": name, "duration": len(samples) / rate, "wav": str(wav)})
    path = folder / "sounds.csv"
    pd.DataFrame(rows).assign(**columns).to_csv(path, index=False)
    return path


def ramp(begin, count):
    return np.arange(begin, begin + count, dtype=np.int16)


# -- noise --------------------------------------------------------------------


def test_files_become_short_pieces(tmp_path):
    sounds = {"long": ramp(0, 1700), "short": ramp(5000, 300), "even": ramp(9000, 1000)}
    bank = NoiseBank(csv_of(tmp_path, sounds), piece_seconds=500 / RATE)
    assert bank.pieces.dtype == torch.int16
    expected = [ramp(0, 500), ramp(500, 500), ramp(1000, 500)]
    expected += [np.resize(ramp(5000, 300), 500), ramp(9000, 500), ramp(9500, 500)]
    np.testing.assert_array_equal(bank.pieces.numpy(), np.stack(expected))


def test_kinds_lie_side_by_side_whatever_the_order_of_the_file(tmp_path):
    sounds = {name: ramp(1000 * n, 1000) for n, name in enumerate("abcde")}
    kinds = ["speech", "noise", "rain", "speech", "noise"]
    path = csv_of(tmp_path, sounds, kind=kinds)
    bank = NoiseBank(path, ("noise", "music", "speech"), piece_seconds=500 / RATE)
    assert bank.kinds == ["noise", "speech"]
    assert (bank.first.tolist(), bank.count.tolist()) == ([0, 4], [4, 4])
    begins = bank.pieces[:, 0].tolist()
    assert begins == [1000, 1500, 4000, 4500, 0, 500, 3000, 3500]


def test_without_kinds_all_is_noise(tmp_path):
    bank = NoiseBank(csv_of(tmp_path, {"a": ramp(0, 999)}), piece_seconds=500 / RATE)
    assert (bank.kinds, len(bank)) == (["noise"], 1)


def test_a_bound_keeps_kinds_balanced(tmp_path):
    sounds = {"much": ramp(0, 20000), "little": ramp(0, 2000), "some": ramp(0, 9000)}
    path = csv_of(tmp_path, sounds, kind=["music", "noise", "speech"])
    options = {"piece_seconds": 100 / RATE, "max_hours": 120 * 100 / RATE / 3600}
    bank = NoiseBank(path, ("noise", "music", "speech"), **options)
    assert dict(zip(bank.kinds, bank.count)) == {"noise": 20, "music": 50, "speech": 50}
    begins = [bank.pieces[f : f + c, 0] for f, c in zip(bank.first, bank.count)]
    assert all(len(set(part.tolist())) == len(part) for part in begins)
    again = NoiseBank(path, ("noise", "music", "speech"), **options)
    assert torch.equal(bank.pieces, again.pieces)
    other = NoiseBank(path, ("noise", "music", "speech"), **options, seed=1)
    assert not torch.equal(bank.pieces, other.pieces)


def test_log_says_what_share_of_the_noise_is_held(tmp_path, caplog):
    sounds = {"much": ramp(0, 20000), "some": ramp(0, 2000)}
    path = csv_of(tmp_path, sounds, kind=["music", "noise"])
    hour = RATE * 3600
    with caplog.at_level("INFO"):
        NoiseBank(path, piece_seconds=100 / RATE, max_hours=8000 / hour)
    held = [f"{samples / hour:.3g}" for samples in (8000, 22000, 2000, 6000, 20000)]
    assert caplog.messages == [
        f"{held[0]} of {held[1]} hours of noise are held to augment with, 36%: "
        f"noise {held[2]} of {held[2]}, music {held[3]} of {held[4]}"
    ]


@pytest.mark.parametrize("gpu, hours", [(True, 20), (False, 5)])
def test_hours_held_by_default(tmp_path, monkeypatch, gpu, hours):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    path = csv_of(tmp_path, {"a": ramp(0, 30000)})
    asked = []
    monkeypatch.setattr(
        "speechbrain_dino.augment.banks._evenly",
        lambda spans, most, rng: asked.append(most) or spans,
    )
    NoiseBank(path, piece_seconds=1000 / RATE)
    assert asked == [hours * 3600 * RATE / 1000]


def test_rooms_of_the_kinds_asked_for_in_even_numbers(tmp_path):
    rooms = {f"{kind}{n}": 0.5 for kind in "abc" for n in range({"b": 2}.get(kind, 9))}
    sounds = {name: np.float32([level, 0, 0]) for name, level in rooms.items()}
    path = csv_of(tmp_path, sounds, kind=[name[0] for name in sounds])
    bank = RoomBank(path, kinds=["c", "b"], max_rooms=7)
    assert (bank.kinds, bank.count.tolist()) == (["c", "b"], [5, 2])
    assert bank.first.tolist() == [0, 5]
    everything = RoomBank(path, kinds=["none"])
    assert (everything.kinds, len(everything)) == (["room"], len(sounds))


def test_smallest_bank_has_one_piece_of_each_kind(tmp_path):
    sounds = {"a": ramp(0, 1000), "b": ramp(0, 1000)}
    path = csv_of(tmp_path, sounds, kind=["noise", "music"])
    bank = NoiseBank(path, piece_seconds=100 / RATE, max_hours=0)
    assert bank.count.tolist() == [1, 1]


def test_cut_wraps_and_adds_voices(tmp_path):
    bank = NoiseBank(csv_of(tmp_path, {"a": ramp(1, 800)}), piece_seconds=400 / RATE)
    pieces, begins = np.array([[1, 0], [0, 1]]), np.array([[0.5, 0.0], [0.9, 0.1]])
    use = np.array([[True, True], [False, True]])
    noise = bank.cut(pieces, begins, use, 600, CPU).numpy()
    expected = np.zeros((2, 600))
    for row in range(2):
        for voice in np.flatnonzero(use[row]):
            at = (int(begins[row, voice] * 400) + np.arange(600)) % 400
            voice_samples = 1.0 + 400 * pieces[row, voice] + at
            expected[row] += voice_samples / np.sqrt(np.mean(voice_samples**2))
    np.testing.assert_allclose(noise, expected, rtol=1e-4)


def test_silent_piece_is_silence_not_nan(tmp_path):
    path = csv_of(tmp_path, {"a": np.zeros(500, dtype=np.int16)})
    bank = NoiseBank(path, piece_seconds=500 / RATE)
    one = np.zeros((1, 1))
    assert not bank.cut(one.astype(int), one, one == 0, 500, CPU).any()


def test_pieces_are_no_part_of_checkpoints(tmp_path):
    bank = NoiseBank(csv_of(tmp_path, {"a": ramp(0, 999)}), piece_seconds=500 / RATE)
    assert bank.state_dict() == {}


@pytest.mark.parametrize("bank", [NoiseBank, RoomBank])
def test_wrong_rate_is_named(tmp_path, bank):
    path = csv_of(tmp_path, {"a": ramp(1, 800)}, rate=8000)
    with pytest.raises(ValueError, match=r"a\.wav has 8000 Hz, 16000 Hz was expected"):
        bank(path)


def test_missing_kinds_are_named(tmp_path):
    path = csv_of(tmp_path, {"a": ramp(1, 800)}, kind=["rain"])
    with pytest.raises(ValueError, match=r"no noise of the kinds \('noise',\)"):
        NoiseBank(path, kinds=("noise",))


@pytest.mark.parametrize("bank", [NoiseBank, RoomBank])
def test_an_empty_list_is_named(tmp_path, bank):
    (tmp_path / "sounds.csv").write_text("ID,duration,wav\n", encoding="utf-8")
    with pytest.raises(ValueError, match="names no file: check noise_folder"):
        bank(tmp_path / "sounds.csv")


# -- rooms --------------------------------------------------------------------


def room(direct, length, peak=1.0):
    response = 0.01 * np.random.default_rng(length).standard_normal(length)
    response[direct] = peak
    return response.astype(np.float32)


def test_rooms_are_cut_and_have_energy_one(tmp_path):
    sounds = {"short": room(3, 200), "long": room(100, 9000)}
    bank = RoomBank(csv_of(tmp_path, sounds), max_seconds=0.1)
    assert bank.direct.tolist() == [3, 100]
    assert bank.responses.shape == (2, 100 + 1600)
    for row, (name, kept) in enumerate((("short", 200), ("long", 1700))):
        expected = np.zeros(1700)
        expected[:kept] = sounds[name][:kept]
        expected /= np.sqrt((expected**2).sum())
        np.testing.assert_allclose(bank.responses[row], expected, atol=1e-6)


def test_loud_and_faint_responses_are_not_rounded_or_clipped(tmp_path):
    sounds = {"loud": 5 * room(10, 500), "faint": 1e-4 * room(10, 500)}
    bank = RoomBank(csv_of(tmp_path, sounds))
    torch.testing.assert_close(bank.responses[0], bank.responses[1])


def test_what_comes_long_before_the_direct_sound_is_cut(tmp_path):
    bank = RoomBank(csv_of(tmp_path, {"late": room(5000, 6000)}))
    assert bank.direct.tolist() == [800]
    assert bank.responses.shape == (1, 1800)
    assert bank.responses[0].argmax() == 800


def test_of_several_microphones_the_first_is_taken(tmp_path):
    one = room(3, 100)
    bank = RoomBank(csv_of(tmp_path, {"array": np.stack([one, -one], axis=1)}))
    np.testing.assert_allclose(bank.responses[0], one / np.sqrt((one**2).sum()), 1e-5)


def test_a_bound_keeps_some_rooms(tmp_path):
    path = csv_of(tmp_path, {str(n): room(n, 100) for n in range(20)})
    bank = RoomBank(path, max_rooms=5)
    assert len(bank) == 5
    assert len(set(bank.direct.tolist())) == 5
    assert torch.equal(bank.responses, RoomBank(path, max_rooms=5).responses)


def test_silent_response_is_named(tmp_path):
    path = csv_of(tmp_path, {"none": np.zeros(100, dtype=np.float32)})
    with pytest.raises(ValueError, match=r"none\.wav is silent"):
        RoomBank(path)


@pytest.mark.parametrize("length", [1, 700, 1000, 1001, 5300])
def test_stretches_wrap_at_the_end_of_a_piece(length):
    bank = NoiseBank.__new__(NoiseBank)
    torch.nn.Module.__init__(bank)
    bank.samples = 1000
    bank.pieces = torch.randint(-9000, 9000, (4, 1000), dtype=torch.int16)
    pieces, begins = np.array([3, 0, 3, 1]), np.array([0, 999, 400, 500])
    stretches = bank._stretches(pieces, begins, length)
    assert stretches.dtype == torch.float32
    for row, piece, begin in zip(stretches, pieces, begins):
        expected = np.take(
            bank.pieces[piece].numpy(), begin + np.arange(length), mode="wrap"
        )
        assert row.tolist() == expected.tolist()
