"""Speaker names are never read in training: other names, the same bits."""

import shutil

import pandas as pd
import pytest
import recipe_runs as runs
import torch

pytestmark = pytest.mark.recipe

SPEAKERS, TESTED = 8, 2


def renamed(corpus, copy):
    """Copies a corpus; each training speaker's folder takes another's name."""
    shutil.copytree(corpus, copy)
    names = [f"id{number:05d}" for number in range(SPEAKERS - TESTED)]
    # No fixed point, the order reversed within two halves.
    others = names[2::-1] + names[:2:-1]
    others = [*others[3:], *others[:3]]
    assert all(one != other for one, other in zip(names, others))
    for one, other in zip(names, others):
        (copy / "wav" / one).rename(copy / "wav" / f"moving-{other}")
    for name in names:
        (copy / "wav" / f"moving-{name}").rename(copy / "wav" / name)
    return copy


@pytest.mark.parametrize("check", ["headers", "full"])
def test_shuffled_speakers_give_the_same_weights(
    launcher, tiny_corpus, tmp_path, check
):
    recipe = runs.write_recipe(
        tmp_path / "tiny.yaml", check_audio=check, subtract_mean=True
    )
    folders = []
    for name, corpus in (
        ("known", tiny_corpus),
        ("shuffled", renamed(tiny_corpus, tmp_path / "vox")),
    ):
        folders.append(tmp_path / name)
        run = launcher.run(
            recipe, "--data_folder", corpus, "--output_folder", folders[-1]
        )
        assert run.status == 0, run.output
    rows = [
        (folder / "data" / "train.csv").read_text(encoding="utf-8")
        for folder in folders
    ]
    assert rows[0] != rows[1]  # the names did change
    assert_same_weights(*folders)
    results = [runs.results(folder)["verification"] for folder in folders]
    assert results[0] == results[1]


def test_training_needs_no_speaker_column(launcher, tiny_corpus, tmp_path):
    """The manifest without its label column trains to the same weights."""
    keys = {"data_folder": str(tiny_corpus), "trial_lists": []}
    recipe = runs.write_recipe(tmp_path / "tiny.yaml", **keys)
    run = launcher.run(recipe, "--output_folder", tmp_path / "known")
    assert run.status == 0, run.output

    prepared = shutil.copytree(tmp_path / "known" / "data", tmp_path / "data")
    table = pd.read_csv(prepared / "train.csv", dtype=str)
    table.drop(columns="spk_id").to_csv(prepared / "train.csv", index=False)
    keys |= {"data_save_folder": str(prepared), "prepare": "!name:os.getcwd"}
    recipe = runs.write_recipe(tmp_path / "blank.yaml", **keys)
    run = launcher.run(recipe, "--output_folder", tmp_path / "blank")
    assert run.status == 0, run.output
    assert_same_weights(tmp_path / "known", tmp_path / "blank")


def assert_same_weights(one, other):
    one, other = (runs.tensors(runs.states(folder)) for folder in (one, other))
    assert set(one) == set(other) and any("student" in name for name in one)
    for name, value in one.items():
        if torch.is_tensor(value):
            assert torch.equal(other[name], value), name
