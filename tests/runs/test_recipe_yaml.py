"""Recipes that say only what differs."""

from dataclasses import fields
from pathlib import Path

import pytest
from hyperpyyaml import load_hyperpyyaml
from ruamel.yaml import YAML
from speechbrain.utils.run_opts import RunOptions

from speechbrain_dino.runs.recipe_yaml import read_recipe

RECIPES = Path(__file__).resolve().parents[2] / "recipes"
# A plan of several recipes is none of them.
YAMLS = [
    path
    for path in sorted(RECIPES.glob("*/hparams/*.yaml"))
    if path.parts[-3] != "Paper"
]


def write(folder, **files):
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    return folder


def load(path, overrides=""):
    return load_hyperpyyaml(read_recipe(path), overrides)


def depth(path):
    """How many files follow each other from a recipe to what it rests on."""
    bases = YAML(typ="rt").load(path.read_text("utf-8")).get("extends", [])
    bases = [bases] if isinstance(bases, str) else bases
    return 1 + max((depth(path.parent / base) for base in bases), default=0)


@pytest.mark.parametrize("path", YAMLS, ids=lambda p: f"{p.parts[-3]}-{p.stem}")
def test_chains_of_recipes_are_two_deep(path):
    assert depth(path) - 1 <= 2


def test_replaced_keys_are_followed_by_references(tmp_path):
    base = """
rate: 0.1
peak: !ref <rate> * 2
part: !new:collections.Counter
    - [!ref <peak>, 7]
whole: [!ref <part>, !ref <folder>/x]
folder: out
"""
    write(tmp_path, base=base, top="extends: base.yaml\nrate: 4\nfolder: in\n")
    hparams = load(tmp_path / "top.yaml")
    assert hparams["peak"] == 8
    assert hparams["part"] == {8: 1, 7: 1}
    assert hparams["whole"] == [{8: 1, 7: 1}, "in/x"]
    assert "extends" not in hparams
    assert load(tmp_path / "top.yaml", "rate: 5")["peak"] == 10


def test_a_key_is_replaced_as_a_whole(tmp_path):
    write(
        tmp_path,
        base="a: !new:collections.Counter {x: 1, y: 2}\nb: {c: 1, d: 2}\n",
        top="extends: base.yaml\na: !new:collections.Counter {z: 3}\nb: {d: 5}\n",
    )
    assert load(tmp_path / "top.yaml") == {"a": {"z": 3}, "b": {"d": 5}}


def test_new_keys_may_use_old_ones_and_the_other_way_round(tmp_path):
    write(
        tmp_path,
        base="old: !ref <seed>\nseed: 1\n",
        top="extends: base.yaml\nold: !ref <new> + 1\nnew: !ref <seed> + 1\n",
    )
    assert load(tmp_path / "top.yaml") == {"old": 3, "seed": 1, "new": 2}


def test_chain_across_folders(tmp_path):
    (tmp_path / "sub").mkdir()
    write(tmp_path, base="a: 1\nb: 1\nc: 1\n", middle="extends: base.yaml\nb: 2\n")
    write(tmp_path / "sub", top="extends: ../middle.yaml\nc: 3\n")
    assert load(tmp_path / "sub" / "top.yaml") == {"a": 1, "b": 2, "c": 3}


def test_values_survive(tmp_path):
    text = """
tiny: 0.00005
power: 1e-3
truth: True
nothing: null
quoted: '007'
path: !ref <quoted>/a b
missing: !PLACEHOLDER
listed: [a.txt, "b: c"]
function: !name:math.hypot
"""
    write(tmp_path, base=text, top="extends: base.yaml\n")
    hparams = load(tmp_path / "top.yaml", "missing: here")
    plain = load_hyperpyyaml(text, "missing: here")
    assert hparams == plain
    assert (hparams["tiny"], hparams["power"]) == (5e-5, 1e-3)
    assert hparams["function"](3, 4) == 5
    with pytest.raises(ValueError, match="'missing' is a !PLACEHOLDER"):
        load(tmp_path / "top.yaml")


@pytest.mark.parametrize("top", ["a", "b"])
def test_circles_are_refused(tmp_path, top):
    write(tmp_path, a="extends: b.yaml\n", b="extends: c.yaml\n", c="extends: b.yaml\n")
    with pytest.raises(ValueError, match=r"b\.yaml extends itself, by way of .*c\."):
        read_recipe(tmp_path / f"{top}.yaml")


