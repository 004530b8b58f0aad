"""VoxCeleb's layouts, trial lists and order of rows."""

import csv
import os
import shutil

import numpy as np
import pytest
import soundfile as sf
from audio_files import noise, tree, write
from speechbrain.dataio.dataio import read_audio
from speechbrain.dataio.dataset import DynamicItemDataset

from speechbrain_dino.corpora.preparation import read_summary
from speechbrain_dino.corpora.voxceleb import prepare_voxceleb
from speechbrain_dino.data import audio_facts
from speechbrain_dino.data.manifest import Manifest

SMALL = {"min_duration": 0.5, "num_workers": 1}


def ids(save_folder, name="train.csv"):
    return list(Manifest.from_csv(save_folder / name).ids)


def test_both_corpora_as_distributed_in_one_folder(tmp_path):
    data = tree(
        tmp_path / "data",
        [
            "vox1/dev/wav/id10001/s1/00001.wav",
            "vox1/dev/wav/id10001/s1/00002.wav",
            "vox1/test/wav/id10270/s1/00001.wav",
            "vox1/test/wav/id10271/s1/00001.wav",
            "vox1/test/wav/id10271/s2/00009.wav",
            "vox2/dev/aac/id00012/s1/00001.flac",
            "vox2/test/aac/id00017/s3/00004.wav",
        ],
    )
    lines = "0 id10270/s1/00001.wav id10271/s1/00001.wav\n"
    (data / "vox1" / "list.txt").write_text(lines, encoding="utf-8")
    summary = prepare_voxceleb(
        data, tmp_path / "save", [data / "vox1" / "list.txt"], **SMALL
    )
    assert ids(tmp_path / "save") == [
        "id10001--s1--00001",
        "id10001--s1--00002",
        "id00012--s1--00001",
        "id00017--s3--00004",
    ]
    assert ids(tmp_path / "save", "test.csv") == lines.split()[1:]
    assert (tmp_path / "save" / "trials" / "list.txt").read_text(
        encoding="utf-8"
    ) == lines
    assert (summary["kept"], summary["hours"]) == (4, 4 / 3600)
    assert {k: v["count"] for k, v in summary["left_out"].items()} == {
        "test_file": 2,
        "test_speaker": 1,
    }
    assert read_summary(tmp_path / "save") == summary
    two = prepare_voxceleb([data / "vox1", data / "vox2"], tmp_path / "two", **SMALL)
    assert two["kept"] == 7


def test_names_in_lists_may_have_another_format(tmp_path):
    data = tree(tmp_path / "wav", ["a/s/1.flac", "b/s/1.flac", "c/s/1.flac"])
    (tmp_path / "t.txt").write_text("0 a/s/1.wav b/s/1.m4a\n", encoding="utf-8")
    prepare_voxceleb(data, tmp_path / "save", str(tmp_path / "t.txt"), **SMALL)
    test = Manifest.from_csv(tmp_path / "save" / "test.csv")
    assert list(test.ids) == ["a/s/1.wav", "b/s/1.m4a"]
    assert test[1].wav == str(data / "b" / "s" / "1.flac")
    assert ids(tmp_path / "save") == ["c--s--1"]


def test_everything_bad_is_counted_once(tmp_path):
    data = tree(tmp_path / "d" / "wav", ["a/s/1.wav", "a/s/2.wav", "b/s/1.wav"])
    bad = noise()
    bad[7] = np.inf
    write(data / "c" / "s" / "nan.wav", samples=bad, subtype="FLOAT")
    write(data / "c" / "s" / "zero.wav", samples=np.zeros(16000))
    write(data / "c" / "s" / "short.wav", 0.3)
    (data / "c" / "s" / "empty.wav").write_bytes(b"")
    (data / "c" / "s" / "text.wav").write_text("no audio", encoding="utf-8")
    (data / "c" / "s" / "._1.wav").write_bytes(b"AppleDouble")
    (data / "c" / "s" / "link.wav").symlink_to("nowhere.wav")
    shutil.copy(data / "a" / "s" / "1.wav", data / "c" / "s" / "copy_of_training.wav")
    shutil.copy(data / "b" / "s" / "1.wav", data / "c" / "s" / "copy_of_test.wav")
    write(data / "a" / "s" / "1.flac", seed=50)
    write(data / "stray.wav")
    write(tmp_path / "d" / "more" / "wav" / "a" / "s" / "2.wav", seed=51)
    write(tmp_path / "d" / "outside" / "x" / "y" / "z.wav")
    (tmp_path / "t.txt").write_text("1 b/s/1.wav b/s/1.wav\n", encoding="utf-8")
    summary = prepare_voxceleb(
        tmp_path / "d", tmp_path / "save", [tmp_path / "t.txt"], **SMALL
    )
    assert {k: v["count"] for k, v in summary["left_out"].items()} == {
        "duplicate": 2,
        "layout": 2,
        "test_file": 1,
        "non_finite": 1,
        "silent": 1,
        "too_short": 1,
        "empty": 1,
        "unreadable": 1,
        "hidden": 1,
        "missing": 1,
        "same_id": 1,
        "other_format": 1,
    }
    assert summary["left_out"]["silent"]["example"] == str(data / "c/s/zero.wav")
    assert all(kind["remedy"] for kind in summary["left_out"].values())
    assert summary["kept"] == 2


