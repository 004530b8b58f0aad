"""IEMOCAP's label files, speakers, classes and folds."""

import itertools
import json
import shutil

import pytest
from audio_files import write
from emotion_trees import SMALL, ids, iemocap, iemocap_file, linked, rows_of

from speechbrain_dino.corpora.iemocap import (
    CODES,
    SESSIONS,
    prepare_iemocap,
    read_evaluation,
)
from speechbrain_dino.data.fold_makers import read_folds
from speechbrain_dino.data.manifest import Manifest

FOUR = ["ang", "exc", "neu", "sad"]


def small(folder, codes=FOUR, extra=()):
    """Every speaker says every code in an improvised dialog."""
    turns = [
        (f"Ses0{s}F_impro01_{g}{k:03d}", code)
        for s in range(1, 6)
        for g in "FM"
        for k, code in enumerate(codes)
    ]
    return iemocap(folder, [*turns, *extra])


def prepared(folder):
    manifest = Manifest.from_csv(folder / "utterances.csv")
    return manifest, read_folds(folder / "folds.json", manifest)


def test_every_code_becomes_a_column_or_is_counted(tmp_path):
    extra = [
        ("Ses01F_impro01_F010", "hap", "[4.5000, 3.0000, 1.3333]"),
        ("Ses01M_script01_1_F000", "hap"),
        ("Ses05M_script01_1b_M000", "ang", "[1.0000, nan, 5.0000]"),
        ("Ses02F_impro08_FXX0", "xxx"),
        ("Ses02F_impro08_FXX1", "xxx"),
        ("Ses02F_impro08_F002", "oth"),
        ("Ses02F_impro08_F003", "fru"),
        ("Ses02F_impro08_F004", "sur"),
        ("Ses02F_impro08_F005", "fea"),
        ("Ses02F_impro08_F006", "dis"),
    ]
    data = small(tmp_path / "data", extra=extra)
    summary = prepare_iemocap(data, tmp_path / "save", **SMALL)
    manifest, _ = prepared(tmp_path / "save")
    assert summary["kept"] == len(manifest) == 43
    assert summary["classes"] == {"angry": 11, "happy": 12, "neutral": 10, "sad": 10}
    assert {k: v["count"] for k, v in summary["left_out"].items()} == {
        "hidden": 8,
        "emotion_no_agreement": 2,
        "emotion_other": 1,
        "emotion_frustrated": 1,
        "emotion_surprise": 1,
        "emotion_fear": 1,
        "emotion_disgust": 1,
    }
    table = rows_of(
        manifest, "ID", "spk_id", "emotion", "gender", "session", "script",
        "valence", "arousal", "dominance",
    )  # fmt: skip
    by_id = {row[0]: row[1:] for row in table}
    assert by_id["Ses01F_impro01_F010"] == (
        "Ses01F", "happy", "female", "Session1", "improvised",
        "4.5000", "3.0000", "1.3333",
    )  # fmt: skip
    assert by_id["Ses01M_script01_1_F000"][:5] == (
        "Ses01F", "happy", "female", "Session1", "scripted"
    )  # fmt: skip
    assert by_id["Ses05M_script01_1b_M000"] == (
        "Ses05M", "angry", "male", "Session5", "scripted", "1.0000", "", "5.0000"
    )  # fmt: skip
    # The speaker of a turn in a dialog that is named by the other one.
    assert by_id["Ses01F_impro01_M001"][:3] == ("Ses01M", "happy", "male")
    where = "Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_M001.wav"
    wavs = {row.id: row.wav for row in manifest}
    assert wavs["Ses01F_impro01_M001"] == str(data / where)


def test_folds_leave_a_session_or_a_speaker_out(tmp_path):
    data = small(tmp_path / "data")
    summary = prepare_iemocap(data, tmp_path / "save", **SMALL)
    manifest, folds = prepared(tmp_path / "save")
    assert [f.name for f in folds] == [f"Session{s}" for s in range(1, 6)]
    held = ["Ses02F", "Ses03M", "Ses04F", "Ses05M", "Ses01F"]
    for k, fold in enumerate(folds):
        test = {manifest[i].spk_id for i in fold.test}
        assert test == {f"Ses0{k + 1}F", f"Ses0{k + 1}M"}
        assert {manifest[i].spk_id for i in fold.valid} == {held[k]}
        assert [len(part) for part in fold[1:]] == [28, 4, 8]
    assert "validation on one speaker of the others" in summary["how"]
    options = {"leave_out": "speaker", "validation": "session"}
    prepare_iemocap(data, tmp_path / "ten", **options, **SMALL)
    manifest, folds = prepared(tmp_path / "ten")
    assert [len(folds), folds[3].name] == [10, "Ses02M"]
    assert {name[:6] for name in ids(manifest, folds[3].valid)} == {"Ses02F"}
    assert [len(part) for part in folds[3][1:]] == [32, 4, 4]


