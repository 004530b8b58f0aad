"""The corpus of synthetic speakers: repeatable, in VoxCeleb's layout, fair."""

import csv
import hashlib
import json
import shutil
import sys

import numpy as np
import pytest
import soundfile

from speechbrain_dino.corpora.synthetic import make_synthetic_corpus, rooms
from speechbrain_dino.corpora.synthetic.__main__ import main
from speechbrain_dino.corpora.synthetic.espeak import draw_voice
from speechbrain_dino.corpora.synthetic.sentences import sentences

SMALL = {
    "train_speakers": 3,
    "test_speakers": 4,
    "train_utterances": 2,
    "test_utterances": 4,
    "seed": 7,
    "workers": 2,
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """A small corpus."""
    pytest.importorskip("espeakng_loader", reason="espeakng-loader is not installed")
    return make_synthetic_corpus(tmp_path_factory.mktemp("corpus") / "c", **SMALL)


def digests(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


def trials(corpus, name):
    lines = (corpus / name).read_text(encoding="utf-8").splitlines()
    return [line.split(" ") for line in lines]


def test_layout_and_format(corpus):
    wavs = sorted(corpus.glob("wav/*/*/*.wav"))
    assert len(wavs) == 3 * 2 + 4 * (4 + 2)
    for path in wavs:
        info = soundfile.info(path)
        assert (info.samplerate, info.channels) == (16000, 1)
        assert (info.format, info.subtype) == ("WAV", "PCM_16")
        assert 3.0 <= info.duration <= 6.0
        assert path.relative_to(corpus).parts[1].startswith("id9")
    assert {path.name for path in corpus.iterdir()} == {
        "wav",
        "noise",
        "rir",
        "synthetic.json",
        "texts.csv",
        "veri_test.txt",
        "veri_test_degraded.txt",
        "vox1_meta.csv",
    }


def test_loudness_does_not_tell_speakers_apart(corpus):
    level = {}
    for path in corpus.glob("wav/*/*/*.wav"):
        samples = soundfile.read(path)[0]
        assert np.abs(samples).max() < 1.0
        decibels = 20 * np.log10(np.sqrt(np.mean(samples**2)))
        level.setdefault(path.parts[-3], []).append(decibels)
    within = np.mean([np.std(values) for values in level.values()])
    between = np.std([np.mean(values) for values in level.values()])
    assert within > between
    assert -37 < min(map(min, level.values())) < max(map(max, level.values())) < -17


def test_trials_are_fair(corpus):
    with open(corpus / "vox1_meta.csv", encoding="utf-8", newline="") as file:
        meta = {
            row["VoxCeleb1 ID"]: row for row in csv.DictReader(file, delimiter="\t")
        }
    assert sorted(row["Set"] for row in meta.values()) == ["dev"] * 3 + ["test"] * 4
    for name, session in (
        ("veri_test.txt", "session2"),
        ("veri_test_degraded.txt", "session2-degraded"),
    ):
        listed = trials(corpus, name)
        assert len(listed) == 2 * 4 * 2 * 2
        assert sum(label == "1" for label, _, _ in listed) == len(listed) // 2
        for label, enrol, test in listed:
            assert (corpus / "wav" / enrol).is_file()
            assert (corpus / "wav" / test).is_file()
            one, other = enrol.split("/")[0], test.split("/")[0]
            assert (label == "1") == (one == other)
            assert meta[one]["Set"] == meta[other]["Set"] == "test"
            assert meta[one]["Gender"] == meta[other]["Gender"]
            assert (enrol.split("/")[1], test.split("/")[1]) == ("session1", session)
        named = {side.split("/")[0] for trial in listed for side in trial[1:]}
        assert named == {name for name, row in meta.items() if row["Set"] == "test"}


def test_texts_do_not_repeat(corpus):
    with open(corpus / "texts.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len({row["text"] for row in rows}) == len(rows) == 3 * 2 + 4 * 4
    assert all((corpus / "wav" / row["ID"]).is_file() for row in rows)


def test_noise_and_rooms_to_train_with(corpus):
    noises, responses = corpus.glob("noise/*.wav"), corpus.glob("rir/*.wav")
    lengths = [soundfile.info(path).duration for path in noises]
    assert lengths == [5.0] * 24
    durations = []
    for path in responses:
        samples, rate = soundfile.read(path)
        assert rate == 16000 and np.argmax(np.abs(samples)) == 0
        durations.append(len(samples) / rate)
    assert len(durations) == 24 and 0.2 <= min(durations) < max(durations) <= 0.6


def test_same_seed_same_bytes_and_restart(corpus, tmp_path):
    wanted = digests(corpus)
    again = tmp_path / "again"
    shutil.copytree(corpus, again)
    marker = json.loads((again / "synthetic.json").read_text(encoding="utf-8"))
    marker["done"] = False
    (again / "synthetic.json").write_text(json.dumps(marker), encoding="utf-8")
    killed = again / "wav" / "id90004"
    shutil.rmtree(again / "wav")  # every speaker again, one of them half written
    (again / "wav" / ".id90004.partial").mkdir(parents=True)
    make_synthetic_corpus(again, **{**SMALL, "workers": 1})
    assert killed.is_dir() and digests(again) == wanted
    changed = (again / "veri_test.txt").stat().st_mtime_ns
    make_synthetic_corpus(again, **SMALL)
    assert (again / "veri_test.txt").stat().st_mtime_ns == changed


def test_other_settings_are_refused(corpus, tmp_path):
    with pytest.raises(ValueError, match="delete that folder or name another"):
        make_synthetic_corpus(corpus, **{**SMALL, "seed": 8})
    (tmp_path / "mine.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(ValueError, match="is no synthetic corpus"):
        make_synthetic_corpus(tmp_path, **SMALL)
    with pytest.raises(ValueError, match="even and at least 2"):
        make_synthetic_corpus(tmp_path / "n", **{**SMALL, "test_utterances": 3})
    with pytest.raises(ValueError, match="at least 1 and 4"):
        make_synthetic_corpus(tmp_path / "n", **{**SMALL, "test_speakers": 2})


def test_missing_library_names_the_remedy(monkeypatch, tmp_path, capsys, caplog):
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(SystemExit) as error:
        main([str(tmp_path / "corpus")])
    assert error.value.code == 1
    printed = capsys.readouterr().err + caplog.text  # pytest listens to the log
    assert 'pip install "speechbrain-dino[demo]"' in printed
    assert not (tmp_path / "corpus").exists()


def test_voices_differ():
    voices = {
        draw_voice("id1", "f", np.random.default_rng(seed)).variant
        for seed in range(50)
    }
    assert len(voices) == 50


def test_sentences_are_unique_even_when_many():
    drawn = sentences(3000, np.random.default_rng(0))
    assert len(set(drawn)) == 3000
    assert drawn[:10] == sentences(10, np.random.default_rng(0))


def test_room_decays_by_60_db_in_t60():
    level = [
        20 * np.log10(np.sqrt(np.mean(room[a : a + 800] ** 2)))
        for room in [rooms.room(np.random.default_rng(3), t60=0.5)]
        for a in (1600, 5600)  # 0.25 s apart: half of T60
    ]
    assert level[0] - level[1] == pytest.approx(30, abs=3)


@pytest.mark.parametrize("snr", [0.0, 13.0])
def test_noise_has_the_named_ratio(snr):
    rng = np.random.default_rng(1)
    speech, noise = rng.standard_normal(16000), rooms.colored_noise(rng, 16000)
    added = rooms.add_noise(speech, noise, snr) - speech
    ratio = 10 * np.log10(np.mean(speech**2) / np.mean(added**2))
    assert ratio == pytest.approx(snr, abs=1e-9)


def test_int16_never_clips():
    spike = np.zeros(16000)
    spike[100] = 1.0
    samples = rooms.to_int16(spike, np.random.default_rng(0))
    assert samples.max() == round(32767 * 0.98)
