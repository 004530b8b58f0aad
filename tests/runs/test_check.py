"""A recipe checked without data."""

import subprocess
import sys

import pytest
import recipe_runs as runs
from hyperpyyaml import load_hyperpyyaml

from speechbrain_dino.runs.check import main, report
from speechbrain_dino.runs.recipe_yaml import read_recipe

HPARAMS = runs.RECIPE / "hparams"


def values(*words):
    """What the report says, by name."""
    rows = [line.strip().split("  ", 1) for line in report(list(map(str, words)))]
    return {row[0]: row[-1].strip() for row in rows}


def test_sizes_are_those_of_the_modules():
    printed = values(HPARAMS / "dino_mini.yaml", "--out_dim", 32)
    hparams = load_hyperpyyaml(
        read_recipe(HPARAMS / "dino_mini.yaml"), {"data_folder": "x", "out_dim": 32}
    )
    total = 0
    for name, module in (("encoder", "embedding_model"), ("head", "head")):
        count = sum(p.numel() for p in hparams[module].parameters())
        assert printed[name] == f"{count:,} parameters"
        total += count
    assert printed["total"] == f"{total:,} parameters"
    assert printed["crops per utterance"] == "2 x 2.5 s (global), 4 x 1.5 s (local)"
    assert printed["batch"].startswith("48 utterances")


def test_flops_and_memory_follow_the_crops():
    few, many = (
        values(HPARAMS / "simclr_mini.yaml", "--local_crops", number)
        for number in (0, 4)
    )
    for key in ("FLOPs per utterance", "memory per utterance"):
        # 2 x 2.5 s against 2 x 2.5 s + 4 x 1.5 s, and a head on each crop.
        ratio = float(many[key].split()[0]) / float(few[key].split()[0])
        assert ratio == pytest.approx(11 / 5, rel=0.15), key


def test_flops_of_a_linear_layer_are_counted_by_hand(tmp_path):
    recipe = runs.write_recipe(
        tmp_path / "x.yaml",
        embedding_model=runs.PLAIN_ENCODER,
        global_seconds=10.0,
        local_crops=0,
        out_dim=1,
    )
    printed = values(recipe)
    frames, crops = 1001, 2
    student = crops * 2 * (frames * 16 * 16 + 16 * 8 + 8 * 16 + 16 * 16 + 16 * 8 + 8)
    # Forward and twice that backward, and the teacher's forward.
    assert printed["FLOPs per utterance"] == f"{4 * student / 1e9:.1f} G in training"


@pytest.mark.parametrize(
    "path", sorted(HPARAMS.glob("*_mini.yaml")), ids=lambda p: p.stem
)
def test_small_recipes_are_in_order(path):
    assert next(report([str(path)])).endswith("keys and parts are in order")


def test_wrong_keys_and_values_are_named():
    for words, message in (
        (["--batch_size", "0"], "--batch_size 0: expected an integer of at least 1"),
        (["--batch_sizes", "4"], "has no key 'batch_sizes'"),
    ):
        with pytest.raises(SystemExit, match=message):
            main([str(HPARAMS / "dino_mini.yaml"), *words])


def test_it_is_a_command_that_leaves_nothing(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "speechbrain_dino.check", HPARAMS / "simclr_mini.yaml"],
        cwd=tmp_path,
        env=runs.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "FLOPs per utterance" in done.stdout and "torchvision" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_missing_recipe_and_a_model_that_is_given_are_named():
    with pytest.raises(SystemExit, match=r"none\.yaml is no file: name a recipe"):
        main(["none.yaml"])
    recipe = runs.ROOT / "recipes" / "CREMA-D" / "hparams" / "finetune_mini.yaml"
    assert list(report([str(recipe)]))[1] == "  trained is what start_model names"
