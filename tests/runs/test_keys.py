"""Values of keys: refused in one line, or taken in the key's type."""

import io
from functools import cache
from pathlib import Path

import pytest
from hyperpyyaml import load_hyperpyyaml
from ruamel.yaml import YAML

from speechbrain_dino.runs.command_line import start_run
from speechbrain_dino.runs.keys import checked, read_keys
from speechbrain_dino.runs.recipe_yaml import read_recipe
from speechbrain_dino.runs.references import resolved
from speechbrain_dino.runs.rules import rule_of

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
    int: ("abc", "1.5", "[1]", "{a: 1}", "inf", "nan", "yes", "-1", "1 # x", "1e99"),
    float: ("abc", "[1]", "{a: 1}", "inf", "nan", "True", "1 # x", "1:30", "1,5"),
    bool: ("abc", "2", "[True]", "null", "", "y"),
    str: ("",),
    list: ("[{a: b]", "[a"),
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
            texts = [*WRONG[rule.kind]] if rule.kind is not list else []
            texts += ["abc", "[abc]"] if rule.of in (int, float) else []
            texts += ["abc"] if rule.choices else []
            if rule.nullable:
                texts = [text for text in texts if text]
            elif rule.kind is not str or rule.choices:
                texts += ["null"]
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
    with pytest.raises(ValueError) as error:
        read_keys(alone(name, key), {key: text})
    assert str(error.value).startswith(f"--{key} {text}: expected ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*/hparams/*.yaml")), ids=str)
def test_recipes_keep_their_own_rules(path):
    assert read_keys(read_recipe(path), {}) == {}


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
        ("global_seconds", 4.0, 0, "a number from 0.1 to 600"),
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


# As they are written, with what YAML or HyperPyYAML would make of them.
_WORDS = (
    "007 1e3 true no 2024-1-1 2024-11-26 1:30 0x10 1/0 1_0 a<b> <seed> (2) !x "
    '!name:os.system &a *b %T @x `a` "q" \'x a: {a:b} | > ? - # -1 $HOME é \udce9'
)
TEXTS = _WORDS.split()
TEXTS += ["run #2", "a: b", "a = b", "- a", "two  words", " a ", "a\nb", "x: !ref <y>"]


@pytest.mark.parametrize("text", TEXTS)
def test_text_stays_as_it_was_written(text):
    recipe = (
        "output_folder: run\ndata_folder: !PLACEHOLDER\nplace: !ref <output_folder>/x\n"
        "save_folder: !ref <place>/<output_folder>\nitem: [!ref <output_folder>]\n"
    )
    given = read_keys(recipe, {"output_folder": text, "data_folder": text})
    built = load_hyperpyyaml(resolved(recipe, given))
    assert built["output_folder"] == built["data_folder"] == built["item"][0] == text
    assert built["place"] == f"{text}/x" and built["save_folder"] == f"{text}/x/{text}"
    # A reference is text as well, and may be replaced.
    built = load_hyperpyyaml(
        resolved(recipe, read_keys(recipe, {"save_folder": text, **given}))
    )
    assert built["save_folder"] == text


@pytest.mark.parametrize("text", ["007", "1e3", "true", "run #2", "a: b", "a=b", "1/0"])
def test_items_of_lists_of_text_stay_as_they_were_written(text):
    recipe = "lists: [a]\ndata_folder: !PLACEHOLDER\n"
    given = dict.fromkeys(("lists", "data_folder"), f"[{text}, b,  c ]")
    built = load_hyperpyyaml(resolved(recipe, read_keys(recipe, given)))
    assert built == {key: [text, "b", "c"] for key in given}
    given = read_keys(recipe, {"lists": text, "data_folder": f'["{text}", "a, b"]'})
    built = load_hyperpyyaml(resolved(recipe, given))
    assert built == {"lists": [text], "data_folder": [text, "a, b"]}


