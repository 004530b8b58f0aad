"""What the preparations of emotion corpora share."""

import logging
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from audio_files import noise, write
from emotion_trees import rows_of

from speechbrain_dino.corpora.emotion_corpus import prepare_emotion
from speechbrain_dino.corpora.emotion_labels import (
    Labeled,
    LabelsLeftOut,
    choose_classes,
    read_table,
    source_at,
)
from speechbrain_dino.corpora.preparation import read_summary
from speechbrain_dino.data import audio_facts
from speechbrain_dino.data.fold_makers import group_kfold
from speechbrain_dino.data.manifest import Manifest

ARGUMENTS = {
    "classes": ["sad", "angry"],
    "allow_missing": False,
    "sample_rate": 16000,
    "min_duration": 0.3,
    "check": "full",
    "num_workers": 1,
}


def items_of(folder, names):
    """Names are <speaker>-<emotion>-<number>.wav."""
    items = []
    for name in names:
        speaker, emotion, _ = name.split("-")
        source = source_at(str(folder / name), name, name, speaker.strip("?"))
        items.append(Labeled(source, emotion, {"gender": "", "age": "30"}))
    return items


def prepare(folder, names, left_out=None, table=None, **arguments):
    def folds(manifest):
        labels = arguments.get("classes", ARGUMENTS["classes"])
        return group_kfold(manifest, num_folds=3, labels=labels), "three folds"

    return prepare_emotion(
        items_of(folder, names),
        [table] if table else [],
        folds,
        folder / "save",
        left_out or LabelsLeftOut(),
        ARGUMENTS | arguments,
    )


@pytest.fixture
def corpus(tmp_path):
    names = [f"{s}-{e}-{k}.wav" for s in "abc" for e in ("sad", "angry") for k in "12"]
    for seed, name in enumerate(names):
        write(tmp_path / name, 0.5, seed=seed)
    return tmp_path, names


def test_manifest_folds_and_summary(corpus, caplog):
    folder, names = corpus
    caplog.set_level(logging.INFO, "speechbrain_dino.corpora.emotion_corpus")
    summary = prepare(folder, names[::-1])
    manifest = Manifest.from_csv(folder / "save" / "utterances.csv")
    assert rows_of(manifest, "ID", "duration", "start", "stop") == [
        (name, 0.5, 0, 8000) for name in sorted(names)
    ]
    assert rows_of(manifest, "spk_id", "emotion", "gender", "age") == [
        (*name.split("-")[:2], "", "30") for name in sorted(names)
    ]
    assert manifest[0].wav == str(folder / "a-angry-1.wav")
    assert read_summary(folder / "save") == summary
    del summary["arguments"], summary["signature"]
    part = {"sad": 2, "angry": 2, "all": 4, "speakers": 1}
    assert summary == {
        "kept": 12,
        "hours": 6 / 3600,
        "left_out": {},
        "remarks": {},
        "converted": 0,
        "classes": {"sad": 6, "angry": 6},
        "speakers": 3,
        "unknown_speaker": 0,
        "how": "three folds",
        "folds": {
            f"fold{k}": {"train": part, "valid": part, "test": part} for k in (1, 2, 3)
        },
        "in_no_fold": 0,
    }
    lines = caplog.messages[-1].splitlines()
    assert lines[0] == "three folds"
    assert lines[1].split() == ["fold", "part", "sad", "angry", "all", "speakers"]
    assert lines[2].split() == ["fold1", "train", "2", "2", "4", "1"]


def test_what_is_left_out_is_counted_by_audio_and_label(corpus):
    folder, names = corpus
    write(folder / "a-sad-short.wav", 0.2)
    write(folder / "a-sad-zero.wav", samples=np.zeros(8000))
    (folder / "a-sad-text.wav").write_text("no audio", encoding="utf-8")
    shutil.copy(folder / "b-sad-1.wav", folder / "b-sad-copy.wav")
    shutil.copy(folder / "b-sad-2.wav", folder / "b-angry-copy.wav")
    shutil.copy(folder / "c-sad-1.wav", folder / "a-sad-other.wav")
    shutil.copy(folder / "c-sad-2.wav", folder / "?-sad-known.wav")
    write(folder / "?-sad-new.wav", 0.5, seed=40)
    extra = sorted(p.name for p in folder.glob("*.wav") if p.name not in names)
    more = ["a-fear-1.wav", "b-fear-1.wav", "b-no_agreement-1.wav", "c-other-1.wav"]
    summary = prepare(folder, [*names, *extra, *more])
    assert {k: v["count"] for k, v in summary["left_out"].items()} == {
        "conflicting_copies": 4,
        "emotion_fear": 2,
        "duplicate": 2,
        "emotion_no_agreement": 1,
        "emotion_other": 1,
        "too_short": 1,
        "silent": 1,
        "unreadable": 1,
    }
    assert summary["left_out"]["emotion_fear"] == {
        "count": 2,
        "example": str(folder / "a-fear-1.wav"),
        "remedy": "none needed: not one of the classes; name it in classes to keep it",
    }
    kept = set(Manifest.from_csv(folder / "save" / "utterances.csv").ids)
    assert kept == {*names, "?-sad-new.wav"} - {"b-sad-2.wav", "c-sad-1.wav"}
    assert (summary["unknown_speaker"], summary["speakers"]) == (1, 3)


