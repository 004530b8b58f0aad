"""A run that is killed at any moment ends with the same bits as one that is not."""

import os
import random
import signal
from pathlib import Path

import pytest
import recipe_runs as runs
import torch

pytestmark = pytest.mark.recipe

STEPS_AN_EPOCH, EPOCHS = 6, 3

# Run in the training process before anything else: saving file number LIMIT writes
# half of it, says so, and waits to be killed.
SLOW_SAVE = """
import pathlib, time, torch
saved, whole = [], torch.save
def half(state, path, *args, **kwargs):
    whole(state, path, *args, **kwargs)
    saved.append(path)
    if len(saved) == LIMIT:
        path = pathlib.Path(path)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        pathlib.Path("FLAG").touch()
        time.sleep(600)
torch.save = half
"""
# The same between two calls: ORDER is "before" or "after" call number LIMIT of NAME.
PAUSE = """
import pathlib, time
import MODULE as module
calls, original = [], module.NAME
def paused(*args, **kwargs):
    calls.append(1)
    if len(calls) == LIMIT:
        if "ORDER" == "after":
            original(*args, **kwargs)
        pathlib.Path("FLAG").touch()
        time.sleep(600)
    return original(*args, **kwargs)
module.NAME = paused
"""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    """A recipe with its data; loader workers as in a real run."""
    folder = tmp_path_factory.mktemp("resume")
    data = runs.make_corpus(folder / "vox")
    return runs.write_recipe(
        folder / "tiny.yaml",
        data_folder=str(data),
        data_save_folder=str(folder / "prepared"),
        number_of_epochs=EPOCHS,
        num_workers=1,
        average_last=2,
    )


@pytest.fixture(scope="module")
def uninterrupted(launcher, recipe):
    """Output folder of a run that nothing disturbed."""
    folder = recipe.parent / "whole"
    run = launcher.run(recipe, "--output_folder", folder)
    assert run.status == 0, run.output
    return folder


def kill(process):
    os.kill(process, signal.SIGKILL)


PARTS = frozenset({"student", "teacher", "loss", "optimizer", "health"})


def assert_same_end(folder, uninterrupted, parts=PARTS):
    """Weights, teacher, center, optimizer, counters and figures are the same."""
    ended, expected = runs.states(folder), runs.states(uninterrupted)
    assert parts < set(expected)
    assert set(ended) == set(expected)
    ended, expected = runs.tensors(ended), runs.tensors(expected)
    assert set(ended) == set(expected)
    for name, value in expected.items():
        if torch.is_tensor(value):
            torch.testing.assert_close(
                ended[name], value, rtol=0, atol=0, equal_nan=True, msg=name
            )
        elif "wait" not in name:
            assert ended[name] == value, name
    assert figures(folder) == figures(uninterrupted)
    results = [runs.results(where) for where in (folder, uninterrupted)]
    for key in ("verification", "verification_before", "averaged_epochs"):
        assert results[0][key] == results[1][key], key


def figures(folder):
    """What curves.jsonl says, without what depends on the clock."""
    return [
        {key: v for key, v in row.items() if key not in ("wait", "utt_per_s")}
        for row in runs.curves(folder)
    ]


def test_an_uninterrupted_run_repeats_itself(launcher, recipe, uninterrupted, tmp_path):
    assert launcher.run(recipe, "--output_folder", tmp_path).status == 0
    assert_same_end(tmp_path, uninterrupted)
    steps = [row["step"] for row in runs.curves(tmp_path) if row["kind"] == "step"]
    assert steps == list(range(1, STEPS_AN_EPOCH * EPOCHS + 1))


@pytest.mark.parametrize("seed", [1, 2])
def test_killed_at_random_points(launcher, recipe, uninterrupted, tmp_path, seed):
    chance = random.Random(seed)
    lines = tmp_path / "curves.jsonl"
    died = 0
    for _ in range(3):
        process = launcher.start(recipe, "--output_folder", tmp_path)
        size = len(lines.read_bytes()) if lines.exists() else 0
        grown = size + chance.randrange(1500)
        runs.until(
            lambda: lines.exists() and lines.stat().st_size > grown,  # noqa: B023
            seconds=chance.uniform(0.5, 5),
        )
        runs.until(lambda: False, seconds=chance.uniform(0, 0.1))
        kill(process)
        died += launcher.wait().status == -signal.SIGKILL
    assert died >= 2, "the runs ended before they were killed"
    run = launcher.run(recipe, "--output_folder", tmp_path)
    assert run.status == 0, run.output
    assert_same_end(tmp_path, uninterrupted)