@pytest.mark.parametrize("word", ["None", "none", "null", "~", "", "NULL"])
def test_words_for_nothing(word):
    recipe = "noise_folder: null\nclip_norm: 3.0\nvad: True\ngate: null\nout_dim: 8\n"
    keys = ("noise_folder", "clip_norm", "gate", "out_dim")
    assert read_keys(recipe, dict.fromkeys(keys, word)) == dict.fromkeys(keys)
    with pytest.raises(ValueError, match=r"--vad .*: expected True or False"):
        read_keys(recipe, {"vad": word})


@pytest.mark.parametrize("word", ["None", "none", "null", "~", "", "NULL", " None "])
@pytest.mark.parametrize("key", ["output_folder", "data_folder", "text"])
def test_a_text_that_is_needed_is_not_a_word_for_nothing(key, word):
    recipe = "output_folder: !ref <text>/1\ndata_folder: !PLACEHOLDER\ntext: a\n"
    with pytest.raises(ValueError, match=f"--{key} .*: expected text"):
        read_keys(recipe, {key: word})
    assert read_keys(recipe, {key: "./None"}) == {key: "./None"}


def test_a_wrong_value_of_the_recipe_itself_is_named():
    with pytest.raises(ValueError) as error:
        read_keys("seed: 1\nnoise_prob: 1.2\n", {"seed": "2"})
    assert str(error.value) == "noise_prob: 1.2: expected a number from 0 to 1"


@pytest.mark.parametrize(
    "key, words",
    [
        ("batchsize", "has no key 'batchsize'. Close to it: batch_size"),
        ("zzz", "has no key 'zzz'. Its keys: batch_size, loss"),
        ("loss.scale", "there is no key 'loss.scale': give --loss '{name: value}'"),
        ("loss[scale]", "there is no key 'loss[scale]': give --loss '{name: value}'"),
    ],
)
def test_keys_that_are_not_there_are_named(key, words):
    recipe = "batch_size: 4\n__set_seed: 1\nloss: {scale: 3}\n"
    with pytest.raises(ValueError) as error:
        read_keys(recipe, {key: "3"})
    assert str(error.value) == words


# -- references ---------------------------------------------------------------

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


@pytest.mark.parametrize("words", [["--batch_size", "abc"], ["--vad", "maybe"]])
def test_wrong_values_end_the_program_in_one_line(words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe = str(RECIPES / TRIED[0])
    with pytest.raises(SystemExit) as stop:
        start_run([recipe, "--data_folder", "nowhere", "--device", "cpu", *words])
    assert words[0] in stop.value.code and "\n" not in stop.value.code
    assert list(tmp_path.iterdir()) == []  # before anything is written


@pytest.mark.parametrize(
    "text",
    [
        "!name:speechbrain.utils.superpowers.run_shell {cmd: touch x}",
        "!name:speechbrain.inference.interfaces.foreign_class {source: x}",
        "!name:speechbrain_dino.runs.compare.plan.measured_speed {command: [touch, x]}",
        "!name:torch.hub.load {repo_or_dir: x, model: y}",
        "!name:torch.load {f: x}",
        "!new:torch.distributed.elastic.multiprocessing.subprocess_handler."
        "SubprocessHandler {entrypoint: touch}",
    ],
)
def test_no_word_starts_a_program_or_loads_code(text):
    recipe = "prepare: !name:speechbrain_dino.corpora.voxceleb.prepare_voxceleb\n"
    with pytest.raises(ValueError, match="expected !new: or !name: of something in"):
        read_keys(recipe, {"prepare": text})


@pytest.mark.parametrize(
    "key, text",
    [
        ("local_seconds", "0.0001"),
        ("global_seconds", "100000"),
        ("sample_rate", "1"),
        ("valid_utterances", "1"),
    ],
)
def test_values_that_no_training_survives_are_refused(key, text):
    recipe = "{local_seconds: 1, global_seconds: 2, sample_rate: 16000, "
    with pytest.raises(ValueError, match=f"--{key} {text}: expected"):
        read_keys(recipe + "valid_utterances: 8}", {key: text})
