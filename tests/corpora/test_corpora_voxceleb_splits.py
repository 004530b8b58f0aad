"""Corpora and splits of VoxCeleb: recognized, chosen, counted."""

import logging
from collections import Counter

import pytest
from audio_files import tree
from recipe_runs import RECIPE
from ruamel.yaml import YAML

from speechbrain_dino.corpora.voxceleb import prepare_voxceleb
from speechbrain_dino.corpora.voxceleb_splits import SPLITS, split_of_speaker
from speechbrain_dino.data.manifest import Manifest
from speechbrain_dino.runs.recipe_yaml import read_recipe

SMALL = {"min_duration": 0.05, "num_workers": 1, "check": "headers"}
PEOPLE = {
    "vox1/dev": ["id10001", "id10310", "id11251"],
    "vox1/test": ["id10270", "id10309"],
    "vox2/dev": ["id00012", "id09272"],
    "vox2/test": ["id00017"],
}
AS_DISTRIBUTED = {
    "vox1/dev": "vox1/dev/wav",
    "vox1/test": "vox1/test/wav",
    "vox2/dev": "vox2/dev/aac",
    "vox2/test": "vox2/test/aac",
}
LAYOUTS = {
    "as distributed": AS_DISTRIBUTED,
    "names of the archives": {s: f"{s.replace('/', '_')}_wav/wav" for s in SPLITS},
    "long names": {s: f"VoxCeleb{s[3:].title()}/wav" for s in SPLITS},
    "a folder per corpus": {s: f"voxceleb{s[3]}/wav" for s in SPLITS},
    "one folder": dict.fromkeys(SPLITS, "wav"),
    "no folder": dict.fromkeys(SPLITS, "."),
}


def corpus(folder, places, people=PEOPLE, sessions=2):
    return tree(
        folder,
        [
            f"{places[split]}/{speaker}/session{n}/00001.flac"
            for split, speakers in people.items()
            if split in places
            for speaker in speakers
            for n in range(sessions)
        ],
        seconds=0.1,
    )


def trained(folder, save, splits, **options):
    """Speakers trained on with their numbers of utterances, and prepare.json."""
    summary = prepare_voxceleb(folder, save, train_splits=splits, **SMALL, **options)
    manifest = Manifest.from_csv(save / "train.csv")
    return Counter(manifest.column("spk_id")), summary


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    "splits", [["vox2/dev"], ["vox1/dev", "vox2/dev"], ["vox1/test"], ["vox2/test"]]
)
def test_exactly_the_chosen_splits_train(tmp_path, layout, splits):
    data = corpus(tmp_path / "data", LAYOUTS[layout])
    speakers, summary = trained(data, tmp_path / "save", splits)
    assert speakers == {s: 2 for split in splits for s in PEOPLE[split]}
    assert summary["trained_on"] == {
        split: {"utterances": 2 * len(PEOPLE[split]), "speakers": len(PEOPLE[split])}
        for split in splits
    }
    others = sum(len(PEOPLE[split]) for split in SPLITS if split not in splits)
    assert summary["left_out"]["other_split"]["count"] == 2 * others


def test_everything_trains_where_no_split_is_named(tmp_path):
    data = corpus(tmp_path / "data", AS_DISTRIBUTED)
    speakers, summary = trained(data, tmp_path / "save", None)
    assert speakers == {s: 2 for people in PEOPLE.values() for s in people}
    assert list(summary["trained_on"]) == sorted(SPLITS)


@pytest.mark.parametrize("given", ["vox2/dev", "vox2/dev/aac", "."])
def test_the_data_folder_may_be_a_part(tmp_path, given):
    people = {
        split: [f"{split[3]}_{split[5]}{n}" for n in range(2)] for split in SPLITS
    }
    places = AS_DISTRIBUTED if given == "." else {"vox2/dev": "vox2/dev/aac"}
    data = corpus(tmp_path / "data", places, people)
    speakers, summary = trained(data / given, tmp_path / "save", ["vox2/dev"])
    assert set(speakers) == {"2_d0", "2_d1"}
    assert list(summary["trained_on"]) == ["vox2/dev"]