def killed_at_flag(launcher, recipe, folder, code):
    """Starts a run that pauses in ``code``, kills it there, and runs it to its end.

    Returns the checkpoints that the killed run left, and their files.
    """
    flag = folder / "paused"
    process = launcher.start(
        recipe, "--output_folder", folder, first=code.replace("FLAG", str(flag))
    )
    assert runs.until(flag.exists), "the run never came to the point"
    kill(process)
    assert launcher.wait().status == -signal.SIGKILL
    left = {
        path.name: {file.name for file in path.iterdir()}
        for path in (folder / "save").iterdir()
    }
    run = launcher.run(recipe, "--output_folder", folder)
    assert run.status == 0, run.output
    return left


# A checkpoint holds student, teacher, loss, health and optimizer through torch.save.
@pytest.mark.parametrize("file", [4, 18])
def test_killed_while_saving(launcher, recipe, uninterrupted, tmp_path, file):
    left = killed_at_flag(
        launcher, recipe, tmp_path, SLOW_SAVE.replace("LIMIT", str(file))
    )
    assert any(name.startswith(".saving-") for name in left)
    assert not list((tmp_path / "save").glob(".saving-*"))
    assert_same_end(tmp_path, uninterrupted)


# Removing folder number LIMIT stops after its first file, and waits to be killed.
SLOW_REMOVAL = """
import os, pathlib, shutil, time
removed, whole = [], shutil.rmtree
def half(folder, *args, **kwargs):
    if pathlib.Path("SAVE") in pathlib.Path(folder).parents:
        removed.append(folder)
    if len(removed) == LIMIT:
        (pathlib.Path(folder) / "CKPT.yaml").unlink()
        pathlib.Path("FLAG").touch()
        time.sleep(600)
    whole(folder, *args, **kwargs)
shutil.rmtree = half
"""


@pytest.mark.parametrize("folder", [1, 3])
def test_killed_while_deleting(launcher, recipe, uninterrupted, tmp_path, folder):
    code = SLOW_REMOVAL.replace("SAVE", str(tmp_path / "save"))
    code = code.replace("LIMIT", str(folder))
    left = killed_at_flag(launcher, recipe, tmp_path, code)
    half = [name for name, files in left.items() if "CKPT.yaml" not in files]
    assert len(half) == 1 and half[0].startswith(".removing-")
    assert not list((tmp_path / "save").glob(".removing-*"))
    assert_same_end(tmp_path, uninterrupted)


@pytest.mark.parametrize(
    "name, module, order, limit",
    [
        # between the epoch's line in the curves and its checkpoint
        ("save_epoch", "speechbrain_dino.training.brain", "before", 2),
        # at the start of an epoch: nothing of it has been trained
        ("save_epoch", "speechbrain_dino.training.brain", "after", 1),
        # trained to the end, evaluated, not exported
        ("export_inference_folder", "speechbrain_dino.runs.train", "before", 1),
    ],
)
def test_killed_between(
    launcher, recipe, uninterrupted, tmp_path, name, module, order, limit
):
    code = PAUSE.replace("NAME", name).replace("MODULE", module)
    code = code.replace("ORDER", order).replace("LIMIT", str(limit))
    killed_at_flag(launcher, recipe, tmp_path, code)
    assert_same_end(tmp_path, uninterrupted)


def test_a_damaged_checkpoint_is_passed_over(launcher, recipe, uninterrupted, tmp_path):
    code = PAUSE.replace("NAME", "save_epoch").replace("ORDER", "after")
    code = code.replace("MODULE", "speechbrain_dino.training.brain").replace(
        "LIMIT", "2"
    )
    code = code.replace("FLAG", str(tmp_path / "paused"))
    process = launcher.start(recipe, "--output_folder", tmp_path, first=code)
    assert runs.until((tmp_path / "paused").exists)
    kill(process)
    launcher.wait()
    newest = runs.newest_checkpoint(tmp_path)
    Path(newest / "teacher.ckpt").write_bytes(b"cut")
    run = launcher.run(recipe, "--output_folder", tmp_path)
    assert run.status == 0, run.output
    assert "teacher.ckpt is missing or cut" in run.output
    assert_same_end(tmp_path, uninterrupted)
