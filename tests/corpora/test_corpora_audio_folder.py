"""Any folder of audio."""

import numpy as np
import pytest
import soundfile as sf
from audio_files import noise, write

from speechbrain_dino.corpora.audio_folder import prepare_audio_folder
from speechbrain_dino.corpora.preparation import read_summary
from speechbrain_dino.data.manifest import Manifest


def test_any_format_rate_depth_and_number_of_channels(tmp_path):
    data = tmp_path / "my audio"
    write(data / "a.wav", 3.0)
    write(data / "deep" / "er" / "b.FLAC", 3.0, seed=1)
    write(data / "c.ogg", 3.0, 44100, 2)
    write(data / "d.opus", 3.0, 48000, format="OGG", subtype="OPUS", seed=2)
    write(data / "deep" / "e.mp3", 3.0, 22050, seed=3)
    write(data / "f.wav", 3.0, 8000, 2)
    write(data / "g.wav", 3.0, seed=4, subtype="FLOAT")
    (data / "._a.wav").write_bytes(b"AppleDouble")
    (data / "notes.txt").write_text("no audio", encoding="utf-8")
    save = data / "save"
    summary = prepare_audio_folder(data, save)
    manifest = Manifest.from_csv(save / "train.csv")
    assert list(manifest.ids) == [
        "a.wav",
        "deep/er/b.FLAC",
        "c.ogg",
        "d.opus",
        "deep/e.mp3",
        "f.wav",
        "g.wav",
    ]
    assert (summary["kept"], summary["converted"]) == (7, 4)
    assert set(summary["left_out"]) == {"hidden"}
    for row in manifest:
        info = sf.info(row.wav)
        assert (info.samplerate, info.channels) == (16000, 1)
        assert row.stop == info.frames
        assert abs(row.stop - 48000) < 2000
        assert row.spk_id is None
    assert manifest[0].wav == str(data / "a.wav")
    assert manifest[2].wav == str(save / "audio" / "c.ogg.wav")
    # What was converted lies inside the folder, and is no new audio.
    assert prepare_audio_folder(data, save, min_duration=1.0)["kept"] == 7


def test_files_of_trials_stay_out_of_training(tmp_path):
    for seed, name in enumerate(["x/1.wav", "x/2.ogg", "y/1.wav"]):
        write(tmp_path / name, 1.0, seed=seed)
    (tmp_path / "mine.txt").write_text("1 x/1.wav ./x/2.ogg\n", encoding="utf-8")
    prepare_audio_folder(tmp_path, tmp_path / "s", ["mine"], min_duration=0.5)
    test = Manifest.from_csv(tmp_path / "s" / "test.csv")
    assert list(Manifest.from_csv(tmp_path / "s" / "train.csv").ids) == ["y/1.wav"]
    assert list(test.ids) == ["x/1.wav", "./x/2.ogg"]
    assert test[1].wav == str(tmp_path / "s" / "audio" / "x" / "2.ogg.wav")


def test_failed_conversions_are_counted(tmp_path):
    write(tmp_path / "good.wav", 1.0)
    (tmp_path / "text.mp3").write_text("no audio", encoding="utf-8")
    bad = noise(rate=8000)
    bad[5] = np.nan
    write(tmp_path / "nan.wav", samples=bad, rate=8000, subtype="FLOAT")
    write(tmp_path / "zero.ogg", samples=np.zeros(16000))
    for check in ("full", "headers"):
        summary = prepare_audio_folder(
            tmp_path, tmp_path / check, min_duration=0.5, check=check
        )
        counts = {k: v["count"] for k, v in summary["left_out"].items()}
        silent = {"silent": 1} if check == "full" else {}
        assert counts == {"unreadable": 1, "non_finite": 1} | silent
        assert summary["left_out"]["unreadable"]["example"] == str(
            tmp_path / "text.mp3"
        )


def test_empty_folder(tmp_path):
    with pytest.raises(ValueError, match=r"no utterance to train on. None was found"):
        prepare_audio_folder(tmp_path, tmp_path / "save")
    with pytest.raises(FileNotFoundError, match=r"save has no prepare.json: prepare"):
        read_summary(tmp_path / "save")
