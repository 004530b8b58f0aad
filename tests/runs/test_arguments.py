"""Words of a command line: sorted, kept as written, run options in their types."""

import pytest
from speechbrain.utils.run_opts import HELP_TEXTS

from speechbrain_dino.runs.arguments import (
    ANYWHERE,
    OWN,
    REFUSED,
    TRAINING,
    read_options,
    split_arguments,
    texts_of,
)


def options(*words, trains=True):
    arguments = split_arguments(["a.yaml", *words])
    return read_options(arguments.options, "a.yaml", trains)


def texts(*words, keys=("name", "x")):
    return texts_of(split_arguments(["a.yaml", *words]), keys)[0]


@pytest.mark.parametrize(
    "text",
    ["run #2", "a: b", "a=b", "http://a/?b=c&d=e", "-1e-3", "[a, b]", "", "two  words"],
)
@pytest.mark.parametrize("joined", [True, False])
def test_values_stay_as_they_are_written(text, joined):
    words = [f"--name={text}"] if joined else ["--name", text]
    assert texts(*words, "--x", "1") == {"name": text, "x": "1"}


def test_words_of_one_value_belong_together():
    assert texts("--name", "[a,", "b]", "--x=1") == {"name": "[a, b]", "x": "1"}


@pytest.mark.parametrize("place", [0, 1, 2])
def test_the_recipe_may_stand_among_options(place):
    words = ["--debug", "--device=cpu"]
    words.insert(place, "b.yaml")
    arguments = split_arguments(words)
    assert arguments.hparams_file == "b.yaml"
    assert arguments.options == {"debug": [], "device": ["cpu"]}


@pytest.mark.parametrize(
    "words, message",
    [
        ([], "name a recipe's YAML first"),
        (["--name", "a.yaml"], "name a recipe's YAML first"),
        (["a.yaml", "b.yaml"], "'b.yaml' belongs to no option"),
        (["a.yaml", "--debug", "maybe"], "'maybe' belongs to no option"),
        (["a.yaml", "--device", "cpu", "cuda"], "'cuda' belongs to no option"),
        (["a.yaml", "--x", "1", "--x=2"], "--x is given twice"),
        (["a.yaml", "--debug", "--debug"], "--debug is given twice"),
        (["a.yaml", "--"], "-- is no option"),
        (["a.yaml", "--a b"], "--a b is no option"),
    ],
)
def test_words_that_belong_nowhere_are_named(words, message):
    with pytest.raises(ValueError, match=message):
        split_arguments(words)


def test_a_key_without_a_value_is_named():
    with pytest.raises(ValueError, match="--name has no value"):
        texts("--name")


@pytest.mark.parametrize(
    "name, option", [("dev", "device"), ("eval", "eval_precision")]
)
def test_run_options_are_written_out(name, option):
    with pytest.raises(ValueError, match=f"--{name} is short for --{option}"):
        texts(f"--{name}", "x")
    assert texts(f"--{name}", "x", keys=[name]) == {name: "x"}  # a key of the recipe


def test_a_key_of_the_recipe_counts_before_a_run_option():
    arguments = split_arguments(["a.yaml", "--ckpt_interval_minutes", "0.5"])
    assert texts_of(arguments, ["ckpt_interval_minutes"])[1] == {}
    assert texts_of(arguments, [])[0] == {}


@pytest.mark.parametrize(
    "words, expected",
    [
        ([], False),
        (["--debug"], True),
        (["--debug", "yes"], True),
        (["--debug=on"], True),
        (["--debug", "no"], False),
        (["--debug=Off"], False),
        (["--debug", "--compile"], True),
    ],
)
def test_flags_take_words_for_yes_and_no(words, expected):
    assert options(*words)[0].debug is expected


def test_run_options_are_read_in_their_types():
    words = ["--optimizer_step_limit", "8", "--device", "none"]
    words += ["--compile_module_keys", "student", "teacher"]
    words += ["--allow_changed", "seed,data", "--precision=bf16"]
    run_opts, own = options(*words)
    assert run_opts.optimizer_step_limit == 8 and run_opts.device is None
    assert run_opts.compile_module_keys == ["student", "teacher"]
    assert own == {"allow_changed": ["seed", "data"], "precision": "bf16"}
    given = {"optimizer_step_limit", "device", "compile_module_keys"}
    assert run_opts.overridden_args == given and run_opts.param_file == "a.yaml"


@pytest.mark.parametrize(
    "words, message",
    [
        (
            ["--debug_batches", "a"],
            "--debug_batches a: expected an integer of at least",
        ),
        (["--grad_accumulation_factor", "0"], "expected an integer of at least 1"),
        (["--debug=maybe"], "--debug maybe: expected True or False"),
        (["--compile_mode", "x"], "expected default, reduce-overhead or max-autotune"),
        (["--optimizer_step_limit"], "--optimizer_step_limit has no value"),
    ],
)
def test_wrong_run_options_are_named(words, message):
    with pytest.raises(ValueError, match=message):
        options(*words)


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_options_that_would_change_nothing_are_refused(name):
    with pytest.raises(ValueError, match=f"^--{name}: ."):
        options(f"--{name}")


def test_options_of_training_are_refused_where_nothing_is_trained():
    with pytest.raises(ValueError, match="--debug is for recipes that train"):
        options("--debug", trains=False)
    assert options("--device=cpu", trains=False)[0].device == "cpu"


def test_every_run_option_of_speechbrain_is_decided_on():
    handled = {*ANYWHERE, *TRAINING, *REFUSED, *OWN}
    assert set(HELP_TEXTS) <= handled
