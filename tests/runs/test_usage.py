"""Help on scripts and recipes."""

import re
import runpy
import subprocess
import sys

import pytest
import recipe_runs as runs

from speechbrain_dino.runs.usage import key_lines, option_lines, recipe_lines

SCRIPTS = sorted((runs.ROOT / "recipes").glob("*/*.py"))


def run(script, *words):
    done = subprocess.run(
        [sys.executable, script.name, *words],
        cwd=script.parent,
        env=runs.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_scripts_say_what_they_do_with_three_examples(script):
    text = run(script, "--help")
    assert text.startswith(("Recipe for ", "usage: "))
    assert text.count(f"> python {script.name}") + text.count("> torchrun") >= 3
    assert "Authors" not in text
    assert max(map(len, text.splitlines())) <= 100


def test_scripts_list_their_own_recipes():
    text = run(runs.RECIPE / "cluster.py", "-h")
    listed = [line.split()[0] for line in text.splitlines() if "  hparams/" in line]
    assert listed == ["hparams/cluster.yaml", "hparams/cluster_plda.yaml"]


def test_help_on_a_recipe_is_its_keys():
    text = run(runs.RECIPE / "train.py", "hparams/dino_mini.yaml", "-h")
    keys, options = text.split("Run options of SpeechBrain:")
    lines = [line.split() for line in keys.splitlines()]
    assert ["--batch_size", "48"] in [line[:2] for line in lines]
    assert "--data_folder (needed)" in keys and "Parts, replaced in the YAML:" in keys
    assert keys.index("\nData\n") < keys.index("\nCrops\n") < keys.index("\nModel\n")
    assert "--device" in options and "--batch_size" not in options
    # A key of the recipe stands once; what is refused is not offered.
    assert text.count("--ckpt_interval_minutes") == 1
    assert "--auto_mix_prec" not in options


def test_sections_are_those_of_the_first_file_that_has_the_key(tmp_path):
    base = (
        "seed: 1\n# Data ---\nfolder: !PLACEHOLDER   # audio\n# Model ---\nwidth: 8\n"
    )
    (tmp_path / "base.yaml").write_text(base, encoding="utf-8")
    text = "# a comment\nextends: base.yaml\nfolder: here\nnew: [1, 2]\nwidth: 16\n"
    (tmp_path / "top.yaml").write_text(text, encoding="utf-8")
    lines = [" ".join(line.split()) for line in key_lines(tmp_path / "top.yaml")]
    expected = [
        "--seed 1 an integer from 0 to 4294967295",
        "--new [1, 2]",
        "",
        "Data",
        "--folder here audio",
    ]
    assert lines[:7] == [*expected, "", "Model"] and lines[7] == "--width 16"


def test_run_options_are_in_order():
    names = [line.split()[0] for line in option_lines() if line.startswith("  --")]
    assert names == sorted(names) and "--debug" in names and "--help" not in names


@pytest.mark.parametrize("columns, most", [(60, 60), (80, 80), (300, 88)])
def test_lines_fit_the_terminal(monkeypatch, columns, most):
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = [*option_lines(), *recipe_lines(runs.RECIPE / "train.py")]
    lines = [line for text in lines for line in text.splitlines()]
    assert most - 8 < max(map(len, lines)) <= most
    assert not any(line.endswith("- ...") for line in lines)


@pytest.mark.parametrize(
    "module", ["cluster", "finetune", "probe", "rounds", "train", "verify"]
)
@pytest.mark.filterwarnings("ignore:.*found in sys.modules")
def test_modules_without_a_command_line_name_the_script(module):
    with pytest.raises(SystemExit) as end:
        runpy.run_module(f"speechbrain_dino.runs.{module}", run_name="__main__")
    (script,) = re.findall(r"recipes/\S+\.py", str(end.value))
    assert (runs.ROOT / script).is_file()
