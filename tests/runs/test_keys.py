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


@pytest.mark.parametrize("path", sorted(RECIPES.glob("[!P]*/hparams/*.yaml")), ids=str)
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
@pytest.mark.parametrize("key", ["output_folder", "data_folder"])
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