def test_excited_alone_or_left_out(tmp_path):
    data = small(tmp_path / "data", codes=["hap", *FOUR])
    options = {"merge_excited": False, **SMALL}
    summary = prepare_iemocap(data, tmp_path / "a", **options)
    assert summary["classes"]["happy"] == 10
    assert summary["left_out"]["emotion_excited"]["count"] == 10
    five = ["angry", "excited", "happy", "neutral", "sad"]
    summary = prepare_iemocap(data, tmp_path / "b", five, **options)
    assert summary["classes"] == dict.fromkeys(five, 10)
    assert (
        json.loads((tmp_path / "b" / "folds.json").read_text(encoding="utf-8"))[
            "labels"
        ]
        == five
    )
    with pytest.raises(ValueError, match="classes="):
        prepare_iemocap(data, tmp_path / "c", five, merge_excited=True, **SMALL)


def test_all_classes_are_those_with_a_name(tmp_path):
    data = small(tmp_path / "data", codes=list(CODES))
    summary = prepare_iemocap(data, tmp_path / "a", "all", merge_excited=False, **SMALL)
    assert summary["classes"] == {
        "neutral": 10, "happy": 10, "sad": 10, "angry": 10, "surprise": 10,
        "fear": 10, "disgust": 10, "frustrated": 10, "excited": 10,
    }  # fmt: skip
    summary = prepare_iemocap(data, tmp_path / "b", "all", **SMALL)
    assert summary["classes"]["happy"] == 20
    assert "excited" not in summary["classes"]


def test_improvised_or_scripted_alone(tmp_path):
    turns = [
        (f"Ses0{s}M_script02_{g}{k:03d}", code)
        for s in range(1, 6)
        for g in "FM"
        for k, code in enumerate(FOUR)
    ]
    data = small(tmp_path / "data", extra=turns)
    for script, other in itertools.permutations(("improvised", "scripted")):
        save = tmp_path / script
        summary = prepare_iemocap(data, save, script=script, **SMALL)
        assert set(prepared(save)[0].column("script")) == {script}
        assert (summary["kept"], summary["left_out"][other]["count"]) == (40, 40)
    assert prepare_iemocap(data, tmp_path / "all", **SMALL)["kept"] == 80
    with pytest.raises(ValueError, match="script='impro': expected one of all, impro"):
        prepare_iemocap(data, tmp_path / "x", script="impro", **SMALL)


def broken(folder, line, dialog="Ses01F_impro01"):
    path = folder / "Session1/dialog/EmoEvaluation" / f"{dialog}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"% header\n\n{line}\n", encoding="utf-8")
    return str(path)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "[6.1 - 8.2]\tSes01F_impro01_F000\tjoy\t[2.5, 2.5, 2.5]",
            "line 3: unknown emotion code 'joy', expected one of neu, hap, sad, ang, "
            "sur, fea, dis, fru, exc, oth, xxx",
        ),
        ("[6.1 - 8.2]\tSes01F_impro01_F000\tneu", "line 3: '.6.1 .* is no turn"),
        ("[6.1 - 8.2]\tSes01F_impro01_F000\tneu\t[2.5, 2.5]", "line 3: .* is no turn"),
        (
            "[6.1 - 8.2]\tSes01F_impro02_F000\tneu\t[2.5, 2.5, 2.5]",
            "line 3: 'Ses01F_impro02_F000' is no turn of the dialog Ses01F_impro01",
        ),
        (
            "[6.1 - 8.2]\tSes01F_impro01_X000\tneu\t[2.5, 2.5, 2.5]",
            "line 3: 'Ses01F_impro01_X000' is no turn",
        ),
        (
            "[6.1 - 8.2]\tSes01F_impro01_F000\tneu\t[2.5, 2.5, 2.5]\n" * 2,
            "line 4: the turn Ses01F_impro01_F000 has a label already, in .* line 3",
        ),
    ],
)
def test_a_wrong_line_is_named(tmp_path, line, message):
    path = broken(tmp_path, line)
    with pytest.raises(ValueError, match=message) as error:
        prepare_iemocap(tmp_path, tmp_path / "save", **SMALL)
    assert str(error.value).startswith(f"{path}, line ")