def shuffled(folder, target, names):
    """The same tree with its speakers' folders renamed."""
    for path in sorted(folder.rglob("*.wav")):
        speaker, *rest = path.relative_to(folder).parts
        new = target.joinpath(names[speaker], *rest)
        new.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, new)
    return target


@pytest.mark.parametrize("check", ["full", "headers"])
def test_order_does_not_depend_on_the_names_of_speakers(tmp_path, check):
    speakers = ["id1", "id2", "id3", "id4"]
    wav = tree(
        tmp_path / "wav", [f"{s}/s{k % 2}/{k}.wav" for s in speakers for k in range(4)]
    )
    write(wav / "id2" / "s0" / "0.wav", seed=0)
    renamed = {"id1": "id3", "id2": "id9", "id3": "id1", "id4": "id2"}
    other = shuffled(wav, tmp_path / "other", renamed)
    contents = []
    for folder, save in ((wav, "a"), (other, "b")):
        prepare_voxceleb(folder, tmp_path / save, check=check, **SMALL)
        manifest = Manifest.from_csv(tmp_path / save / "train.csv")
        contents.append([sf.read(row.wav, dtype="int16")[0] for row in manifest])
    assert len(contents[0]) == (15 if check == "full" else 16)
    assert all(np.array_equal(a, b) for a, b in zip(*contents))


def test_test_speakers_never_train(tmp_path):
    wav = tree(
        tmp_path / "wav", [f"id{s}/s/{k}.wav" for s in range(5) for k in range(3)]
    )
    (tmp_path / "one.txt").write_text("1 id1/s/0.wav id1/s/1.wav\n", encoding="utf-8")
    (tmp_path / "two.txt").write_text("0 id1/s/0.wav id4/s/2.wav\n", encoding="utf-8")
    lists = [tmp_path / "one.txt", tmp_path / "two.txt"]
    prepare_voxceleb(wav, tmp_path / "save", lists, **SMALL)
    manifest = Manifest.from_csv(tmp_path / "save" / "train.csv")
    assert sorted(set(manifest.column("spk_id"))) == ["id0", "id2", "id3"]
    assert len(manifest) == 9
    assert ids(tmp_path / "save", "test.csv") == [
        "id1/s/0.wav",
        "id1/s/1.wav",
        "id4/s/2.wav",
    ]


def test_trials_that_cannot_be_scored_stop_it(tmp_path):
    wav = tree(tmp_path / "wav", ["a/s/1.wav", "b/s/1.wav"])
    (wav / "b" / "s" / "2.wav").write_bytes(b"")
    (tmp_path / "t.txt").write_text("1 b/s/1.wav b/s/2.wav\n", encoding="utf-8")
    with pytest.raises(ValueError, match="1 files of the trial lists") as error:
        prepare_voxceleb(wav, tmp_path / "save", [tmp_path / "t.txt"], **SMALL)
    assert str(wav / "b" / "s" / "2.wav") in str(error.value)
    (tmp_path / "t.txt").write_text(
        "1 b/s/1.wav b/s/1.wav\n1 b/s/1.wav b/s/7.wav\n", encoding="utf-8"
    )
    with pytest.raises(ValueError, match=r"t.txt:2: no file is there for 'b/s/7.wav'"):
        prepare_voxceleb(wav, tmp_path / "save", [tmp_path / "t.txt"], **SMALL)
    (tmp_path / "other").mkdir()
    shutil.copy(tmp_path / "t.txt", tmp_path / "other" / "t.txt")
    lists = [tmp_path / "t.txt", tmp_path / "other" / "t.txt"]
    with pytest.raises(ValueError, match="two trial lists have the name 't'"):
        prepare_voxceleb(wav, tmp_path / "save", lists, **SMALL)
    assert not (tmp_path / "save" / "prepare.json").exists()


def test_nothing_left_and_no_folder(tmp_path):
    wav = tree(tmp_path / "wav", ["a/s/1.wav"], seconds=0.2)
    with pytest.raises(ValueError, match=r"no utterance to train on.*\n.*1 too_short"):
        prepare_voxceleb(wav, tmp_path / "save", **SMALL)
    with pytest.raises(FileNotFoundError, match="nowhere is no folder"):
        prepare_voxceleb(tmp_path / "nowhere", tmp_path / "save", **SMALL)


def test_vad_keeps_the_speech_and_drops_who_has_too_little(tmp_path):
    quiet, loud = np.zeros(16000), noise(2.0)
    gap = np.concatenate([quiet, loud, quiet])
    write(tmp_path / "wav" / "a" / "s" / "1.wav", samples=gap)
    write(tmp_path / "wav" / "a" / "s" / "2.wav", samples=gap[:24000])
    prepare_voxceleb(tmp_path / "wav", tmp_path / "all", min_duration=1.0)
    assert ids(tmp_path / "all") == ["a--s--1", "a--s--2"]
    summary = prepare_voxceleb(
        tmp_path / "wav", tmp_path / "vad", min_duration=1.0, vad=True
    )
    assert summary["left_out"]["too_short"]["count"] == 1
    manifest = Manifest.from_csv(tmp_path / "vad" / "train.csv")
    ((start, stop),) = manifest[0].speech
    assert abs(start - 16000) < 800
    assert abs(stop - 48000) < 800
    assert manifest.lengths.tolist() == [stop - start]
    assert summary["hours"] == pytest.approx((stop - start) / 16000 / 3600)


