"""Values of keys: refused in one line, or taken in the key's type."""

import io
from functools import cache
from pathlib import Path

import pytest
from hyperpyyaml import load_hyperpyyaml
from ruamel.yaml import YAML

from speechbrain_dino.runs.command_line import start_run
from speechbrain_dino.runs.keys import (
    RULES,
    check_keys,
    check_recipe,
    checked,
    rule_of,
)
from speechbrain_dino.runs.recipe_yaml import read_recipe

RECIPES = Path(__file__).resolve().parents[2] / "recipes"
TRIED = (
    "VoxCeleb/hparams/dino_mini.yaml",
    "VoxCeleb/hparams/pseudo_labels_mini.yaml",
    "VoxCeleb/hparams/verify.yaml",
    "VoxCeleb/hparams/cluster.yaml",
    "CREMA-D/hparams/finetune_mini.yaml",
    "CREMA-D/hparams/probe_mini.yaml",
)


# What no key of a kind may be, as it is written.
WRONG = {
    int: ("abc", "1.5", "[1]", "{a: 1}", ".inf", ".nan", "yes", "-1"),
    float: ("abc", "[1]", "{a: 1}", ".inf", ".nan", "True"),
    bool: ("abc", "2", "[True]", "null", "''"),
    str: ("{a: b}",),
    list: ("{a: b}",),
}


def wrong_values():
    """Wrong values of every plain key, in the first recipe that has it by a rule."""
    tried = set()
    for name in TRIED:
        keys = YAML(typ="rt").load(read_recipe(RECIPES / name))
        for key, value in keys.items():
            rule = rule_of(key, value)
            if rule is None or (key, rule) in tried:
                continue
            tried.add((key, rule))
            texts = [*WRONG[rule.kind]]
            texts += ["abc"] if rule.choices or rule.of in (int, float) else []
            texts += [] if rule.nullable else ["null"]
            texts += [str(rule.low - 1)] if rule.low is not None else []
            texts += [str(rule.high + 1)] if rule.high is not None else []
            texts += [str(rule.above)] if rule.above is not None else []
            for text in dict.fromkeys(texts):
                yield pytest.param(
                    name, key, text, id=f"{Path(name).stem}-{key}-{text}"
                )


@cache
def alone(name, key):
    """A recipe with one of its keys, which is read faster."""
    value = YAML(typ="rt").load(read_recipe(RECIPES / name))[key]
    stream = io.StringIO()
    YAML(typ="rt").dump({key: value}, stream)
    return stream.getvalue()


