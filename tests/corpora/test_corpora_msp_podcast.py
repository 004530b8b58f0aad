"""MSP-Podcast's label files, partitions and unknown speakers."""

import pytest
from audio_files import write
from emotion_trees import ids, msp_podcast, rows_of

from speechbrain_dino.corpora.msp_podcast import CODES, prepare_msp_podcast
from speechbrain_dino.data.fold_makers import read_folds
from speechbrain_dino.data.manifest import Manifest

SMALL = {"num_workers": 1}
FIVE = ["angry", "happy", "neutral", "sad", "disgust"]
_SPEAKERS = {
    "Train": "1", "Development": "2", "Validation": "2", "Test1": "3", "Test2": "4",
    "Test3": "5",
}  # fmt: skip


def name_of(number):
    return f"MSP-PODCAST_{number // 100:04d}_{number % 100:04d}.wav"


def rows(splits=("Train", "Development", "Test1", "Test2"), codes=CODES):
    """A row per code and partition; speaker 1 is in Train and so on."""
    pairs = [(split, code) for split in splits for code in codes]
    speakers = {split.lower(): speaker for split, speaker in _SPEAKERS.items()}
    return [
        (name_of(k), code, "2.2", "4.0", "2.6", speakers[split.lower()], "Male", split)
        for k, (split, code) in enumerate(pairs)
    ]


def prepared(folder):
    manifest = Manifest.from_csv(folder / "utterances.csv")
    return manifest, read_folds(folder / "folds.json", manifest)


def changed(row, **fields):
    names = ["name", "code", "act", "val", "dom", "speaker", "gender", "split"]
    return tuple(fields.get(name, text) for name, text in zip(names, row))


def test_every_code_becomes_a_column_or_is_counted(tmp_path):
    data = msp_podcast(tmp_path / "data", rows())
    write(data / "Audios" / "MSP-PODCAST_9999_0001.wav", seed=99)
    summary = prepare_msp_podcast(data, tmp_path / "save", **SMALL)
    assert summary["classes"] == dict.fromkeys(FIVE, 4)
    assert {k: v["count"] for k, v in summary["left_out"].items()} == {
        "emotion_surprise": 4,
        "emotion_fear": 4,
        "emotion_contempt": 4,
        "emotion_other": 4,
        "emotion_no_agreement": 4,
        "no_label": 1,
    }
    manifest, (fold,) = prepared(tmp_path / "save")
    columns = ("ID", "spk_id", "emotion", "gender", "arousal", "valence", "dominance")
    table = rows_of(manifest, *columns, "partition")
    assert len(table) == 20
    assert table[0] == (
        "MSP-PODCAST_0000_0000", "1", "angry", "male", "2.2", "4.0", "2.6", "train"
    )  # fmt: skip
    assert fold.name == "test1"
    parts = [{manifest[i].spk_id for i in part} for part in fold[1:]]
    assert parts == [{"1"}, {"2"}, {"3"}]
    assert [len(part) for part in fold[1:]] == [5, 5, 5]
    assert summary["in_no_fold"] == 5
    assert summary["how"] == "the official partitions, tested on test1"


def test_eight_classes_and_further_test_sets(tmp_path):
    splits = [split for split in _SPEAKERS if split != "Validation"]
    data = msp_podcast(tmp_path / "data", rows(splits))
    options = {"test_sets": ["Test1", "test2", "Test3"], **SMALL}
    summary = prepare_msp_podcast(data, tmp_path / "save", "all", **options)
    assert list(summary["classes"]) == [
        "angry", "sad", "happy", "surprise", "fear", "disgust", "contempt", "neutral"
    ]  # fmt: skip
    manifest, folds = prepared(tmp_path / "save")
    assert [f.name for f in folds] == ["test1", "test2", "test3"]
    tested = [{manifest[i].spk_id for i in f.test} for f in folds]
    assert tested == [{"3"}, {"4"}, {"5"}]
    assert all(f.train.tolist() == folds[0].train.tolist() for f in folds)
    assert summary["in_no_fold"] == 0


@pytest.mark.parametrize(
    ("labels", "nested", "splits"),
    [
        ("labels_consensus.json", "", ("Train", "Development", "Test1")),
        ("labels_concensus.csv", "Audio", ("Train", "Validation", "Test1")),
        ("labels_concensus.json", "1/2", ("train", "validation", "test1")),
    ],
)
def test_the_forms_of_other_releases_give_the_same(tmp_path, labels, nested, splits):
    # The JSON holds some numbers as numbers.
    msp_podcast(tmp_path / "a", rows(("Train", "Development", "Test1")))
    msp_podcast(tmp_path / "b", rows(splits), labels, nested)
    results = []
    for name in "ab":
        prepare_msp_podcast(tmp_path / name, tmp_path / f"save_{name}", **SMALL)
        manifest, folds = prepared(tmp_path / f"save_{name}")
        columns = ("ID", "spk_id", "emotion", "arousal", "valence", "partition")
        results.append((rows_of(manifest, *columns), [f[1].tolist() for f in folds]))
    assert results[0] == results[1]


