"""Lists of speakers that a model was trained on: what it says, and what follows."""

import json

import pytest

from speechbrain_dino.embeddings.model_card import (
    TrainingData,
    model_card,
    training_data,
)
from speechbrain_dino.runs.seen_speakers import check_unseen

COUNTS = {"utterances": 1092009, "speakers": 5994}
VOX1 = {"vox1/dev": {"utterances": 148642, "speakers": 1211}, "vox2/dev": COUNTS}


def model(folder, prepared, card=True):
    """An inference folder, with its card or in a run's folder."""
    inference = folder / "inference"
    inference.mkdir(parents=True)
    if card:
        text = model_card("", {"data": prepared})
        (inference / "README.md").write_text(text, encoding="utf-8")
    else:
        (folder / "data").mkdir()
        text = json.dumps(prepared)
        (folder / "data" / "prepare.json").write_text(text, encoding="utf-8")
    return inference


@pytest.mark.parametrize("card", [True, False])
def test_card_and_run_say_what_was_trained_on(tmp_path, card):
    prepared = {"kept": 9, "trained_on": VOX1, "trials": {"veri_test": 37720}}
    said = training_data(model(tmp_path, prepared, card))
    assert said.splits == ("vox1/dev", "vox2/dev")
    assert said.held_out == ("veri_test",)
    assert said.datasets == (("VoxCeleb1", "VoxCeleb2") if card else ())


def test_the_card_names_corpora_and_splits():
    data = {
        "kept": 9,
        "trained_on": VOX1 | {"other": COUNTS},
        "started_on": ["vox1/test"],
    }
    card = model_card("", {"data": data})
    assert "- VoxCeleb1 dev: 148,642 utterances of 1,211 speakers" in card
    assert "- VoxCeleb2 dev: 1,092,009 utterances of 5,994 speakers" in card
    assert "- other audio: 1,092,009 utterances" in card
    assert "began with a model that was trained on VoxCeleb1 test" in card
    assert "train_splits:\n- vox1/dev\n- vox1/test\n- vox2/dev\n" in card
    plain = model_card("", {"data": {"kept": 9, "trained_on": {"other": COUNTS}}})
    assert "train_splits" not in plain and "datasets" not in plain


def test_a_model_to_begin_with_counts_as_well(tmp_path):
    began = {"started_on": ["vox1/dev"], "start_held_out": ["O"]}
    data = {"trained_on": {"vox2/dev": COUNTS}, "trials": {"O": 1, "H": 1}} | began
    said = training_data(model(tmp_path, data))
    assert (said.splits, said.held_out) == (("vox1/dev", "vox2/dev"), ("O",))


def test_nothing_said_is_no_error(tmp_path):
    assert training_data(tmp_path) == TrainingData()
    (tmp_path / "README.md").write_text("---\n: [\n---\nno card", encoding="utf-8")
    assert training_data(tmp_path) == TrainingData()
    assert check_unseen(tmp_path, {"tested_on": {"list_test_all2": ["vox1/dev"]}}) == {}


def test_lists_of_known_speakers_are_refused(tmp_path, caplog):
    inference = model(tmp_path, {"trained_on": VOX1, "trials": {"mine": 9}})
    tested = {"veri_test2": ["vox1/test"], "list_test_hard2": ["vox1/dev", "vox1/test"]}
    with pytest.raises(
        ValueError, match=r"\(list_test_hard2: VoxCeleb1 dev\)"
    ) as error:
        check_unseen(inference, {"tested_on": tested})
    assert "--allow_seen_speakers True" in str(error.value)
    assert "\n" not in str(error.value)
    seen = check_unseen(inference, {"tested_on": tested}, allowed=True)
    assert seen == {"list_test_hard2": ["VoxCeleb1 dev"]}
    assert "was trained on speakers of the lists" in caplog.text
    # Renamed speakers: the name of the list tells. Held out in training: no matter.
    with pytest.raises(ValueError, match="list_test_all: VoxCeleb1 dev"):
        check_unseen(inference, {"tested_on": {"list_test_all": ["other"]}})
    assert check_unseen(inference, {"tested_on": {"mine": ["vox1/dev"]}}) == {}
    only_two = model(tmp_path / "b", {"trained_on": {"vox2/dev": COUNTS}})
    assert check_unseen(only_two, {"tested_on": tested}) == {}


def test_a_card_without_splits_gives_a_warning(tmp_path, caplog):
    text = "---\ndatasets:\n- voxceleb\n---\n# ECAPA\n"
    (tmp_path / "README.md").write_text(text, encoding="utf-8")
    assert check_unseen(tmp_path, {"tested_on": {"E": ["vox1/dev"]}}) == {}
    assert "names the data set voxceleb and no splits" in caplog.text
    caplog.clear()
    assert check_unseen(tmp_path, {"tested_on": {"O": ["vox1/test"]}}) == {}
    assert not caplog.text