def test_folders_and_speakers_that_disagree(tmp_path):
    """A test set is one by either; published numbers tell the corpus."""
    people = {"vox1/dev": ["id10001", "id10270"], "vox2/test": ["id00012"]}
    people["vox2/dev"] = ["id10002"]
    data = corpus(tmp_path / "data", AS_DISTRIBUTED, people)
    _, summary = trained(data, tmp_path / "save", list(SPLITS))
    counts = {
        split: about["speakers"] for split, about in summary["trained_on"].items()
    }
    assert counts == {"vox1/dev": 2, "vox1/test": 1, "vox2/test": 1}


def test_own_folders_are_used_whole_and_that_is_said(tmp_path, caplog):
    own = {"own": ["ann", "bob", "id10001"]}
    data = corpus(tmp_path / "test_vox1_own" / "data", {"own": "dev/wav"}, own)
    caplog.set_level(logging.INFO)
    speakers, summary = trained(data, tmp_path / "save", ["vox2/dev"])
    assert set(speakers) == set(own["own"])
    assert summary["trained_on"] == {"other": {"utterances": 6, "speakers": 3}}
    assert "No split of VoxCeleb is recognized" in caplog.text
    assert "no split of VoxCeleb: 6" in caplog.text
    both = corpus(tmp_path / "both", AS_DISTRIBUTED)
    speakers, _ = trained([both, data], tmp_path / "save", ["vox2/dev"])
    assert set(speakers) == {*own["own"], *PEOPLE["vox2/dev"]}


def test_a_split_that_is_not_there(tmp_path):
    data = corpus(tmp_path / "data", {"vox1/dev": "vox1/dev/wav"})
    with pytest.raises(ValueError, match=r"no file of vox2/dev \(vox1/dev: 6\)"):
        trained(data, tmp_path / "save", ["vox2/dev"])
    with pytest.raises(ValueError, match=r"vox2/train is no split.* give some of vox1"):
        trained(data, tmp_path / "save", ["vox2/train"])
    with pytest.raises(ValueError, match="an empty list is no split"):
        trained(data, tmp_path / "save", [])


def test_lists_may_name_files_of_all_splits(tmp_path):
    data = corpus(tmp_path / "data", AS_DISTRIBUTED)
    trials = tmp_path / "list_test_hard2.txt"
    pairs = ["1 id10001/session0/00001.wav id10001/session1/00001.wav"]
    pairs += ["0 id10001/session0/00001.wav id10270/session1/00001.wav"]
    trials.write_text("\n".join(pairs), encoding="utf-8")
    wanted = ["vox1/dev", "vox2/dev"]
    speakers, summary = trained(
        data, tmp_path / "save", wanted, trial_lists=[str(trials)]
    )
    left = {*PEOPLE["vox1/dev"], *PEOPLE["vox2/dev"]} - {"id10001"}
    assert set(speakers) == left
    assert summary["tested_on"] == {"list_test_hard2": ["vox1/dev", "vox1/test"]}


@pytest.mark.parametrize("name", ["dino", "dino_ecapa", "sdpn", "pseudo_labels"])
def test_recipes_for_voxceleb_train_on_voxceleb2_dev(name):
    keys = YAML().load(read_recipe(RECIPE / "hparams" / f"{name}.yaml"))
    assert keys["train_splits"] == ["vox2/dev"]
    assert keys["prepare"]["train_splits"].value == "<train_splits>"


def test_numbers_of_published_speakers():
    numbers = Counter(split_of_speaker(f"id{n:05d}") for n in range(12000))
    assert numbers["vox1/dev"] + numbers["vox1/test"] == 1251
    assert numbers["vox1/test"] == 40
    assert numbers["vox2/test"] == 120
    assert split_of_speaker("id00000") is None and split_of_speaker("id10000") is None


def test_the_test_speakers_of_the_published_list(shared_data):
    text = (shared_data / "voxceleb_lists" / "veri_test.txt").read_text("utf-8")
    speakers = {name.split("/")[0] for name in text.split() if "/" in name}
    assert len(speakers) == 40
    assert {split_of_speaker(speaker) for speaker in speakers} == {"vox1/test"}
