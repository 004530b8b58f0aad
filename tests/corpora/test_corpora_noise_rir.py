"""MUSAN, RIRS_NOISES and other folders, as SpeechBrain's augmentations read them."""

import csv

import numpy as np
import pytest
import soundfile as sf
import torch
from audio_files import noise, tree, write
from speechbrain.augment.time_domain import AddNoise, AddReverb

from speechbrain_dino.corpora.noise_rir import prepare_noise_rir


def rows(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_musan(tmp_path):
    musan = tree(
        tmp_path / "musan",
        [
            "music/fma/music-fma-0000.wav",
            "noise/free-sound/noise-free-sound-0000.wav",
            "noise/sound-bible/noise-sound-bible-0000.wav",
            "speech/librivox/speech-librivox-0000.wav",
        ],
    )
    (musan / "noise" / "free-sound" / "README").write_text("text", encoding="utf-8")
    write(musan / "noise" / "free-sound" / "short.wav", 0.1)
    summary = prepare_noise_rir(tmp_path / "save", noise_folder=musan)
    table = rows(tmp_path / "save" / "noise.csv")
    assert list(table[0]) == [
        "ID",
        "duration",
        "wav",
        "wav_format",
        "wav_opts",
        "kind",
        "kind_format",
        "kind_opts",
    ]
    assert [row["kind"] for row in table] == ["music", "noise", "noise", "speech"]
    assert {row["duration"] for row in table} == {"1.0"}
    assert summary["noise"]["kept"] == 4
    assert summary["noise"]["left_out"]["too_short"]["count"] == 1
    assert not (tmp_path / "save" / "rir.csv").exists()
    prepare_noise_rir(tmp_path / "save", noise_folder=musan, exclude=["speech/*"])
    table = rows(tmp_path / "save" / "noise.csv")
    assert [row["kind"] for row in table] == ["music", "noise", "noise"]
    alone = prepare_noise_rir(tmp_path / "one", noise_folder=musan / "music")
    assert alone["noise"]["kept"] == 1
    assert rows(tmp_path / "one" / "noise.csv")[0]["kind"] == "music"


def test_folders_above_the_one_given_do_not_set_the_kind(tmp_path):
    folder = tree(tmp_path / "speech" / "backgrounds", ["street.wav"])
    prepare_noise_rir(tmp_path / "save", noise_folder=folder)
    assert rows(tmp_path / "save" / "noise.csv")[0]["kind"] == "noise"


def test_rirs_noises(tmp_path):
    folder = tree(
        tmp_path / "RIRS_NOISES",
        [
            "pointsource_noises/noise-free-sound-0001.wav",
            "real_rirs_isotropic_noises/RVB2014_type1_noise_largeroom1_1.wav",
            "simulated_rirs/smallroom/Room001/Room001-00001.wav",
        ],
    )
    array = noise(channels=8, seed=7)
    name = "real_rirs_isotropic_noises/RVB2014_type1_rir_largeroom1_far_angla.wav"
    write(folder / name, samples=array)
    summary = prepare_noise_rir(tmp_path / "save", folder, folder)
    assert [row["ID"].split("/")[0] for row in rows(tmp_path / "save/noise.csv")] == [
        "pointsource_noises",
        "real_rirs_isotropic_noises",
    ]
    table = rows(tmp_path / "save" / "rir.csv")
    assert [row["ID"] for row in table] == [
        name,
        "simulated_rirs/smallroom/Room001/Room001-00001.wav",
    ]
    assert [row["kind"] for row in table] == ["real", "smallroom"]
    part = folder / "simulated_rirs" / "smallroom"
    prepare_noise_rir(tmp_path / "part", rir_folder=part)
    assert rows(tmp_path / "part" / "rir.csv")[0]["kind"] == "smallroom"
    assert summary["rir"]["kept"] == 2
    first_microphone = sf.read(table[0]["wav"])[0]
    assert np.abs(first_microphone - array[:, 0]).max() < 1e-4


def test_bad_files_are_counted_and_an_empty_folder_is_an_error(tmp_path):
    write(tmp_path / "r" / "good.wav", 0.3)
    write(tmp_path / "r" / "zero.wav", samples=np.zeros(800))
    (tmp_path / "r" / "text.wav").write_text("no audio", encoding="utf-8")
    summary = prepare_noise_rir(tmp_path / "save", rir_folder=tmp_path / "r")
    assert set(summary["rir"]["left_out"]) == {"silent", "unreadable"}
    assert summary["rir"]["kept"] == 1
    (tmp_path / "none").mkdir()
    with pytest.raises(ValueError, match="there is no noise to augment with in"):
        prepare_noise_rir(tmp_path / "save", noise_folder=tmp_path / "none")
    assert prepare_noise_rir(tmp_path / "nothing") == {}


def test_prepared_once(tmp_path):
    tree(tmp_path / "n", ["a.wav", "b.wav"])
    first = prepare_noise_rir(tmp_path / "save", tmp_path / "n")
    changed = (tmp_path / "save" / "noise.csv").stat().st_mtime_ns
    assert prepare_noise_rir(tmp_path / "save", tmp_path / "n") == first
    assert (tmp_path / "save" / "noise.csv").stat().st_mtime_ns == changed
    write(tmp_path / "n" / "c.wav", seed=5)
    assert prepare_noise_rir(tmp_path / "save", tmp_path / "n")["noise"]["kept"] == 3


def test_speechbrain_augments_with_them(noise_rir_mini, tmp_path):
    summary = prepare_noise_rir(
        tmp_path, noise_rir_mini / "noise", noise_rir_mini / "rir", num_workers=1
    )
    assert (summary["noise"]["kept"], summary["rir"]["kept"]) == (70, 29)
    clean = torch.from_numpy(noise(2.0)).float()[None]
    noisy = AddNoise(str(tmp_path / "noise.csv"), snr_low=0, snr_high=0)
    reverberant = AddReverb(str(tmp_path / "rir.csv"))
    for result in (noisy(clean, torch.ones(1)), reverberant(clean)):
        assert result.shape == clean.shape
        assert torch.isfinite(result).all()
        assert not torch.allclose(result, clean)


def test_what_is_no_longer_asked_for_is_not_used(tmp_path):
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 16000)
    (tmp_path / "noises").mkdir()
    sf.write(tmp_path / "noises" / "a.wav", noise, 16000)
    save = tmp_path / "save"
    prepare_noise_rir(save, noise_folder=tmp_path / "noises")
    assert (save / "noise.csv").exists()
    prepare_noise_rir(save)
    assert not (save / "noise.csv").exists()
