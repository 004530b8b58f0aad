"""CREMA-D's names, tables, labels and actors; the same form with other audio."""

import csv
import shutil
from collections import Counter

import pytest
from audio_files import write
from emotion_trees import crema_d, ids, linked, rows_of

from speechbrain_dino.corpora import crema_d as module
from speechbrain_dino.corpora.crema_d import prepare_crema_d
from speechbrain_dino.corpora.crema_d_tables import read_votes
from speechbrain_dino.corpora.preparation import read_summary
from speechbrain_dino.data.fold_makers import read_folds
from speechbrain_dino.data.manifest import Manifest

SMALL = {"num_workers": 1, "valid_actors": 1, "test_actors": 1}
PEOPLE = {
    1001: (51, "Male"),
    1002: (21, "Female"),
    1003: (33, "Male"),
    1004: (42, "Female"),
}
CODES = ("ANG", "DIS", "FEA", "HAP", "NEU", "SAD")
NAMES = [f"{actor}_DFA_{code}_XX" for actor in PEOPLE for code in CODES]
COLUMNS = ("spk_id", "emotion", "gender", "age", "sentence", "level")


def prepared(folder):
    manifest = Manifest.from_csv(folder / "utterances.csv")
    return manifest, read_folds(folder / "folds.json", manifest)


def test_names_and_tables_become_columns(tmp_path):
    more = ["1001_IEO_ANG_HI", "1002_IEO_SAD_LO.flac", "1003_ITH_SAD_X"]
    data = crema_d(tmp_path / "data", NAMES + more, people=PEOPLE)
    (data / "AudioWAV" / "._1001_IEO_ANG_HI.wav").write_bytes(b"Mac OS X")
    write(data / "AudioWAV" / "notes.wav", seed=90)
    write(data / "AudioWAV" / "1001_IEO_ANG_HI.flac", seed=91)
    sentences = [*NAMES, "1001_IEO_ANG_HI", "1002_IEO_SAD_LO", "1003_ITH_SAD_XX"]
    crema_d(data, [], sentences=sentences)
    summary = prepare_crema_d(data, tmp_path / "save", **SMALL)
    manifest, folds = prepared(tmp_path / "save")
    assert summary["classes"] == {"angry": 5, "happy": 4, "neutral": 4, "sad": 6}
    assert {k: v["count"] for k, v in summary["left_out"].items()} == {
        "emotion_disgust": 4,
        "emotion_fear": 4,
        "hidden": 1,
        "other_name": 1,
        "other_format": 1,
    }
    by_id = dict(zip(manifest.ids, rows_of(manifest, *COLUMNS)))
    assert by_id["1001_IEO_ANG_HI"] == ("1001", "angry", "male", "51", "IEO", "HI")
    assert by_id["1002_IEO_SAD_LO"] == ("1002", "sad", "female", "21", "IEO", "LO")
    assert by_id["1003_ITH_SAD_XX"] == ("1003", "sad", "male", "33", "ITH", "XX")
    wavs = {row.id: row.wav.rsplit("/", 1)[1] for row in manifest}
    assert wavs["1003_ITH_SAD_XX"] == "1003_ITH_SAD_X.wav"
    assert wavs["1001_IEO_ANG_HI"] == "1001_IEO_ANG_HI.wav"
    assert [f.name for f in folds] == ["disjoint"]
    assert [len({i[:4] for i in ids(manifest, part)}) for part in folds[0][1:]] == [
        2, 1, 1
    ]  # fmt: skip