def test_unknown_speakers_and_numbers_are_empty(tmp_path):
    entries = rows(("Train", "Development", "Test1"), "ASHDN")
    for k in (0, 5, 6, 10):
        entries[k] = changed(entries[k], speaker="Unknown", gender="Unknown")
    entries[1] = changed(entries[1], act="", val="nan")
    data = msp_podcast(tmp_path / "data", entries)
    summary = prepare_msp_podcast(data, tmp_path / "save", **SMALL)
    assert (summary["unknown_speaker"], summary["speakers"]) == (4, 3)
    assert summary["folds"]["test1"]["valid"]["speakers"] == 3
    manifest, (fold,) = prepared(tmp_path / "save")
    assert [manifest[i].spk_id for i in (0, 5, 6, 10)] == [None] * 4
    assert rows_of(manifest, "gender", "arousal", "valence", "dominance")[:2] == [
        ("", "2.2", "4.0", "2.6"),
        ("male", "", "", "2.6"),
    ]
    assert ids(manifest, fold.test) == [name_of(k)[:-4] for k in range(10, 15)]


def test_a_speaker_in_two_partitions_is_named_or_leaves_training(tmp_path):
    entries = rows(("Train", "Train", "Development", "Test1"), "ASHDN")
    entries[0] = changed(entries[0], speaker="3")
    data = msp_podcast(tmp_path / "data", entries)
    message = "fold 'test1': spk_id '3' is in train .*0000_0000'.* and in test "
    with pytest.raises(ValueError, match=message):
        prepare_msp_podcast(data, tmp_path / "save", **SMALL)
    options = {"shared_speakers": "leave_out", **SMALL}
    summary = prepare_msp_podcast(data, tmp_path / "save", **options)
    assert (summary["kept"], summary["in_no_fold"]) == (20, 1)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"code": "Q"},
            r"csv, line 3: unknown emotion code 'Q', expected one of A, S, H, U, F, D, "
            "C, N, O, X",
        ),
        (
            {"split": "Test9"},
            "csv, line 3: unknown partition 'Test9', expected one of train, devel",
        ),
        ({"act": "high"}, "csv, line 3: arousal 'high' is no number"),
        ({"name": name_of(0)}, r"line 3: .*_0000.wav has a label already, .* line 2"),
    ],
)
def test_a_wrong_line_is_named(tmp_path, fields, message):
    entries = rows(codes="ASHDN")
    entries[1] = changed(entries[1], **fields)
    data = msp_podcast(tmp_path / "data", entries)
    with pytest.raises(ValueError, match=message):
        prepare_msp_podcast(data, tmp_path / "save", **SMALL)


def test_a_wrong_entry_is_named(tmp_path):
    entries = rows(codes="ASHDN")
    entries[1] = changed(entries[1], code="Q")
    data = msp_podcast(tmp_path / "data", entries, "labels_consensus.json")
    with pytest.raises(ValueError, match=r"json, MSP-.*_0001.wav: unknown .* 'Q'"):
        prepare_msp_podcast(data, tmp_path / "save", **SMALL)
    other = tmp_path / "other.json"
    other.write_text('{"a.wav": {"EmoClass": "A"}}', encoding="utf-8")
    with pytest.raises(ValueError, match=r"other.json: a.wav has no EmoAct: it"):
        prepare_msp_podcast(data, tmp_path / "save", labels=str(other), **SMALL)


def test_what_is_not_there_is_named(tmp_path):
    data = msp_podcast(tmp_path / "data", rows(codes="ASHDN"))
    (data / "Audios" / name_of(3)).unlink()
    with pytest.raises(ValueError, match=rf"1 labeled .*\n  .*/Audios/{name_of(3)}\n"):
        prepare_msp_podcast(data, tmp_path / "save", **SMALL)
    with pytest.raises(ValueError, match="partition 'test3': the manifest has"):
        prepare_msp_podcast(
            data, tmp_path / "save", test_sets="Test3", allow_missing=True, **SMALL
        )
    with pytest.raises(ValueError, match="test_sets: unknown partition 'Test7'"):
        prepare_msp_podcast(data, tmp_path / "save", test_sets="Test7", **SMALL)
    with pytest.raises(FileNotFoundError, match=r"no Labels/labels_consensus.csv"):
        prepare_msp_podcast(data / "Audios", tmp_path / "save", **SMALL)
    with pytest.raises(FileNotFoundError, match=r"other.csv is no file"):
        prepare_msp_podcast(data, tmp_path / "save", labels="other.csv", **SMALL)
    twice = write(data / "Audios" / "more" / name_of(1), seed=77)
    with pytest.raises(ValueError, match="have the same name: remove one") as error:
        prepare_msp_podcast(data, tmp_path / "save", **SMALL)
    assert twice in str(error.value)


def test_rows_without_a_label_are_counted(tmp_path):
    entries = rows(codes="ASHDN")
    entries.append(changed(entries[0], name=name_of(50), code="", split="Test3"))
    data = msp_podcast(tmp_path / "data", entries)
    summary = prepare_msp_podcast(data, tmp_path / "save", **SMALL)
    assert summary["left_out"]["no_label"]["count"] == 1
    assert summary["kept"] == 20
