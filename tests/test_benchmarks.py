"""Benchmarks start, and those that are quick when small run to their end."""

import os
import runpy
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from speechbrain_dino.runs.recipe_yaml import read_recipe

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
RECIPES = BENCHMARKS.parent / "recipes" / "VoxCeleb" / "hparams"
SCRIPTS = sorted(path.name for path in BENCHMARKS.glob("*.py"))


@pytest.fixture
def run(monkeypatch):
    """Runs a benchmark as a program, in this process."""
    monkeypatch.setattr(sys, "path", [str(BENCHMARKS), *sys.path])
    monkeypatch.setattr(os, "environ", os.environ.copy())

    def run_script(name, *words):
        monkeypatch.setattr(sys, "argv", [name, *map(str, words)])
        runpy.run_path(str(BENCHMARKS / name), run_name="__main__")

    return run_script


def programs():
    """Those that are started as programs, without modules that they share."""
    texts = {name: (BENCHMARKS / name).read_text(encoding="utf-8") for name in SCRIPTS}
    return [name for name, text in texts.items() if '__name__ == "__main__"' in text]


@pytest.mark.parametrize("name", programs())
def test_they_say_what_they_take(run, capsys, name):
    with pytest.raises(SystemExit) as ended:
        run(name, "--help")
    assert ended.value.code == 0
    assert "usage: " in capsys.readouterr().out


@pytest.mark.parametrize("recipe", ["dino_mini.yaml", "dino_koleo_mini.yaml"])
def test_a_training_step_is_taken_apart(run, capsys, recipe):
    options = ["--batch_size", 2, "--out_dim", 32, "--steps", 1, "--warmup", 0]
    run("train_step.py", "--recipe", recipe, *options, "--precision", "fp32")
    shown = capsys.readouterr().out
    for part in ("augmentation", "features", "encoder backward", "teacher update"):
        assert part in shown
    assert "utterances/s" in shown


def test_settings_of_the_search_are_keys_of_their_recipes():
    settings = YAML(typ="safe").load(BENCHMARKS / "learning.yaml")["settings"]
    assert len(settings) > 40
    keys = {
        recipe: set(YAML(typ="rt").load(read_recipe(RECIPES / recipe)))
        for recipe in {recipe for recipe, _ in settings.values()}
    }
    for recipe, overrides in settings.values():
        assert set(overrides) <= keys[recipe], (recipe, overrides)
