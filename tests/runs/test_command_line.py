"""From the command line to the YAML's objects."""

import logging
import subprocess
import sys

import pytest

from speechbrain_dino.runs import command_line
from speechbrain_dino.runs.command_line import Launch, read_arguments, start_run
from speechbrain_dino.utils.errors import check_arguments, plain_errors

YAML = """
data_folder: !PLACEHOLDER
batch_size: 32
lists: [a, b]
output_folder: !ref <data_folder>/out
twice: !ref <batch_size> * 2
"""
TOP = "extends: base.yaml\nbatch_size: 8\n"
# In a process of its own: starting a run sets up logging and the C library.
START = """
import sys
from speechbrain_dino.runs.command_line import start_run
hparams, run_opts = start_run(sys.argv[1:])
print(hparams["batch_size"], hparams["twice"], hparams["lists"], run_opts.device)
"""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recipe")
    (folder / "base.yaml").write_text(YAML, encoding="utf-8")
    (folder / "top.yaml").write_text(TOP, encoding="utf-8")
    return folder / "top.yaml"


@pytest.fixture
def unsettled(monkeypatch):
    """Leaves the C library of the test process as it is."""
    monkeypatch.setattr(command_line, "keep_freed_memory", lambda: None)


# -- arguments ----------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ["dino.yaml"],
        ["dino.yaml", "--data_folder", "/a b/c", "--device", "cpu", "--debug"],
        ["dino.yaml", "--device=cpu", "--batch_size=64"],
        ["dino.yaml", "--trial_lists", "[a, b]", "--lr", "-1e-3"],
    ],
)
def test_plain_arguments_pass(arguments):
    check_arguments(arguments)


@pytest.mark.parametrize(
    "argument, option",
    [("--dev", "device"), ("--prec=bf16", "precision"), ("--comp", "compile")],
)
def test_abbreviations_are_refused(argument, option):
    with pytest.raises(SystemExit, match=f"is short for --{option}"):
        check_arguments(["dino.yaml", argument, "x"])


@pytest.mark.parametrize(
    "arguments",
    [["--url", "http://a/?rlkey=b"], ["--url=http://a/?rlkey=b"], ["--x", "lr=0.1"]],
)
def test_values_that_would_be_cut_are_refused(arguments):
    with pytest.raises(SystemExit, match=r"contains '='.* into the YAML"):
        check_arguments(["dino.yaml", *arguments])


def test_an_option_given_twice_is_refused():
    with pytest.raises(SystemExit, match="--batch_size is given twice: leave one"):
        check_arguments(["dino.yaml", "--batch_size", "4", "--x=1", "--batch_size=8"])


# -- a run --------------------------------------------------------------------


def test_run_starts_with_the_overrides(recipe, tmp_path):
    options = ["--data_folder", str(tmp_path), "--lists", "[c]", "--device=cpu"]
    command = [sys.executable, "-c", START, str(recipe), *options]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[-2] == "8 16 ['c'] cpu"
    written = (tmp_path / "out" / "hyperparams.yaml").read_text(encoding="utf-8")
    # YAML breaks lines that a long path makes long.
    assert f"output_folder: {tmp_path}/out" in " ".join(written.split())
    assert "extends" not in written and "batch_size: 8" in written


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([], "top.yaml needs 'data_folder': give it on the command line, --data_fol"),
        (
            ["--data_folder", "x", "--batch_sizes", "4"],
            "has no key 'batch_sizes'. Close to it: batch_size.",
        ),
        (["--data_folder", "x", "--zzz", "4"], "has no key 'zzz'. Its keys: data_fol"),
        (["--data_folder", "x", "--dev", "cpu"], "--dev is short for --device"),
        (
            ["--data_folder", "x", "--precision", "half"],
            "precision is 'half'; expected one of auto, bf16, fp16, fp32.",
        ),
        (
            ["--data_folder", "x", "--device=cpu", "--precision=fp16"],
            "precision is fp16, which is for GPUs, and the device is cpu: take auto",
        ),
        (["--data_folder", "x", "--auto_mix_prec"], "give --precision fp16."),
        (["--data_folder", "a=b"], "'a=b' contains '=', which SpeechBrain cuts"),
        (["--data_folder", "x", "--debug_batches", "a"], "--debug_batches: invalid"),
        (["--optimizer_step_limit", "two"], "--optimizer_step_limit two: expected an"),
    ],
)
def test_wrong_arguments_end_in_one_line(recipe, unsettled, arguments, message):
    with pytest.raises(SystemExit) as stop:
        start_run([str(recipe), *arguments])
    assert message in stop.value.code and "\n" not in stop.value.code


def test_missing_recipe_ends_in_one_line(recipe, unsettled):
    with pytest.raises(SystemExit, match=r"none\.yaml is no file: name a recipe's"):
        start_run([str(recipe.parent / "none.yaml"), "--data_folder", "x"])


def test_without_a_recipe_it_ends_in_one_line(unsettled):
    with pytest.raises(SystemExit) as stop:
        start_run([])
    assert stop.value.code == "name a recipe's YAML first; --help lists them."


@pytest.mark.parametrize("text", ["- a\n- b\n", "a: [\n", "extends: none.yaml\n"])
def test_what_is_no_recipe_ends_in_one_line(text, tmp_path, unsettled):
    path = tmp_path / "x.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SystemExit) as stop:
        start_run([str(path)])
    assert stop.value.code.startswith(f"{path} is no recipe: ")
    assert "\n" not in stop.value.code


@pytest.mark.parametrize("device", ["nonsense", "cuda"])
def test_a_device_that_is_not_there_is_named_once(
    recipe, unsettled, device, capsys, monkeypatch
):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # before a run's log
    with pytest.raises(SystemExit):
        start_run([str(recipe), "--data_folder", "x", "--device", device])
    assert capsys.readouterr().err.count(f"--device {device}: ") == 1


def test_the_limit_of_steps_is_a_number(recipe):
    words = [str(recipe), "--optimizer_step_limit", "8"]
    assert read_arguments(words)[1].optimizer_step_limit == 8


def test_keys_may_change_twice():
    launch = Launch("a: 1\nb: 1\nc: 1\n", "c: 4", "recipe.yaml", None)
    assert launch.changed(a=2).changed(b=3).build() == {"a": 2, "b": 3, "c": 4}


# -- errors that the user mends -----------------------------------------------


def test_expected_errors_end_the_program_plainly(caplog):
    with (
        caplog.at_level(logging.INFO),
        pytest.raises(SystemExit) as stop,
        plain_errors(ValueError),
    ):
        raise ValueError("a.wav is empty")
    assert stop.value.code not in (0, None)


def test_other_errors_pass_through():
    with pytest.raises(KeyError), plain_errors(ValueError):
        raise KeyError("a bug")


def test_no_error_is_no_exit():
    with plain_errors(ValueError):
        done = True
    assert done
