"""Unlabelled utterances of a labelled corpus in pretraining."""

import numpy as np
import pytest

from speechbrain_dino.folds import Fold, write_folds
from speechbrain_dino.manifest import Manifest
from speechbrain_dino.unlabelled import add_unlabelled


def rows(names, speakers, seconds=2.0, **more):
    return [
        {
            "ID": name,
            "duration": seconds,
            "wav": f"/c/{name}.wav",
            "start": 0,
            "stop": int(seconds * 16000),
            "spk_id": speaker,
            **more,
        }
        for name, speaker in zip(names, speakers)
    ]


@pytest.fixture
def prepared(tmp_path):
    """Three labelled actors, one of them tested on; one utterance is short."""

    def prepare():
        labelled = rows("efg", "789", emotion="sad")
        labelled += rows("h", "7", seconds=0.5, emotion="sad")
        manifest = Manifest.from_rows(labelled)
        manifest.to_csv(tmp_path / "utterances.csv")
        fold = Fold("fold1", np.array([0, 3]), np.array([1]), np.array([2]))
        write_folds(tmp_path / "folds.json", [fold], manifest, ["sad"])

    return {"prepare": prepare, "folder": tmp_path, "fold": "fold1"}


def test_what_is_not_tested_on_joins_without_labels_and_speakers(prepared):
    known = Manifest.from_rows(rows("ab", "12", speech=None))
    joined = add_unlabelled({}, known, **prepared, min_duration=1.0)
    assert list(joined.ids) == ["a", "b", "e", "f"]
    assert joined.lengths.tolist() == [32000] * 4
    assert [joined[i].spk_id for i in range(4)] == ["1", "2", None, None]
    assert joined[2].wav == "/c/e.wav"
    with pytest.raises(KeyError, match="emotion"):
        joined.column("emotion")
    assert "h" in list(add_unlabelled({}, known, **prepared).ids)


def test_speech_of_the_known_is_kept(prepared):
    known = Manifest.from_rows(rows("ab", "12", speech=np.array([[100, 900]])))
    joined = add_unlabelled({}, known, **prepared)
    assert joined[1].speech.tolist() == [[100, 900]]
    assert joined.lengths.tolist() == [800, 800, 32000, 32000, 8000]


def test_mistakes_are_named(prepared):
    known = Manifest.from_rows(rows("ab", "12"))
    with pytest.raises(ValueError, match=r"fold2.*fold1"):
        add_unlabelled({}, known, **{**prepared, "fold": "fold2"})
    with pytest.raises(ValueError, match="'e'"):
        add_unlabelled({}, Manifest.from_rows(rows("ae", "12")), **prepared)