def test_a_dialog_in_another_session_is_named(tmp_path):
    turn = "[6.1 - 8.2]\tSes02F_impro01_F000\tneu\t[2, 2, 2]"
    broken(tmp_path, turn, "Ses02F_impro01")
    with pytest.raises(ValueError, match=r"no turn of the dialog .* in Session1"):
        prepare_iemocap(tmp_path, tmp_path / "save", **SMALL)


def test_raters_and_comments_are_no_turns(tmp_path):
    path = tmp_path / "Ses01F_impro01.txt"
    turn = ("Ses01F_impro01_F000", "xxx", "[2.5000, -1.0000, 2.0000]")
    iemocap_file(path, [turn, ("Ses01F_impro01_M000", "neu", "[3, 3, 3]")])
    assert read_evaluation(path) == [
        (3, ("0.2901", "1.2357", turn[0], "xxx", "2.5000", "-1.0000", "2.0000")),
        (9, ("1.2901", "2.2357", "Ses01F_impro01_M000", "neu", "3", "3", "3")),
    ]


def test_what_is_missing_is_named(tmp_path):
    data = small(tmp_path / "data")
    shutil.rmtree(data / "Session3")
    with pytest.raises(ValueError, match="10039 labeled turns, here are 32") as error:
        prepare_iemocap(data, tmp_path / "save", num_workers=1)
    assert "Session3: 0 of 2136 turns" in str(error.value)
    assert "happy: 8 of 1636 turns" in str(error.value)
    wav = data / "Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_F000.wav"
    wav.unlink()
    summary = prepare_iemocap(data, tmp_path / "save", **SMALL)
    assert summary["left_out"]["missing"] == {
        "count": 1,
        "example": str(wav),
        "remedy": "restore the file, or take it out of the list",
    }
    with pytest.raises(FileNotFoundError, match="no Session1 to Session5"):
        prepare_iemocap(data / "Session1", tmp_path / "save", **SMALL)


def whole_release(folder, audio):
    """As many turns of each code and session as the release has, one audio for all."""
    codes = [code for code, (_, turns) in CODES.items() for _ in range(turns)]
    # Codes spread over the sessions.
    codes = iter([code for k in range(31) for code in codes[k::31]])
    wavs = []
    for session, turns in SESSIONS.items():
        half = turns // 2
        dialogs = {"F_impro01": half, "M_script01": turns - half}
        for dialog, count in dialogs.items():
            dialog = f"Ses0{session}{dialog}"
            names = [f"{dialog}_{'FM'[k % 2]}{k:04d}" for k in range(count)]
            entries = [
                (name, next(codes), "[2.5000, 2.5000, 2.5000]") for name in names
            ]
            root = folder / "IEMOCAP_full_release" / f"Session{session}"
            iemocap_file(root / "dialog/EmoEvaluation" / f"{dialog}.txt", entries)
            wavs += [
                root / "sentences/wav" / dialog / f"{name}.wav"
                for name, code, _ in entries
                if code in ("neu", "hap", "exc", "sad", "ang")
            ]
    linked(audio, wavs)
    return folder


def test_the_whole_release_has_5531_turns_of_four_classes(tmp_path):
    data = whole_release(tmp_path / "data", write(tmp_path / "a.wav", 0.5))
    options = {"check": "headers", "num_workers": 1}
    summary = prepare_iemocap(data, tmp_path / "save", **options)
    assert summary["kept"] == 5531
    assert summary["classes"] == {
        "angry": 1103, "happy": 1636, "neutral": 1708, "sad": 1084
    }  # fmt: skip
    left_out = {k: v["count"] for k, v in summary["left_out"].items()}
    assert sum(left_out.values()) == 10039 - 5531
    assert left_out["emotion_no_agreement"] == 2507
    _, folds = prepared(tmp_path / "save")
    assert sum(len(f.test) for f in folds) == 5531
    evaluation = "IEMOCAP_full_release/Session2/dialog/EmoEvaluation"
    path = data / evaluation / "Ses02F_impro01.txt"
    text = path.read_text(encoding="latin-1")
    path.write_text(text.replace("\tfea\t", "\tsad\t", 1), encoding="utf-8")
    with pytest.raises(ValueError, match=r"sad: 1085 of 1084 turns\n  fear: 39 of 40"):
        prepare_iemocap(data, tmp_path / "save", **options)
