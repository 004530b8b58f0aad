"""What folds must not be, and the file that holds them."""

import json

import numpy as np
import pytest
from emotion_trees import as_sets, manifest_of, shuffled

from speechbrain_dino.data.folds import (
    Fold,
    check_folds,
    groups_of,
    read_folds,
    write_folds,
)

ROWS = [
    ("a1", "ann", "1", "female", "sad"),
    ("a2", "ann", "1", "female", "angry"),
    ("b1", "ben", "1", "male", "sad"),
    ("b2", "ben", "1", "male", "angry"),
    ("c1", "cleo", "2", "female", "sad"),
    ("c2", "cleo", "2", "female", "angry"),
    ("u1", "Unknown", "2", "", "sad"),
    ("u2", "", "2", "", "sad"),
    ("u3", "unknown", "2", "", "sad"),
]
GOOD = ([0, 1, 6], [2, 3, 7], [4, 5, 8])


def fold(train, valid, test, name="one"):
    return Fold(name, *(np.array(rows, np.int64) for rows in (train, valid, test)))


def test_unknown_speakers_are_groups_of_their_own():
    groups = groups_of(manifest_of(ROWS))
    assert groups.tolist()[:6] == ["ann", "ann", "ben", "ben", "cleo", "cleo"]
    assert len(set(groups[6:])) == 3
    folds = [fold(*GOOD)]
    assert check_folds(folds, manifest_of(ROWS)) is folds


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (
            ([0, 2, 3], [1], [4, 5]),
            r"fold 'one': spk_id 'ann' is in train \(such as 'a1'\) and in valid "
            r"\(such as 'a2'\)$",
        ),
        (
            ([0, 1], [2], [3, 4]),
            r"spk_id 'ben' is in valid .*'b1'\) and in test .*'b2'",
        ),
        (
            ([0, 2, 5], [6], [1, 3, 4]),
            r"spk_id 'ann' is in train .* and in test .*, and 2 more",
        ),
        (([0, 1], [], [4, 5]), "fold 'one': no utterance in valid"),
        (([], [2], [4, 5]), "no utterance in train"),
        (([0, 2], [6], [4, 5]), "no utterance of the class 'angry' in train"),
        (
            ([0, 1], [2, 2], [4]),
            "utterance 'b1' occurs 2 times, in valid and in valid",
        ),
        (([0, 1], [2], [0]), "utterance 'a1' occurs 2 times, in train and in test"),
        (([0, 1], [2], [9]), "rows 9 to 9 in test, but the manifest has 9 rows"),
        (([0, 1], [2], [-1]), "rows -1 to -1 in test"),
    ],
)
def test_a_wrong_fold_is_named(parts, message):
    with pytest.raises(ValueError, match=message):
        check_folds([fold(*GOOD, name="good"), fold(*parts)], manifest_of(ROWS))


def test_classes_and_names_are_checked():
    manifest = manifest_of(ROWS)
    with pytest.raises(ValueError, match="train has the class 'angry', which is none"):
        check_folds([fold(*GOOD)], manifest, labels=["sad", "happy"])
    with pytest.raises(ValueError, match="class 'happy' in train"):
        check_folds([fold(*GOOD)], manifest, labels=["sad", "angry", "happy"])
    with pytest.raises(ValueError, match="two folds have the name 'one'"):
        check_folds([fold(*GOOD), fold(*GOOD)], manifest)
    with pytest.raises(ValueError, match="there is no fold"):
        check_folds([], manifest)


def test_a_class_missing_in_test_is_warned_of(caplog):
    check_folds([fold([0, 1], [2, 3], [4])], manifest_of(ROWS))
    assert caplog.messages == ["fold one: no angry in test"]


def test_file_names_the_rows_whatever_their_order(tmp_path):
    manifest = manifest_of(ROWS)
    write_folds(tmp_path / "folds.json", [fold(*GOOD)], manifest, ["sad", "angry"])
    assert json.loads((tmp_path / "folds.json").read_text(encoding="utf-8")) == {
        "folds": [
            {
                "name": "one",
                "train": ["a1", "a2", "u1"],
                "valid": ["b1", "b2", "u2"],
                "test": ["c1", "c2", "u3"],
            }
        ],
        "group": "spk_id",
        "labels": ["sad", "angry"],
    }
    other = shuffled(manifest, 3)
    folds = read_folds(tmp_path / "folds.json", other)
    assert as_sets(folds, other) == as_sets([fold(*GOOD)], manifest)
    assert all(rows.dtype == np.int64 for rows in folds[0][1:])
    same = read_folds(tmp_path / "folds.json", manifest)[0]
    assert [rows.tolist() for rows in same[1:]] == [list(rows) for rows in GOOD]


def test_a_file_that_was_changed_is_refused(tmp_path):
    manifest, path = manifest_of(ROWS), tmp_path / "folds.json"
    write_folds(path, [fold(*GOOD)], manifest, ["sad", "angry"])
    good = json.loads(path.read_text(encoding="utf-8"))

    def changed(**parts):
        path.write_text(
            json.dumps(good | {"folds": [good["folds"][0] | parts]}), encoding="utf-8"
        )

    changed(test=["c1", "c9", "c8"])
    with pytest.raises(ValueError, match=r"fold 'one' has 2 IDs in test .* 'c9'"):
        read_folds(path, manifest)
    changed(test=["c1", "a2"], train=["a1", "b2"], valid=["b1"])
    with pytest.raises(ValueError, match="spk_id 'ben' is in train"):
        read_folds(path, manifest)
    path.write_text(json.dumps({"folds": []}), encoding="utf-8")
    with pytest.raises(ValueError, match=r"lacks \['group', 'labels'\]"):
        read_folds(path, manifest)
