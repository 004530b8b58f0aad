"""Whole runs on pseudo labels: what they leave, killed ones, several processes."""

import subprocess

import pytest
import recipe_runs as runs
import torch
from process_tools import TORCHRUN
from speechbrain.inference.speaker import SpeakerRecognition
from test_resume import PAUSE, assert_same_end, kill

pytestmark = pytest.mark.recipe

GATE = """!new:speechbrain_dino.losses.label_gates.DynamicGate
    start_epoch: 2
    least_separation: 0.0"""
CORRECT = """!new:speechbrain_dino.losses.label_gates.LabelCorrection
    start_epoch: 2
    lead: 0.01"""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    """A recipe with its data and labels, some of them wrong."""
    folder = tmp_path_factory.mktemp("labeled")
    data = runs.make_corpus(folder / "vox")
    labels = runs.write_labels(folder, data, wrong=(0, 7, 13, 22), left_out=(3,))
    return runs.write_recipe(
        folder / "tiny.yaml",
        base="pseudo_labels",
        data_folder=str(data),
        data_save_folder=str(folder / "prepared"),
        labels_file=str(labels),
        truth="spk_id",
        gate=GATE,
        correction=CORRECT,
        main_epochs=2,
        sub_centers=2,
    )


@pytest.fixture(scope="module")
def uninterrupted(launcher, recipe):
    folder = recipe.parent / "whole"
    run = launcher.run(recipe, "--output_folder", folder)
    assert run.status == 0, run.output
    return folder


def test_figures_of_labels_are_in_the_log(uninterrupted):
    epochs = [row for row in runs.curves(uninterrupted) if row["kind"] == "epoch"]
    assert [row["epoch"] for row in epochs] == [1, 2, 3, 4]
    # 4 of 23 labels are wrong, 20 of them are seen in an epoch.
    assert 0.6 < epochs[0]["kept_precision"] < 1 and epochs[0]["gated"] == 0
    assert any(row["gated"] > 0 for row in epochs[1:])
    assert "gate" in epochs[1]
    results = runs.results(uninterrupted)
    assert results["verification"]["veri_test"]["trials"] == 28


def test_the_model_verifies_two_files(uninterrupted, recipe):
    model = SpeakerRecognition.from_hparams(
        str(uninterrupted / "inference"), run_opts={"device": "cpu"}
    )
    wav = recipe.parent / "vox" / "wav" / "id00007"
    one, other = (str(wav / f"s{n}" / "00001.wav") for n in (0, 1))
    score, _ = model.verify_files(one, other)
    assert -1 <= float(score) <= 1


@pytest.mark.parametrize("name, limit", [("save_epoch", 1), ("step_if", 9)])
def test_a_killed_run_ends_the_same(
    launcher, recipe, uninterrupted, tmp_path, name, limit
):
    code = PAUSE.replace("NAME", name).replace("ORDER", "after")
    code = code.replace("MODULE", "speechbrain_dino.training.brain")
    code = code.replace("LIMIT", str(limit)).replace("FLAG", str(tmp_path / "paused"))
    options = ("--output_folder", tmp_path)
    process = launcher.start(recipe, *options, first=code)
    assert runs.until((tmp_path / "paused").exists)
    kill(process)
    launcher.wait()
    assert launcher.run(recipe, *options).status == 0
    assert "gate" in runs.states(tmp_path)
    assert_same_end(tmp_path, uninterrupted, {"student", "loss", "gate", "optimizer"})


@pytest.mark.distributed
def test_two_processes_end_as_one(launcher, recipe, tmp_path):
    keys = {"embedding_model": runs.PLAIN_ENCODER, "affine_layers": ["embedding"]}
    other = tmp_path / "plain.yaml"
    lines = [f"extends: {recipe}"]
    lines += [f"{key}: {value}" for key, value in keys.items()]
    other.write_text("\n".join(lines) + "\n", encoding="utf-8")
    run = launcher.run(other, "--output_folder", tmp_path / "one")
    assert run.status == 0, run.output
    command = [*TORCHRUN, "--nproc_per_node=2"]
    command += [str(runs.RECIPE / "train.py"), str(other)]
    command += ["--output_folder", str(tmp_path / "two")]
    done = subprocess.run(
        command,
        env=runs.environment(),
        capture_output=True,
        text=True,
        timeout=runs.HANGS,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    one, two = (runs.tensors(runs.states(tmp_path / name)) for name in ("one", "two"))
    compared = set()
    for name, value in one.items():
        part = name.split("/")[1]
        if torch.is_tensor(value) and part != "health":
            compared.add(part)
            size = float(value.abs().nan_to_num(0, 0, 0).max()) if value.numel() else 0
            torch.testing.assert_close(
                two[name],
                value,
                rtol=1e-3,
                atol=5e-3 * size,
                equal_nan=True,
                msg=lambda text, name=name: f"{name}: {text}",
            )
    assert compared == {"student", "gate", "optimizer"}


MISTAKES = {
    "no labels": ([], "labels_file is missing"),
    "no such file": (["--labels_file", "nowhere.csv"], "nowhere.csv"),
    "another manifest": (["--labels_file", "OTHER"], "id99999--s0--00001"),
    "one class": (["--labels_file", "ONE"], "holds 1 classes"),
    "no such truth": (["--truth", "accent"], "no column 'accent'"),
    "no such layer": (["--affine_layers", "[last]"], "are no layers of the encoder"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_gives_one_clear_message(launcher, recipe, tmp_path, mistake):
    options, message = MISTAKES[mistake]
    labels = (recipe.parent / "labels.csv").read_text(encoding="utf-8")
    (tmp_path / "OTHER").write_text(
        labels.replace("id00000--s0", "id99999--s0"), encoding="utf-8"
    )
    lines = labels.splitlines()
    one = [lines[0], *(f"{line.split(',')[0]},0" for line in lines[1:])]
    (tmp_path / "ONE").write_text("\n".join(one) + "\n", encoding="utf-8")
    options = [tmp_path / x if x in ("OTHER", "ONE") else x for x in options]
    if mistake == "no labels":
        options = ["--labels_file", "null"]
    run = launcher.run(recipe, "--output_folder", tmp_path / "out", *options)
    assert run.status == 1, run.output
    assert message in run.output.splitlines()[-1]
    assert "Traceback" not in run.output
