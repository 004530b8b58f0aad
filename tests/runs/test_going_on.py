"""A run resumes with the values, data and processes it began with, or says so."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from speechbrain_dino.data.manifest import Manifest
from speechbrain_dino.runs.command_line import Launch
from speechbrain_dino.runs.resume import (
    CONDITIONS,
    MAY_CHANGE,
    begun,
    check_conditions,
    check_unchanged,
    forget_notes,
    manifest_digest,
    note_changes,
    run_conditions,
)
from speechbrain_dino.runs.train import _check_epochs
from speechbrain_dino.utils.refusals import accept

RECIPE = """
seed: 1
__set_seed: !ref <seed>
output_folder: !PLACEHOLDER
save_folder: !ref <output_folder>/save
data_folder: data       # a comment
number_of_epochs: 4
base_lr: 0.1
precision: fp32
schedule: !name:collections.Counter
    {peak: !ref <base_lr>, total: !ref <number_of_epochs>}
net: !new:collections.Counter
    - [1, !ref <base_lr>]
"""


@pytest.fixture
def launch(tmp_path):
    """A run that has saved a checkpoint."""
    launch = Launch(RECIPE, {"output_folder": str(tmp_path)}, "recipe.yaml", None)
    (tmp_path / "save" / "CKPT+1").mkdir(parents=True)
    (tmp_path / "hyperparams.yaml").write_text(launch.resolved(), encoding="utf-8")
    return launch


def test_the_same_values_are_no_change(launch, tmp_path):
    assert check_unchanged(launch, tmp_path) == {}
    other = RECIPE.replace("# a comment", "# another").replace("0.1", "0.10")
    assert check_unchanged(launch._replace(recipe=other), tmp_path) == {}


@pytest.mark.parametrize(
    "key, old, new",
    [
        ("base_lr", 0.1, 0.2),
        ("seed", 1, 2),
        ("precision", "fp32", "bf16"),
        ("precision", "fp32", None),
    ],
)
def test_another_value_is_refused_with_the_old_one_and_the_new(
    launch, tmp_path, key, old, new
):
    with pytest.raises(ValueError) as error:
        check_unchanged(launch.changed(**{key: new}), tmp_path)
    words = f"{tmp_path} holds a run with {key} {old}, and now {key} is {new}: give the"
    assert str(error.value).startswith(words)
    assert f"--allow_changed {key}" in str(error.value)


def test_another_part_is_refused(launch, tmp_path):
    other = launch._replace(recipe=RECIPE.replace("[1, ", "[2, "))
    with pytest.raises(ValueError, match=r"with net .*\[1, 0.1\].* is .*\[2, 0.1\]"):
        check_unchanged(other, tmp_path)


def test_keys_that_come_or_go_are_a_change(launch, tmp_path):
    more = launch._replace(recipe=RECIPE + "margin: 3\n")
    with pytest.raises(ValueError, match="with margin nothing, and now margin is 3"):
        check_unchanged(more, tmp_path)
    allowed = more._replace(allow_changed=("margin",))
    assert check_unchanged(allowed, tmp_path) == {"margin": ("nothing", 3)}
    less = launch._replace(recipe=RECIPE.replace("precision: fp32\n", ""))
    with pytest.raises(
        ValueError, match="precision fp32, and now precision is nothing"
    ):
        check_unchanged(less, tmp_path)


def test_a_longer_run_goes_on_with_all_that_follows_from_it(launch, tmp_path):
    longer = launch.changed(number_of_epochs=9, data_folder="moved")
    changes = check_unchanged(longer, tmp_path)
    assert changes == {"data_folder": ("data", "moved"), "number_of_epochs": (4, 9)}
    with pytest.raises(ValueError, match=r"with base_lr 0\.1, and now base_lr is 0\.3"):
        check_unchanged(longer.changed(base_lr=0.3), tmp_path)


def test_what_is_allowed_goes_on_and_other_changes_do_not(launch, tmp_path):
    other = launch.changed(base_lr=0.2)._replace(allow_changed=("base_lr",))
    assert check_unchanged(other, tmp_path) == {"base_lr": (0.1, 0.2)}
    with pytest.raises(ValueError, match="with seed 1, and now seed is 2"):
        check_unchanged(other.changed(seed=2), tmp_path)
    assert check_unchanged(launch.changed(seed=2), tmp_path, ["seed"]) == {
        "seed": (1, 2)
    }


def test_a_folder_that_holds_no_training_takes_any_values(launch, tmp_path):
    (tmp_path / "save" / "CKPT+1").rmdir()
    assert not begun(tmp_path)
    assert check_unchanged(launch.changed(base_lr=0.2), tmp_path) == {}


@pytest.mark.parametrize("left", ["rounds.json", "folds/one/predictions.csv"])
def test_other_trainings_leave_other_traces(tmp_path, left):
    path = tmp_path / left
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    assert begun(tmp_path) and not begun(tmp_path / "debug")
    forget_notes(tmp_path)
    assert not begun(tmp_path)


def test_checkpoints_may_lie_elsewhere(tmp_path):
    (tmp_path / "far" / "CKPT+1").mkdir(parents=True)
    assert begun(tmp_path / "run", tmp_path / "far") and not begun(tmp_path / "run")


@pytest.mark.parametrize("text", ["a: [", "- 1", ""])
def test_stored_values_that_are_damaged_are_named(launch, tmp_path, text):
    (tmp_path / "hyperparams.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=r"hyperparams\.yaml is damaged"):
        check_unchanged(launch, tmp_path)


def test_changes_are_kept_in_the_results(tmp_path):
    path = tmp_path / "results.json"
    path.write_text('{"seed": 1}', encoding="utf-8")
    note_changes(tmp_path, {})
    note_changes(tmp_path, {"seed": (1, 2)})
    note_changes(tmp_path, {"base_lr": (0.1, 0.2), "data_folder": ("a", ["b"])})
    results = json.loads(path.read_text(encoding="utf-8"))
    assert results["seed"] == 1
    assert [entry["keys"] for entry in results["changes"]] == [
        {"seed": [1, 2]},
        {"base_lr": [0.1, 0.2], "data_folder": ["a", ["b"]]},
    ]


def test_what_decides_the_result_may_not_change():
    decisive = "seed base_lr batch_size global_seconds precision min_duration vad loss"
    assert not set(decisive.split()) & set(MAY_CHANGE)
    assert all(CONDITIONS.values()) and not set(CONDITIONS) & set(MAY_CHANGE)


# -- data and processes ---------------------------------------------------------


def rows(**changed):
    row = {"ID": "a", "duration": 1.0, "wav": "/c/a.wav", "start": 0, "stop": 16000}
    return [{**row, **changed}, {**row, "ID": "b"}]


def test_a_manifest_is_known_by_its_utterances_not_by_their_place():
    one = manifest_digest(Manifest.from_rows(rows()))
    moved = rows(wav="/d/a.wav")
    assert manifest_digest(Manifest.from_rows(moved)) == one
    others = [rows(ID="c"), rows(start=1), rows(stop=8000), rows()[::-1], rows()[:1]]
    assert one not in [manifest_digest(Manifest.from_rows(other)) for other in others]


@pytest.fixture
def run(tmp_path):
    (tmp_path / "noise.csv").write_text("ID,duration,wav\nn,1.0,/n.wav\n", "utf-8")
    manifest = Manifest.from_rows(rows())
    return SimpleNamespace(
        crops=SimpleNamespace(manifest=manifest),
        data_folder=tmp_path,
        run_opts=SimpleNamespace(grad_accumulation_factor=1),
        labels=torch.tensor(np.arange(2)),
    )


def test_conditions_are_those_of_the_run(run, monkeypatch, tmp_path):
    first = run_conditions(run)
    assert set(first) == set(CONDITIONS) and first["rir"] is None
    assert first["processes"] == first["grad_accumulation_factor"] == 1
    monkeypatch.setenv("WORLD_SIZE", "2")
    run.run_opts.grad_accumulation_factor = 4
    run.labels = run.labels.flip(0)
    run.crops.manifest = Manifest.from_rows(rows(stop=8000))
    (tmp_path / "noise.csv").write_text("ID,duration,wav\nn,2.0,/n.wav\n", "utf-8")
    (tmp_path / "rir.csv").write_text("ID,duration,wav\nn,2.0,/n.wav\n", "utf-8")
    second = run_conditions(run)
    assert all(first[name] != second[name] for name in CONDITIONS)
    assert second["processes"] == 2 and second["grad_accumulation_factor"] == 4
    run.labels = None
    assert "labels" not in run_conditions(run)


@pytest.mark.parametrize("name", CONDITIONS)
def test_another_condition_is_refused_unless_allowed(launch, tmp_path, name):
    hparams = {"output_folder": tmp_path, "allow_changed": ()}
    conditions = dict.fromkeys(CONDITIONS, 1)
    check_conditions(hparams, conditions)
    accept()
    check_conditions(hparams, conditions)
    other = {**conditions, name: 2}
    words = f"{CONDITIONS[name]} changed since it began: 1 before, 2 now"
    for _ in range(2):  # the first time must not make it the run's
        with pytest.raises(ValueError, match=words) as error:
            check_conditions(hparams, other)
        assert f"--allow_changed {name} " in str(error.value)
    check_conditions({**hparams, "allow_changed": (name,)}, other)
    accept()
    check_conditions(hparams, other)
    results = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert [entry["keys"] for entry in results["changes"]] == [{name: [1, 2]}]


def test_a_new_run_takes_any_condition(tmp_path):
    hparams = {"output_folder": tmp_path}
    check_conditions(hparams, {"data": "a"})
    check_conditions(hparams, {"data": "b"})
    assert not (tmp_path / "conditions.json").exists()
    accept()
    text = (tmp_path / "conditions.json").read_text(encoding="utf-8")
    assert json.loads(text) == {"data": "b"}


@pytest.mark.parametrize("text", ["{", "", "[1]", "3"])
def test_damaged_conditions_are_named(launch, tmp_path, text):
    (tmp_path / "conditions.json").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=r"conditions\.json is damaged"):
        check_conditions({"output_folder": tmp_path}, {"data": "a"})


@pytest.mark.parametrize("stage", ["folds/fold1/predictions.csv", "round1/inference"])
def test_epochs_may_change_while_no_fold_or_round_is_finished(launch, tmp_path, stage):
    longer = launch.changed(number_of_epochs=6)
    assert check_unchanged(longer, tmp_path)["number_of_epochs"] == (4, 6)
    (tmp_path / stage).mkdir(parents=True)
    with pytest.raises(ValueError, match=r"number_of_epochs 4, and now .* is 6"):
        check_unchanged(longer, tmp_path)
    allowed = ("number_of_epochs",)
    changes = check_unchanged(longer._replace(allow_changed=allowed), tmp_path)
    assert changes["number_of_epochs"] == (4, 6)


def test_a_run_is_not_called_shorter_than_it_is(tmp_path):
    checkpoints = [SimpleNamespace(meta=meta) for meta in ({"epoch": 2}, {})]
    checkpointer = SimpleNamespace(find_checkpoints=lambda: checkpoints)
    for limit in (2, 3, 1):
        counter = SimpleNamespace(limit=limit)
        run = SimpleNamespace(folder=tmp_path, hparams={"epoch_counter": counter})
        if limit >= 2:
            _check_epochs(checkpointer, run)
    with pytest.raises(ValueError, match=r"trained 2 epochs, and .* is 1: give 2 or"):
        _check_epochs(checkpointer, run)