def test_labels_by_vote(tmp_path):
    votes = dict.fromkeys(NAMES, ("N", "N"))
    # Training needs every class from every actor that may be drawn.
    for actor in PEOPLE:
        votes |= {
            f"{actor}_DFA_ANG_XX": ("A", "A"),
            f"{actor}_DFA_HAP_XX": ("H", "A"),
            f"{actor}_DFA_SAD_XX": ("S", "S"),
            f"{actor}_DFA_FEA_XX": ("N", "H"),
        }
    votes |= {"1001_DFA_DIS_XX": ("A:D", "D"), "1002_DFA_DIS_XX": ("F:N:S", "A:D:H:N")}
    data = crema_d(tmp_path / "data", NAMES, people=PEOPLE, votes=votes)
    voice = prepare_crema_d(data, tmp_path / "a", label="VoiceVote", **SMALL)
    assert voice["classes"] == {"angry": 4, "happy": 4, "neutral": 10, "sad": 4}
    assert voice["left_out"]["emotion_no_agreement"] == {
        "count": 2,
        "example": str(data / "AudioWAV" / "1001_DFA_DIS_XX.wav"),
        "remedy": "none needed: the raters did not agree on an emotion",
    }
    both = prepare_crema_d(data, tmp_path / "b", label="MultiModalVote", **SMALL)
    assert both["classes"] == {"angry": 8, "happy": 4, "neutral": 6, "sad": 4}
    left_out = {k: v["count"] for k, v in both["left_out"].items()}
    assert left_out == {"emotion_disgust": 1, "emotion_no_agreement": 1}
    intended = prepare_crema_d(data, tmp_path / "c", **SMALL)
    assert set(intended["classes"].values()) == {4}


def test_what_cannot_be_is_named(tmp_path):
    data = crema_d(tmp_path / "data", NAMES, people=PEOPLE)
    with pytest.raises(ValueError, match="label='acted': expected one of intended"):
        prepare_crema_d(data, tmp_path / "save", label="acted", **SMALL)
    with pytest.raises(FileNotFoundError, match=r"summaryTable.csv is not in .*data"):
        prepare_crema_d(data, tmp_path / "save", label="VoiceVote", **SMALL)
    with pytest.raises(FileNotFoundError, match="has no folder AudioWAV"):
        prepare_crema_d(data / "AudioWAV", tmp_path / "save", **SMALL)
    with pytest.raises(FileNotFoundError, match=r"other.csv is not in"):
        prepare_crema_d(data, tmp_path / "save", demographics="other.csv", **SMALL)
    votes = dict.fromkeys(NAMES, ("N", "N")) | {NAMES[3]: ("N:Q", "N")}
    crema_d(data, [], votes=votes)
    where = r"summaryTable.csv, line 5: unknown emotion code 'Q', expected one of A, D"
    with pytest.raises(ValueError, match=where):
        prepare_crema_d(data, tmp_path / "save", label="VoiceVote", **SMALL)
    crema_d(data, [], votes=dict.fromkeys(NAMES[1:], ("N", "N")))
    with pytest.raises(ValueError, match=f"{NAMES[0]}.wav has no vote in"):
        prepare_crema_d(data, tmp_path / "save", label="VoiceVote", **SMALL)
    crema_d(data, [], sentences=[*NAMES, "1001-DFA"])
    with pytest.raises(ValueError, match=r"SentenceFilenames.csv, line 26: '1001-DFA'"):
        prepare_crema_d(data, tmp_path / "save", **SMALL)


def test_an_unknown_emotion_or_actor_is_named(tmp_path):
    data = crema_d(tmp_path / "data", [*NAMES, "1001_DFA_JOY_XX"], people=PEOPLE)
    crema_d(data, [], sentences=NAMES)
    with pytest.raises(ValueError, match=r"1001_DFA_JOY_XX.wav: unknown .* 'JOY', exp"):
        prepare_crema_d(data, tmp_path / "save", **SMALL)
    (data / "AudioWAV" / "1001_DFA_JOY_XX.wav").unlink()
    crema_d(data, ["1009_DFA_SAD_XX"])
    with pytest.raises(ValueError, match=r"actor 1009 is not in .*Demographics"):
        prepare_crema_d(data, tmp_path / "save", **SMALL)
    summary = prepare_crema_d(data, tmp_path / "save", demographics=None, **SMALL)
    assert summary["kept"] == 17
    assert set(prepared(tmp_path / "save")[0].column("gender")) == {""}


