"""Two processes with half batches give what one process with the whole gives."""

import subprocess

import pytest
import recipe_runs as runs
import torch
from process_tools import TORCHRUN

pytestmark = [pytest.mark.recipe, pytest.mark.distributed]

SGD = "!name:torch.optim.SGD\n    momentum: 0.9\n    fused: True"


@pytest.fixture(scope="module")
def recipe(tmp_path_factory, tiny_corpus):
    """Large steps, no BatchNorm, noise drawn per crop."""
    folder = tmp_path_factory.mktemp("distributed")
    noises = runs.make_noises(folder / "noises")
    return runs.write_recipe(
        folder / "tiny.yaml",
        data_folder=str(tiny_corpus),
        noise_folder=str(noises),
        embedding_model=runs.PLAIN_ENCODER,
        opt_class=SGD,
        base_lr=5.0,
        clip_norm=1.0,
    )


@pytest.fixture(scope="module")
def one_process(launcher, recipe):
    folder = recipe.parent / "one"
    run = launcher.run(recipe, "--output_folder", folder)
    assert run.status == 0, run.output
    return folder


@pytest.fixture(scope="module")
def two_processes(recipe):
    folder = recipe.parent / "two"
    command = [*TORCHRUN, "--nproc_per_node=2"]
    command += [str(runs.RECIPE / "train.py"), str(recipe)]
    command += ["--output_folder", str(folder)]
    done = subprocess.run(
        command,
        env=runs.environment(),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return folder, done.stdout + done.stderr


def test_weights_are_those_of_one_process(one_process, two_processes):
    one = runs.tensors(runs.states(one_process))
    two = runs.tensors(runs.states(two_processes[0]))
    compared = set()
    for name, value in one.items():
        part = name.split("/")[1]
        if not torch.is_tensor(value) or part == "health":
            continue
        compared.add(part)
        torch.testing.assert_close(two[name], value, rtol=1e-4, atol=1e-6, msg=name)
    assert compared == {"student", "teacher", "loss", "optimizer"}
    assert one["/loss/criterion.center"].abs().max() > 1e-3


def test_figures_are_those_of_one_process(one_process, two_processes):
    one, two = runs.curves(one_process), runs.curves(two_processes[0])
    assert [(row["kind"], row["step"]) for row in two] == [
        (row["kind"], row["step"]) for row in one
    ]
    for expected, row in zip(one, two):
        if row["kind"] == "epoch":
            # Steps log the loss of the first process's half; epochs that of all.
            for key in ("loss", "teacher_entropy", "kl", "eer/veri_test"):
                assert row[key] == pytest.approx(expected[key], rel=1e-3), key
            assert row["steps"] == expected["steps"]
    verified = [
        runs.results(f)["verification"] for f in (one_process, two_processes[0])
    ]
    assert verified[0]["veri_test"]["eer"] == verified[1]["veri_test"]["eer"]


def test_results_are_written_once(two_processes):
    folder, output = two_processes
    assert output.count("epoch 2/3: loss ") == 1
    assert output.count("Report: ") == 1
    logged = (folder / "log.txt").read_text(encoding="utf-8")
    assert logged.count("epoch 2/3: loss ") == logged.count("epoch 2: loss ") == 1
    assert (folder / "train_log.txt").read_text(encoding="utf-8").count(
        "epoch: 2,"
    ) == 1
    assert (
        len(
            (folder / "scores" / "veri_test.txt")
            .read_text(encoding="utf-8")
            .splitlines()
        )
        == 28
    )
    assert (folder / "inference" / "embedding_model.ckpt").exists()
    assert not list((folder / "save").glob(".saving-*"))
