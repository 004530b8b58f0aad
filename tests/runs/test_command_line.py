"""From the command line to the YAML's objects."""

import logging
import subprocess
import sys

import pytest

from speechbrain_dino.runs import command_line
from speechbrain_dino.runs.command_line import Launch, start_run
from speechbrain_dino.utils.errors import plain_errors

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


NOISE = """
output_folder: !PLACEHOLDER
noise_max_hours: null
brain: !name:collections.Counter
"""
HOURS = """
import sys
from speechbrain_dino.augment import banks
from speechbrain_dino.runs import command_line
hours = float(sys.argv.pop(1))
command_line.default_hours = lambda: hours
hparams, _ = command_line.start_run(sys.argv[1:])
print("hours", hparams["noise_max_hours"])
"""


def test_a_run_holds_the_hours_of_noise_that_it_began_with(tmp_path):
    (tmp_path / "recipe.yaml").write_text(NOISE, encoding="utf-8")

    def hours(default, *words):
        options = [tmp_path / "recipe.yaml", "--output_folder", tmp_path / "run"]
        command = [sys.executable, "-c", HOURS, default, *map(str, options), *words]
        done = subprocess.run(command, capture_output=True, text=True)
        return done.stdout.split("\n")[-2] if done.returncode == 0 else done.stderr

    assert hours("20") == "hours 20.0"
    (tmp_path / "run" / "save" / "CKPT+1").mkdir(parents=True)
    assert hours("5") == "hours 20.0"
    assert hours("5", "--noise_max_hours", "null") == "hours 20.0"
    assert "noise_max_hours 20.0, and now noise_max_hours is 5" in hours(
        "5", "--noise_max_hours", "5"
    )
    settings = tmp_path / "run" / "hyperparams.yaml"
    text = settings.read_text(encoding="utf-8")
    # As runs of before left it.
    settings.write_text(text.replace("20.0", "null"), encoding="utf-8")
    assert hours("5") == "hours 5.0"


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([], "top.yaml needs 'data_folder': give it on the command line, --data_fol"),
        (
            ["--data_folder", "x", "--batch_sizes", "4"],
            "has no key 'batch_sizes'. Close to it: batch_size",
        ),
        (["--data_folder", "x", "--zzz", "4"], "has no key 'zzz'. Its keys: data_fol"),
        (["--data_folder", "x", "--dev", "cpu"], "--dev is short for --device"),
        (
            ["--data_folder", "x", "--precision", "half"],
            "--precision half: expected auto, bf16, fp16 or fp32",
        ),
        (
            ["--data_folder", "x", "--device=cpu", "--precision=fp16"],
            "precision is fp16, which is for GPUs, and the device is cpu: take auto",
        ),
        (["--data_folder", "x", "--auto_mix_prec"], "give --precision fp16 instead"),
        (
            ["--data_folder", "x", "--debug_batches", "a"],
            "--debug_batches is for recipes that train: leave it out",
        ),
        (["--device"], "--device has no value: write --device VALUE"),
        (["--log_config", "x", "--distributed_backend", "x"], "expected nccl, gloo or"),
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


def test_keys_may_change_twice():
    launch = Launch("a: 1\nb: 1\nc: 1\n", {"c": 4}, "recipe.yaml", None)
    built = launch.changed(a=2).changed(b=3).build()
    assert built == {"a": 2, "b": 3, "c": 4, "allow_changed": ()}


WARM_UP = """
epochs: 4
lr_schedule: !name:speechbrain_dino.training.schedules.warmup_cosine
    {peak: 1.0, final: 0.0, warmup: 2, total: !ref <epochs>}
"""


def test_schedules_are_tried_before_anything_is_prepared():
    launch = Launch(WARM_UP, {}, "recipe.yaml", None)
    assert launch.build()["lr_schedule"](2) == 1.0
    with pytest.raises(SystemExit) as stop:
        launch.changed(epochs=1).build()
    assert stop.value.code == (
        "recipe.yaml: lr_schedule: warmup is 2 of total 1 epochs; expected 0..total: "
        "give fewer epochs of warm-up, or more in total"
    )


@pytest.mark.parametrize(
    "recipe",
    [
        "a: !new:collections.Nothing\n",
        "a: !new:torch.nn.Linear {wide: 3}\n",
        "a: !ref <b>\n",
        "a: !ref <b>\nb: !ref <a>\n",
        "a: !ref <b> / <c>\nb: 1\nc: 0\n",
    ],
)
def test_what_cannot_be_built_ends_in_one_line(recipe):
    with pytest.raises(SystemExit) as stop:
        Launch(recipe, {}, "recipe.yaml", None).build()
    assert stop.value.code.startswith("recipe.yaml: ") and "\n" not in stop.value.code


# -- errors that the user fixes -----------------------------------------------


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
