"""Utterances, folds and labels of a probe."""

import numpy as np
import pytest
from audio_files import write

from speechbrain_dino.data.fold_makers import Fold
from speechbrain_dino.data.manifest import Manifest
from speechbrain_dino.probing.data import (
    ProbeData,
    divided_data,
    labels_of,
    read_target,
    speakers_of,
)


def table(number=60, **columns):
    """A manifest of 10 speakers, 2 sessions each."""
    rows = []
    for k in range(number):
        row = {"ID": f"u{k:02d}", "duration": 1.0, "wav": f"/c/{k}.wav", "start": 0}
        row |= {"stop": 16000, "spk_id": f"{k % 10}", "session": f"s{k % 20}"}
        row |= {"gender": "fm"[k % 2], "age": str(20 + k % 10 + k % 3 * 0.5)}
        rows.append(row | {name: values[k] for name, values in columns.items()})
    return Manifest.from_rows(rows)


@pytest.fixture
def csv(tmp_path):
    wav = write(tmp_path / "a.wav", 1.0)
    table(wav=[wav] * 60).to_csv(tmp_path / "m.csv")
    return tmp_path / "m.csv"


def data_of(manifest, **changed):
    rows = np.arange(len(manifest))
    fold = Fold("a", rows[:30], rows[30:40], rows[40:])
    return ProbeData(manifest, [fold._replace(**changed)], speakers_of(manifest), "")


def test_folds_by_group_test_everyone_once(csv, tmp_path):
    data = divided_data(csv, tmp_path, "gender", "spk_id", num_folds=4, seed=1)
    assert len(data.folds) == 4 and "no spk_id in two parts (10 of them)" in data.how
    tested = np.concatenate([fold.test for fold in data.folds])
    assert sorted(tested) == list(range(60))
    speakers = np.array([str(s) for s in data.manifest.column("spk_id")])
    for fold in data.folds:
        assert not len(fold.valid)
        assert sorted([*fold.train, *fold.test]) == list(range(60))
        assert not set(speakers[fold.train]) & set(speakers[fold.test])
        assert len({data.manifest.column("gender")[row] for row in fold.test}) == 2


def test_speakers_are_probed_by_session_or_at_random(csv, tmp_path):
    for group in ("session", None):
        data = divided_data(csv, tmp_path, "spk_id", group, num_folds=2)
        target = read_target(data, "spk_id")
        assert len(target.classes) == 10
        for fold in data.folds:
            assert set(target.values[fold.train]) == set(target.values[fold.test])
            if group:
                sessions = np.array(data.groups)
                assert not set(sessions[fold.train]) & set(sessions[fold.test])
    with pytest.raises(ValueError, match="group 'spk_id' is the label as well"):
        divided_data(csv, tmp_path, "spk_id")


def test_columns_that_are_not_there_are_refused_by_name(csv, tmp_path):
    with pytest.raises(ValueError, match=r"no column 'mood'.*gender.*name one of"):
        divided_data(csv, tmp_path, "mood")
    with pytest.raises(ValueError, match=r"no column 'house'.*spk_id"):
        divided_data(csv, tmp_path, "gender", "house")
    with pytest.raises(ValueError, match="label: expected a column"):
        labels_of([])
    with pytest.raises(ValueError, match="kind='both'"):
        read_target(data_of(table()), "gender", "both")


def test_numbers_and_classes():
    data = data_of(table())
    target = read_target(data, "age")
    assert target.classes == [] and target.values.dtype == np.float64
    assert target.values[:4].tolist() == [20.0, 21.5, 23.0, 23.0]
    assert len(read_target(data, "age", "classes").classes) > 10
    # Ten speakers or more whose names are numbers are classes all the same.
    assert read_target(data_of(table(90)), "spk_id").classes == list("0123456789")
    gender = read_target(data, "gender")
    assert gender.classes == ["f", "m"] and gender.values[:3].tolist() == [0, 1, 0]
    with pytest.raises(ValueError, match="gender of 'u00' is no number: 'f'"):
        read_target(data, "gender", "numbers")


@pytest.mark.parametrize("empty", ["", "nan", "None"])
def test_empty_labels_are_an_error_or_left_out(empty):
    moods = np.array(["sad", "glad"] * 30, dtype=object)
    moods[[3, 35, 36, 50]] = empty
    data = data_of(table(mood=moods))
    with pytest.raises(ValueError, match="4 of 60 utterances have no mood, such as"):
        read_target(data, "mood")
    target = read_target(data, "mood", leave_out_unlabeled=True)
    assert target.classes == ["glad", "sad"] and target.left_out == 4
    (fold,) = target.folds
    assert [len(rows) for rows in fold[1:]] == [29, 8, 19]
    assert not {3, 35, 36, 50} & set(np.concatenate(fold[1:]))
    assert (target.values[np.concatenate(fold[1:])] >= 0).all()
    # What is in no fold needs no label.
    parts = [np.setdiff1d(rows, [3, 35, 36, 50]) for rows in data.folds[0][1:]]
    assert read_target(data._replace(folds=[Fold("a", *parts)]), "mood").left_out == 0


def test_labels_that_cannot_be_learned_are_refused():
    same = table(mood=["sad"] * 60)
    with pytest.raises(ValueError, match=r"mood has 1 class \['sad'\]"):
        read_target(data_of(same), "mood")
    late = table(mood=["sad", "glad"] * 25 + ["afraid"] * 10)
    with pytest.raises(ValueError, match=r"'a': 1 classes are tested .* 'afraid'"):
        read_target(data_of(late), "mood")
    with pytest.raises(ValueError, match="'a': the test part is empty"):
        read_target(data_of(table(), test=np.zeros(0, int)), "gender")