def test_itself_is_a_circle(tmp_path):
    write(tmp_path, a="extends: a.yaml\n")
    with pytest.raises(ValueError, match="extends itself"):
        read_recipe(tmp_path / "a.yaml")


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "word\n"])
def test_what_is_no_mapping_is_refused(tmp_path, text):
    write(tmp_path, a=text)
    with pytest.raises(ValueError, match=r"a\.yaml holds no keys"):
        read_recipe(tmp_path / "a.yaml")


def test_there_are_recipes():
    assert len(YAMLS) >= 3


@pytest.mark.parametrize("path", YAMLS, ids=lambda p: f"{p.parts[-3]}-{p.stem}")
def test_recipe_loads_and_fits_together(path, tmp_path):
    keys = YAML(typ="rt").load(read_recipe(path))
    # Networks of full size are built elsewhere; here the YAML is what matters.
    small = {"out_dim": 16, "output_folder": str(tmp_path)}
    places = [k for k, v in keys.items() if getattr(v, "tag", None) == "!PLACEHOLDER"]
    small |= dict.fromkeys(places, "nowhere")
    overrides = "\n".join(f"{k}: {v}" for k, v in small.items() if k in keys)
    hparams = load(path, overrides)
    assert {key for key in keys if not key.startswith("__")} <= set(hparams)
    for name in ("prepare", "lr_schedule", "momentum_schedule"):
        if hparams.get(name) is not None:
            assert callable(hparams[name])
    if "student" in hparams.get("modules", ()):
        assert hparams["modules"]["student"] is hparams["student"]
        optimizer = hparams["opt_class"](hparams["student"].parameters(), lr=0.1)
        assert len(optimizer.param_groups) == 1


@pytest.mark.parametrize("path", YAMLS, ids=lambda p: f"{p.parts[-3]}-{p.stem}")
def test_no_key_is_taken_for_an_abbreviated_run_option(path):
    options = [field.name for field in fields(RunOptions)]
    for key in YAML(typ="rt").load(read_recipe(path)):
        longer = [name for name in options if name.startswith(key) and name != key]
        assert not longer, f"--{key} would be read as --{longer}"


@pytest.mark.parametrize("path", YAMLS, ids=lambda p: f"{p.parts[-3]}-{p.stem}")
def test_trainings_take_the_precision_of_the_hardware(path):
    keys = YAML(typ="rt").load(read_recipe(path))
    # What only embeds gives the same figures on every machine.
    assert keys["precision"] == ("auto" if "brain" in keys else "fp32")


def test_of_several_files_the_later_replaces_the_earlier(tmp_path):
    (tmp_path / "base.yaml").write_text("a: 1\nb: 1\nc: 1\nd: 1\n", encoding="utf-8")
    (tmp_path / "model.yaml").write_text(
        "extends: base.yaml\nb: 2\nc: 2\n", encoding="utf-8"
    )
    (tmp_path / "task.yaml").write_text("extends: base.yaml\nc: 3\n", encoding="utf-8")
    own = tmp_path / "own.yaml"
    # base.yaml counts once, before both: task.yaml does not bring back its b.
    own.write_text("extends: [model.yaml, task.yaml]\nd: 4\n", encoding="utf-8")
    assert load_hyperpyyaml(read_recipe(own)) == {"a": 1, "b": 2, "c": 3, "d": 4}
    own.write_text("extends: [task.yaml, model.yaml]\nd: 4\n", encoding="utf-8")
    assert load_hyperpyyaml(read_recipe(own)) == {"a": 1, "b": 2, "c": 2, "d": 4}


@pytest.mark.parametrize("word, value", [("no", "False"), ("On", "True")])
def test_words_for_yes_and_no_in_a_recipe(tmp_path, word, value):
    (tmp_path / "base.yaml").write_text("vad: True\n", encoding="utf-8")
    top = tmp_path / "top.yaml"
    top.write_text(f"extends: base.yaml\nvad: {word}\n", encoding="utf-8")
    assert read_recipe(top).lower().strip() == f"vad: {value}".lower()
    top.write_text("extends: base.yaml\nvad: maybe\n", encoding="utf-8")
    with pytest.raises(ValueError, match="vad maybe: expected True or False"):
        read_recipe(top)