def test_missing_files_are_named_by_the_tables(tmp_path):
    data = crema_d(tmp_path / "data", NAMES[1:], people=PEOPLE, sentences=NAMES)
    with pytest.raises(ValueError, match=r"1 labeled .*\n.*1001_DFA_ANG_XX.wav\n"):
        prepare_crema_d(data, tmp_path / "save", **SMALL)
    options = SMALL | {"allow_missing": True}
    summary = prepare_crema_d(data, tmp_path / "save", **options)
    assert summary["left_out"]["missing"]["count"] == 1
    (data / "SentenceFilenames.csv").unlink()
    crema_d(data, [], votes=dict.fromkeys(NAMES, ("N", "N")))
    with pytest.raises(ValueError, match=r"1001_DFA_ANG_XX.wav\n"):
        prepare_crema_d(data, tmp_path / "save", **SMALL)


def test_without_tables_the_release_is_known_by_its_numbers(tmp_path, caplog):
    data = crema_d(tmp_path / "data", NAMES)
    options = SMALL | {"demographics": None}
    with pytest.raises(ValueError, match="7442 files of 91 actors, here are 24 of 4; "):
        prepare_crema_d(data, tmp_path / "save", **options)
    prepare_crema_d(data, tmp_path / "save", **(options | {"allow_missing": True}))
    assert "these actors are missing: 1005, 1006, 1007" in caplog.messages[0]


def test_lfs_pointers_are_named(tmp_path):
    data = crema_d(tmp_path / "data", NAMES, people=PEOPLE, sentences=NAMES)
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 70414\n"
    for name in NAMES[:2]:
        (data / "AudioWAV" / f"{name}.wav").write_text(pointer, encoding="utf-8")
    with pytest.raises(ValueError, match=r"2 files in .* are Git LFS pointers"):
        prepare_crema_d(data, tmp_path / "save", **SMALL)


def test_a_silent_and_a_short_file_are_left_out(tmp_path):
    data = crema_d(tmp_path / "data", NAMES, people=PEOPLE, sentences=NAMES)
    write(data / "AudioWAV" / f"{NAMES[0]}.wav", samples=[0.0] * 8000)
    write(data / "AudioWAV" / f"{NAMES[3]}.wav", seconds=0.05)
    shutil.copy(*(data / "AudioWAV" / f"{NAMES[k]}.wav" for k in (16, 17)))
    options = SMALL | {"classes": "all", "num_folds": 4}
    summary = prepare_crema_d(data, tmp_path / "save", **options)
    assert {k: v["count"] for k, v in summary["left_out"].items()} == {
        "conflicting_copies": 2,
        "silent": 1,
        "too_short": 1,
    }


@pytest.fixture(scope="module")
def real_tables(shared_data, tmp_path_factory):
    """CREMA-D's own tables, and one audio in the place of its 7,442 files."""
    data = tmp_path_factory.mktemp("crema") / "data"
    (data / "processedResults").mkdir(parents=True)
    tables = shared_data / "crema_d_csv"
    shutil.copy(tables / "summaryTable.csv", data / "processedResults")
    for name in ("SentenceFilenames.csv", "VideoDemographics.csv"):
        shutil.copy(tables / name, data)
    with open(data / "SentenceFilenames.csv", encoding="utf-8") as file:
        names = [row["Filename"] for row in csv.DictReader(file)]
    # The one file whose name differs from the tables.
    names[names.index("1040_ITH_SAD_XX")] = "1040_ITH_SAD_X"
    audio = write(data.parent / "a.wav", 0.5)
    linked(audio, [data / "AudioWAV" / f"{name}.wav" for name in names])
    return data


@pytest.fixture(scope="module")
def real(real_tables):
    save = real_tables.parent / "save"
    options = {"check": "headers", "num_workers": 1}
    return prepare_crema_d(real_tables, save, **options), *prepared(save)


def test_the_real_tables_give_the_real_numbers(real_tables, real):
    summary, manifest, _ = real
    assert summary["classes"] == {
        "angry": 1271, "happy": 1271, "neutral": 1087, "sad": 1271
    }  # fmt: skip
    assert (summary["kept"], summary["speakers"]) == (4900, 91)
    left_out = {k: v["count"] for k, v in summary["left_out"].items()}
    assert left_out == {"emotion_disgust": 1271, "emotion_fear": 1271}
    people = set(rows_of(manifest, "spk_id", "gender"))
    assert Counter(sex for _, sex in people) == {"male": 48, "female": 43}
    votes = read_votes(real_tables / "processedResults/summaryTable.csv", "VoiceVote")
    assert Counter(votes.values()) == {
        "neutral": 3897, "angry": 986, "fear": 645, "disgust": 547, "sad": 370,
        "happy": 353, "no_agreement": 644,
    }  # fmt: skip


