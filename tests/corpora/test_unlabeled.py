"""Unlabeled utterances of a labeled corpus in pretraining."""

from itertools import product

import numpy as np
import pytest
import recipe_runs as runs
import soundfile

from speechbrain_dino.corpora.utterances import add_unlabeled
from speechbrain_dino.data.fold_makers import Fold, write_folds
from speechbrain_dino.data.manifest import Manifest
from speechbrain_dino.runs.command_line import run_emotion


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
    """Three labeled actors, one of them tested on; one utterance is short."""

    def prepare():
        labeled = rows("efg", "789", emotion="sad")
        labeled += rows("h", "7", seconds=0.5, emotion="sad")
        manifest = Manifest.from_rows(labeled)
        manifest.to_csv(tmp_path / "utterances.csv")
        fold = Fold("fold1", np.array([0, 3]), np.array([1]), np.array([2]))
        write_folds(tmp_path / "folds.json", [fold], manifest, ["sad"])

    return {"prepare": prepare, "folder": tmp_path, "fold": "fold1"}


def test_what_is_not_tested_on_joins_without_labels_and_speakers(prepared):
    training = Manifest.from_rows(rows("ab", "12", speech=None))
    joined = add_unlabeled({}, training, **prepared, min_duration=1.0)
    assert list(joined.ids) == ["a", "b", "e", "f"]
    assert joined.lengths.tolist() == [32000] * 4
    assert [joined[i].spk_id for i in range(4)] == ["1", "2", None, None]
    assert joined[2].wav == "/c/e.wav"
    with pytest.raises(KeyError, match="emotion"):
        joined.column("emotion")
    assert "h" in list(add_unlabeled({}, training, **prepared).ids)


def test_speech_segments_are_kept(prepared):
    training = Manifest.from_rows(rows("ab", "12", speech=np.array([[100, 900]])))
    joined = add_unlabeled({}, training, **prepared)
    assert joined[1].speech.tolist() == [[100, 900]]
    assert joined.lengths.tolist() == [800, 800, 32000, 32000, 8000]


def test_mistakes_are_named(prepared):
    training = Manifest.from_rows(rows("ab", "12"))
    with pytest.raises(ValueError, match=r"fold2.*fold1"):
        add_unlabeled({}, training, **{**prepared, "fold": "fold2"})
    with pytest.raises(ValueError, match="'e'"):
        add_unlabeled({}, Manifest.from_rows(rows("ae", "12")), **prepared)


@pytest.mark.recipe
def test_a_whole_run(tiny_corpus, tmp_path, in_this_process):
    rng, folder = np.random.default_rng(0), tmp_path / "acted" / "AudioWAV"
    folder.mkdir(parents=True)
    codes = "ANG", "DIS", "FEA", "HAP", "NEU", "SAD"
    for actor, code in product(range(2001, 2007), codes):
        wave = 0.1 * rng.standard_normal(20000)
        soundfile.write(folder / f"{actor}_IEO_{code}_XX.wav", wave, 16000)
    recipe = runs.write_recipe(
        tmp_path / "tiny.yaml",
        base="../../CREMA-D/hparams/dino_mini",
        demographics=None,
        valid_actors=1,
        number_of_epochs=1,
    )
    output = tmp_path / "out"
    options = {"data_folder": tiny_corpus, "emotion_folder": folder.parent}
    options |= {"fold": "fold2", "output_folder": output, "device": "cpu"}
    run_emotion([str(recipe), *(f"--{key}={v}" for key, v in options.items())])
    log = (output / "log.txt").read_text(encoding="utf-8")
    assert "24 utterances and, without labels, 24 of fold fold2; the 12" in log
    (row,) = (r for r in runs.curves(output) if r["kind"] == "epoch")
    assert row["steps"] == 48 // 4 and (output / "inference").is_dir()