def test_missing_audio_is_an_error_unless_allowed(corpus):
    folder, names = corpus
    missing = [f"a-sad-{k}.wav" for k in range(3, 10)]
    with pytest.raises(ValueError, match=r"7 labeled .* no audio") as error:
        prepare(folder, names + missing)
    assert str(folder / "a-sad-3.wav") in str(error.value)
    assert "and 2 more" in str(error.value)
    assert "allow_missing: True" in str(error.value)
    summary = prepare(folder, names + missing, allow_missing=True)
    assert summary["left_out"]["missing"]["count"] == 7
    assert summary["kept"] == 12


def test_other_rates_and_channels_are_converted(corpus):
    folder, names = corpus
    write(folder / "a-sad-stereo.wav", 0.5, channels=2, seed=30)
    write(folder / "a-sad-slow.flac", 0.5, rate=8000, seed=31)
    more = ["a-sad-stereo.wav", "a-sad-slow.flac"]
    summary = prepare(folder, names + more)
    assert (summary["kept"], summary["converted"]) == (14, 2)
    manifest = Manifest.from_csv(folder / "save" / "utterances.csv")
    wavs = {row.id: row.wav for row in manifest}
    assert wavs["a-sad-slow.flac"] == str(folder / "save/audio/a-sad-slow.flac.wav")
    assert [row.stop for row in manifest] == [8000] * 14


def test_prepared_once_for_the_same_files_and_arguments(corpus, monkeypatch):
    folder, names = corpus
    table = folder / "labels.txt"
    table.write_text("one", encoding="utf-8")
    first = prepare(folder, names, table=table)
    # As another process would find it, with nothing left to read.
    monkeypatch.setattr(audio_facts, "inspect", None)
    assert prepare(folder, names, table=table, num_workers=2) == first
    monkeypatch.undo()
    table.write_text("another", encoding="utf-8")
    second = prepare(folder, names, table=table)
    assert second["signature"] != first["signature"]
    third = prepare(folder, names, table=table, min_duration=0.4)
    assert third["arguments"]["min_duration"] == 0.4
    (folder / "save" / "folds.json").unlink()
    prepare(folder, names, table=table, min_duration=0.4)
    assert (folder / "save" / "folds.json").exists()


def test_folds_that_fail_leave_no_valid_preparation(corpus):
    folder, names = corpus
    prepare(folder, names)
    few = [name for name in names if not name.startswith("c")]
    with pytest.raises(ValueError, match="num_folds=3"):
        prepare(folder, few)
    assert not Path(folder, "save", "prepare.json").exists()


def test_nothing_left_is_an_error(corpus):
    folder, _ = corpus
    with pytest.raises(ValueError, match="there is no labeled utterance"):
        prepare(folder, ["a-fear-1.wav"])


@pytest.mark.parametrize(
    ("classes", "chosen"),
    [
        ("all", ["angry", "sad"]),
        (["sad", "angry"], ["sad", "angry"]),
        (("other", "sad"), ["other", "sad"]),
    ],
)
def test_classes_are_chosen(classes, chosen):
    emotions = ["angry", "sad", "other", "no_agreement", "sad"]
    assert choose_classes(classes, emotions) == chosen


@pytest.mark.parametrize(
    "classes", ["sad", ["sad"], ["sad", "sad"], ["sad", "joy"], []]
)
def test_classes_that_cannot_be_are_named(classes):
    with pytest.raises(
        ValueError, match=r"expected 'all', .* out of \['angry', 'sad'\]"
    ):
        choose_classes(classes, ["angry", "sad", "no_agreement"])


def test_tables_with_other_columns_are_named(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('\ufeff"File",Sex\na,Male\n\nb\n', encoding="utf-8")
    rows = read_table(path, "File", ("gender", "Sex"), optional=["Age"])
    assert rows == [(2, "a", "Male", ""), (4, "b", "", "")]
    with pytest.raises(ValueError, match=r"no column x or y: it has \['File', 'Sex'\]"):
        read_table(path, "File", ("x", "y"))
    path.write_text("", encoding="utf-8")
    with pytest.raises(ValueError, match=r"no column File: it has \[\]"):
        read_table(path, "File")


def test_a_source_that_is_not_there_has_no_size(tmp_path):
    write(tmp_path / "a.wav", samples=noise(0.1))
    there = source_at(str(tmp_path / "a.wav"), "a.wav", "a", "7")
    assert there.size == os.path.getsize(tmp_path / "a.wav")
    assert source_at(str(tmp_path / "b.wav"), "b.wav", "b", "7").size == -1