@pytest.mark.parametrize("name, key, text", list(wrong_values()))
def test_wrong_values_of_every_plain_key_end_in_one_line(name, key, text):
    recipe, given = alone(name, key), f"{key}: {text}"
    shown = YAML(typ="rt").load(given)[key]
    with pytest.raises(SystemExit) as stop:
        check_recipe(name, recipe, given)
    shown = "null" if shown is None else shown
    assert stop.value.code.startswith(f"{name}: --{key} {shown}: expected ".strip())
    assert "\n" not in stop.value.code


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*/hparams/*.yaml")), ids=str)
def test_recipes_keep_their_own_rules(path):
    assert check_keys(read_recipe(path), "") == {}


@pytest.mark.parametrize(
    "key, default, value, expected",
    [
        ("vad", True, "no", False),
        ("vad", False, "On", True),
        ("vad", True, False, False),
        ("batch_size", 48, 64, 64),
        ("batch_size", 48, 64.0, 64),
        ("base_lr", 0.1, 1, 1),
        ("clip_norm", 3.0, "None", None),
        ("out_dim", 1024, None, None),
        ("noise_folder", None, "/data/noise", "/data/noise"),
        ("placement", "independent", "disjoint", "disjoint"),
        ("name", "run", 7, "7"),
        ("trial_lists", ["a"], "veri_test", ["veri_test"]),
        ("gamma", 30, 0.5, 0.5),
        ("gamma", 30, None, None),
        ("num_clusters", 7500, "auto", "auto"),
        ("classes", "all", ["angry", "sad"], ["angry", "sad"]),
    ],
)
def test_values_are_taken_in_the_type_of_their_key(key, default, value, expected):
    result = checked(key, value, default)
    assert result == expected and type(result) is type(expected)


@pytest.mark.parametrize(
    "key, default, value, words",
    [
        ("batch_size", 48, 0, "an integer of at least 1 (the recipe has 48)"),
        ("batch_size", 48, 1.5, "an integer"),
        ("batch_size", 48, True, "an integer"),
        ("batch_size", 48, None, "an integer"),
        ("noise_prob", 0.7, 1.2, "a number from 0 to 1"),
        ("clip_norm", 3.0, -1, "a number of at least 0, or null"),
        ("base_lr", 0.1, float("nan"), "a number of at least 0"),
        ("placement", "independent", "apart", "independent or disjoint"),
        ("vad", True, "maybe", "True or False"),
        ("num_clusters", 7500, "many", "an integer of at least 1, or auto, or null"),
        ("vad", True, 1, "True or False"),
        ("batch_size", 48, float("inf"), "an integer of at least 1"),
        ("base_lr", 0.1, float("inf"), "a number of at least 0"),
        ("global_seconds", 4.0, 0, "a number above 0"),
        ("train_size", [8, 50], ["a", 2], "a list of integers"),
        ("kind", "auto", "names", "auto, classes or numbers"),
        ("placement", "independent", None, "independent or disjoint"),
        ("output_folder", "results", None, "expected text"),
        ("class_weight", "balanced", "heavy", "expected balanced, or null"),
    ],
)
def test_what_does_not_fit_is_named_with_what_is_expected(key, default, value, words):
    with pytest.raises(ValueError) as error:
        checked(key, value, default)
    assert f"--{key} " in str(error.value) and words in str(error.value)


@pytest.mark.parametrize("text", ["007", "1e3", "true", "no", "2024-1-1", "1:30"])
def test_text_stays_as_it_was_written(text):
    recipe = "name: run\nnoise_folder: null\nlists: [a]\ndata_folder: !PLACEHOLDER\n"
    keys = dict.fromkeys(("name", "noise_folder", "data_folder"), text)
    keys["lists"] = f"[{text}, b]"
    given = "\n".join(f"{key}: {value}" for key, value in keys.items())
    built = load_hyperpyyaml(recipe, check_keys(recipe, given))
    assert built == {**keys, "lists": [text, "b"]}


def test_a_wrong_value_of_the_recipe_itself_is_named():
    with pytest.raises(ValueError) as error:
        check_keys("seed: 1\nnoise_prob: 1.2\n", "seed: 2")
    assert str(error.value) == "noise_prob: 1.2: expected a number from 0 to 1"


def test_objects_and_references_are_left_alone():
    recipe = "net: !new:collections.Counter\nrate: !ref <seed>\nseed: 1\n"
    given = check_keys(recipe, "net: !new:collections.Counter\nrate: word\nx: 1")
    assert given["rate"] == "word" and given["x"] == 1 and "net" in given
    assert "rate" not in RULES


def test_a_reference_in_a_known_key_is_checked_when_it_is_replaced():
    recipe = "number_of_epochs: !ref <a> + <b>\na: 1\nb: 1\n"
    assert check_keys(recipe, "number_of_epochs: 3") == {"number_of_epochs": 3}
    with pytest.raises(ValueError, match="--number_of_epochs x: expected an integer"):
        check_keys(recipe, "number_of_epochs: x")


@pytest.mark.parametrize("words", [["--batch_size", "abc"], ["--vad", "maybe"]])
def test_wrong_values_end_the_program_in_one_line(words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe = str(RECIPES / TRIED[0])
    with pytest.raises(SystemExit) as stop:
        start_run([recipe, "--data_folder", "none", "--device", "cpu", *words])
    assert words[0] in stop.value.code and "\n" not in stop.value.code
    assert list(tmp_path.iterdir()) == []  # before anything is written