TEST_ACTORS = [
    1003, 1004, 1005, 1006, 1008, 1017, 1021, 1025, 1027, 1029, 1030, 1034, 1035, 1036,
    1037, 1044, 1048, 1049, 1056, 1058, 1059, 1062, 1065, 1068, 1069, 1076, 1080, 1084,
    1085, 1086, 1090, 1091,
]  # fmt: skip
VALID_ACTORS = [1018, 1031, 1032, 1042, 1047, 1060, 1071, 1079]


def test_the_real_actors_are_divided_51_8_32(real):
    _, manifest, (fold,) = real
    parts = [{int(manifest[i].spk_id) for i in part} for part in fold[1:]]
    assert [len(part) for part in parts] == [51, 8, 32]
    assert len(set.union(*parts)) == 91
    assert sorted(parts[2]) == TEST_ACTORS
    assert sorted(parts[1]) == VALID_ACTORS
    sex = dict(rows_of(manifest, "spk_id", "gender"))
    men = [sum(sex[str(actor)] == "male" for actor in part) for part in parts]
    assert men == [27, 4, 17]


def test_the_real_files_missing_are_named(real_tables):
    audio = real_tables / "AudioWAV" / "1076_MTI_SAD_XX.wav"
    audio.rename(real_tables / "moved")
    with pytest.raises(ValueError, match=r"1 labeled .*\n.*/1076_MTI_SAD_XX.wav\n"):
        prepare_crema_d(real_tables, real_tables.parent / "other", check="headers")
    (real_tables / "moved").rename(audio)  # for the tests after this one


def test_real_speech_under_such_names(shared_data, tmp_path):
    options = {
        "classes": "all",
        "demographics": "labels.csv",
        "num_folds": 6,
        "valid_actors": 4,
        "num_workers": 1,
    }
    data = shared_data / "emotion_mini"
    summary = prepare_crema_d(data, tmp_path / "a", check="headers", **options)
    assert (summary["kept"], summary["speakers"]) == (1056, 24)
    assert summary["classes"] == {
        "angry": 192, "disgust": 192, "fear": 192, "happy": 192, "neutral": 96,
        "sad": 192,
    }  # fmt: skip
    # One recording is in RAVDESS twice, under two repetitions.
    full = prepare_crema_d(data, tmp_path / "b", **options)
    assert full["left_out"]["duplicate"]["count"] == 1056 - full["kept"] == 1
    manifest, folds = prepared(tmp_path / "a")
    with open(data / "labels.csv", encoding="utf-8") as file:
        expected = {
            row["file"].removesuffix(".flac"): (
                row["speaker"],
                row["emotion"].replace("fearful", "fear"),
                row["gender"],
            )
            for row in csv.DictReader(file)
        }
    by_id = dict(zip(manifest.ids, rows_of(manifest, "spk_id", "emotion", "gender")))
    assert by_id == expected
    tested = Counter()
    for fold in folds:
        parts = [{manifest[i].spk_id for i in part} for part in fold[1:]]
        assert [len(part) for part in parts] == [16, 4, 4]
        assert len(set.union(*parts)) == 24
        assert sum(int(actor) % 2 for actor in parts[2]) == 2
        tested.update(parts[2])
    assert set(tested.values()) == {1} and len(tested) == 24


def test_download_fetches_before_preparing(tmp_path, monkeypatch):
    data = crema_d(tmp_path / "data", NAMES[1:], people=PEOPLE, sentences=NAMES)
    asked = []

    def fetch(*arguments):
        asked.append(arguments)
        crema_d(data, NAMES[:1])

    monkeypatch.setattr(module, "fetch", fetch)
    options = SMALL | {"download": True, "audio_url": "http://a", "connections": 3}
    summary = prepare_crema_d(data, tmp_path / "save", **options)
    assert asked == [(data, "http://a", module.TABLES_URL, 3)]
    assert "missing" not in summary["left_out"]
    assert "audio_url" not in read_summary(tmp_path / "save")["arguments"]
