"""What references, values of rounds and parts of a recipe give, or why they do not."""

import pytest
from hyperpyyaml import load_hyperpyyaml

from speechbrain_dino.runs.keys import read_keys
from speechbrain_dino.runs.references import resolved

COUNTED = (
    "seed: 10\nhalf: !ref <seed> / 4\nnumber_of_epochs: !ref <a> + <b>\na: 1\nb: 1\n"
)


def values(recipe, **texts):
    return load_hyperpyyaml(resolved(recipe, read_keys(recipe, texts)))


def test_a_reference_in_a_known_key_is_checked_when_it_is_replaced():
    assert values(COUNTED, number_of_epochs="3")["number_of_epochs"] == 3
    with pytest.raises(ValueError, match="--number_of_epochs x: expected an integer"):
        values(COUNTED, number_of_epochs="x")


def test_a_key_that_refers_to_another_has_the_type_of_that():
    assert values(COUNTED, half="7")["half"] == 7
    with pytest.raises(ValueError, match="--half x: expected a number"):
        values(COUNTED, half="x")


def test_what_references_give_is_checked_and_of_the_key_s_type():
    recipe = COUNTED + "steps: !ref <number_of_epochs> * 10\n"
    built = values(recipe, number_of_epochs="!ref <seed> / 2")
    assert built["number_of_epochs"] == 5 and built["steps"] == 50
    assert type(built["number_of_epochs"]) is int
    with pytest.raises(
        ValueError, match=r"number_of_epochs: .* gives 2.5: expected an"
    ):
        values(recipe, number_of_epochs="!ref <seed> / 4")
    with pytest.raises(
        ValueError, match=r"number_of_epochs: .* gives 1.5: expected an"
    ):
        values(recipe, a="0.5")


@pytest.mark.parametrize(
    "text", ["!ref <none>", "!ref <seed> / 0", "!ref <seed", "!ref"]
)
def test_references_that_lead_nowhere_are_named(text):
    with pytest.raises(ValueError) as error:
        values(COUNTED, seed=text)
    assert "!ref" in str(error.value) and "\n" not in str(error.value)


# -- by_round -----------------------------------------------------------------

ROUNDS = "vad: True\nbatch_size: 4\nname: run\nby_round: {batch_size: [4, 8]}\n"


def test_values_of_rounds_have_the_type_of_their_key():
    text = (
        "{vad: [no, True], batch_size: [!ref <batch_size> / 2, 8.0], name: [1e3, no]}"
    )
    rounds = values(ROUNDS, by_round=text)["by_round"]
    assert rounds["vad"] == [False, True] and rounds["batch_size"] == [2, 8]
    assert all(type(number) is int for number in rounds["batch_size"])


@pytest.mark.parametrize(
    "text, words",
    [
        ("{batch_size: [4, x]}", "by_round: batch_size x: expected an integer"),
        ("{batch_size: 4}", "by_round: batch_size 4: expected a list"),
        ("{width: [4]}", "by_round: there is no key 'width'"),
        ("4", "--by_round 4: expected entries {name: value}, or null"),
        ("{vad: [!name:os.system ]}", "--by_round !name:os.system: expected"),
    ],
)
def test_wrong_values_of_rounds_are_named(text, words):
    with pytest.raises(ValueError) as error:
        values(ROUNDS, by_round=text)
    assert str(error.value).startswith(words)


# -- objects ------------------------------------------------------------------

PARTS = """
rate: 0.1
gate: null
lr_schedule: !name:speechbrain_dino.training.schedules.constant {value: !ref <rate>}
opt_class: !name:torch.optim.Adam {lr: 0.1, amsgrad: True}
loss: !new:torch.nn.MSELoss
scorings: {cosine: !new:torch.nn.Identity , one: {a: 1}}
"""


def test_arguments_of_objects_are_merged_and_objects_replaced_whole():
    built = values(
        PARTS,
        opt_class="!name:torch.optim.SGD {momentum: 0.9}",
        loss="{reduction: sum}",
        lr_schedule="{value: 3}",
        gate="!new:torch.nn.Identity",
        scorings="{one: {a: 2}}",
    )
    assert built["opt_class"].func.__name__ == "SGD"
    assert built["opt_class"].keywords == {"momentum": 0.9}
    assert built["loss"].reduction == "sum" and built["lr_schedule"](0) == 3
    assert type(built["gate"]).__name__ == "Identity"
    assert built["scorings"]["one"] == {"a": 2} and "cosine" in built["scorings"]
    assert values(PARTS, lr_schedule="0.5")["lr_schedule"] == 0.5


@pytest.mark.parametrize(
    "text",
    [
        "!name:os.system",
        "!new:subprocess.Popen [ls]",
        "!apply:os.system [ls]",
        "!apply:torch.load [x]",
        "!name:torch.os.system",
        "!name:speechbrain_dino.runs.train.json.loads",
        "!module:os",
        "!include:x.yaml",
        "!!python/object/apply:os.system [ls]",
        "[!name:os.system]",
        "{a: [!apply:os.system [ls]]}",
        "{!apply:os.system [ls]: 1}",
        "!name:torch.optim.SGD {lr: !apply:os.system [ls]}",
    ],
)
@pytest.mark.parametrize("key", ["rate", "gate", "lr_schedule", "scorings"])
def test_objects_of_other_packages_are_refused(key, text):
    with pytest.raises(ValueError, match=f"^--{key}"):
        values(PARTS, **{key: text})


@pytest.mark.parametrize(
    "key, text, words",
    [
        ("loss", "3", "--loss 3: expected an object such as !new:torch.nn.MSELoss"),
        ("loss", "null", "--loss null: expected an object"),
        ("loss", "{sum: 1}", "--loss: torch.nn.MSELoss has no argument 'sum', but"),
        ("opt_class", "{lr: x}", "--opt_class: lr x: expected a number"),
        ("opt_class", "{lr: {a: 1}}", "--opt_class: lr is no mapping"),
        ("gate", "!new:torch.nn.Nothing", "--gate !new:torch.nn.Nothing: expected"),
        ("scorings", "[1]", "--scorings [1]: expected entries {name: value}"),
        ("scorings", "{a: *b}", "--scorings {a: *b}: no YAML"),
        ("scorings", "{a: &b 1, c: *b}", "--scorings {a: &b 1, c: *b}: no YAML"),
        ("scorings", "{a: 1", "--scorings {a: 1: no YAML"),
        ("gate", "[" * 500, "--gate [[["),
    ],
)
def test_wrong_parts_end_in_one_line(key, text, words):
    with pytest.raises(ValueError) as error:
        values(PARTS, **{key: text})
    assert str(error.value).startswith(words) and "\n" not in str(error.value)
