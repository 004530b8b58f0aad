"""Manifest, prepared folder or plain folder: the same utterances."""

import numpy as np
import pytest
import soundfile

from speechbrain_dino.corpora.utterances import find_utterances, joined
from speechbrain_dino.data.manifest import Manifest


def write_audio(path, samples=8000, rate=16000, channels=1):
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(samples)
    soundfile.write(path, rng.uniform(-0.5, 0.5, (samples, channels)), rate)


def row(name, wav, samples=8000, **more):
    about = {"ID": name, "duration": samples / 16000, "wav": str(wav), "start": 0}
    return about | {"stop": samples} | more


def test_a_folder_of_audio(tmp_path):
    write_audio(tmp_path / "in" / "a" / "one.wav")
    write_audio(tmp_path / "in" / "two.flac", 4000, 8000, 2)
    manifest = find_utterances(tmp_path / "in", tmp_path / "save")
    stops = {u.id: u.stop for u in (manifest[i] for i in range(len(manifest)))}
    assert stops == {"a/one.wav": 8000, "two.flac": 8000}


def test_a_prepared_folder_and_a_manifest(tmp_path):
    write_audio(tmp_path / "a.wav")
    train = Manifest.from_rows([row("a", tmp_path / "a.wav", spk_id="s")])
    test = Manifest.from_rows([row("b", tmp_path / "a.wav", spk_id="t", gender="f")])
    train.to_csv(tmp_path / "p" / "train.csv")
    test.to_csv(tmp_path / "p" / "test.csv")
    both = find_utterances(tmp_path / "p", tmp_path / "save")
    assert [both[0].id, both[1].id] == ["a", "b"]
    assert (both[0].spk_id, both[1].spk_id) == ("s", "t")
    one = find_utterances(tmp_path / "p" / "test.csv", tmp_path / "save")
    assert list(one.column("gender")) == ["f"]
    assert not (tmp_path / "save" / "audio").exists()


def test_names_that_occur_twice_and_what_is_not_there(tmp_path):
    same = Manifest.from_rows([row("a", tmp_path / "a.wav")])
    with pytest.raises(ValueError, match="'a'"):
        joined([same, same])
    with pytest.raises(FileNotFoundError, match="nowhere does not exist: give a man"):
        find_utterances(tmp_path / "nowhere", tmp_path / "save")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="None was found"):
        find_utterances(tmp_path / "empty", tmp_path / "save")