def test_prepared_once_and_never_stale(tmp_path, monkeypatch):
    wav = tree(tmp_path / "wav", ["a/s/1.wav", "b/s/1.wav", "c/s/1.wav"])
    trials = tmp_path / "t.txt"
    trials.write_text("1 a/s/1.wav a/s/1.wav\n", encoding="utf-8")
    read = []
    real = audio_facts.inspect
    monkeypatch.setattr(
        audio_facts, "inspect", lambda job: (read.append(job[0]), real(job))[1]
    )

    def prepare(**options):
        read.clear()
        return prepare_voxceleb(wav, tmp_path / "save", [trials], **(SMALL | options))[
            "kept"
        ]

    assert (prepare(), len(read)) == (2, 3)
    changed = (tmp_path / "save" / "train.csv").stat().st_mtime_ns
    assert (prepare(num_workers=2), len(read)) == (2, 0)
    assert (tmp_path / "save" / "train.csv").stat().st_mtime_ns == changed
    trials.write_text("1 a/s/1.wav b/s/1.wav\n", encoding="utf-8")
    assert (prepare(), len(read)) == (1, 0)
    write(wav / "d" / "s" / "1.wav", 1.5, seed=9)
    assert (prepare(), len(read)) == (2, 1)
    assert (prepare(min_duration=1.2), len(read)) == (1, 0)
    write(wav / "c" / "s" / "1.wav", 1.3, seed=9)
    assert (prepare(min_duration=1.2), len(read)) == (2, 1)
    os.remove(tmp_path / "save" / "train.csv")
    assert (prepare(min_duration=1.2), len(read)) == (2, 0)
    assert len(ids(tmp_path / "save")) == 2


def test_other_rates_and_channels_are_converted_once(tmp_path):
    data = tmp_path / "wav"
    write(data / "a" / "s" / "1.wav", rate=8000)
    write(data / "a" / "s" / "2.wav", channels=2)
    write(data / "a" / "s" / "3.wav")
    summary = prepare_voxceleb(data, tmp_path / "save", **SMALL)
    assert (summary["kept"], summary["converted"]) == (3, 2)
    manifest = Manifest.from_csv(tmp_path / "save" / "train.csv")
    assert manifest[0].wav == str(tmp_path / "save" / "audio" / "a" / "s" / "1.wav")
    assert manifest[2].wav == str(data / "a" / "s" / "3.wav")
    assert [sf.info(row.wav).frames for row in manifest] == [16000] * 3


def test_aac_as_distributed(tmp_path):
    av = pytest.importorskip("av")
    path = tmp_path / "vox2" / "dev" / "aac" / "id00012" / "s" / "00001.m4a"
    path.parent.mkdir(parents=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        samples = noise().astype(np.float32)[None]
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
        frame.sample_rate = 16000
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    summary = prepare_voxceleb(tmp_path / "vox2", tmp_path / "save", **SMALL)
    assert (summary["kept"], summary["converted"]) == (1, 1)
    row = Manifest.from_csv(tmp_path / "save" / "train.csv")[0]
    assert row.id == "id00012--s--00001"
    assert row.wav == str(tmp_path / "save/audio/id00012/s/00001.wav")
    # AAC comes in blocks of 1024 samples and may begin with an empty one.
    assert 16000 <= sf.info(row.wav).frames <= 16000 + 2 * 1024


def test_real_speech(voxceleb_mini, tmp_path):
    """1085 utterances of 405 speakers train, as in the corpus's own table."""
    summary = prepare_voxceleb(
        voxceleb_mini,
        tmp_path,
        ["veri_test", "veri_test_degraded.txt"],
        check="headers",
        num_workers=1,
    )
    with open(voxceleb_mini / "utterances.csv", newline="", encoding="utf-8") as file:
        table = [row for row in csv.DictReader(file) if row["split"] == "train"]
    manifest = Manifest.from_csv(tmp_path / "train.csv")
    assert len(manifest) == len(table) == summary["kept"] == 1085
    assert len(set(manifest.column("spk_id"))) == 405
    wavs = {os.path.relpath(row.wav, voxceleb_mini) for row in manifest}
    assert wavs == {row["path"] for row in table}
    hours = sum(float(row["dur"]) for row in table) / 3600
    assert summary["hours"] == pytest.approx(hours, rel=1e-3)
    assert summary["test"] == len(ids(tmp_path, "test.csv")) == 352 + 176
    dataset = DynamicItemDataset.from_csv(tmp_path / "train.csv")
    dataset.set_output_keys(["wav", "stop"])
    first = dataset[0]
    assert read_audio(first["wav"]).shape == (int(first["stop"]),)
