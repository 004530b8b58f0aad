"""Whatever the words of a command line are, a run starts or ends in one line.

``FAULTS_EXAMPLES`` is the number of examples, 60 unless it is set; a quarter of it for
the slower test.
"""

import os
import re
from contextlib import contextmanager

import pytest
from hypothesis import example, given, settings, strategies as st
from ruamel.yaml import YAML
from speechbrain.utils.run_opts import HELP_TEXTS

from speechbrain_dino.runs import command_line
from speechbrain_dino.runs.command_line import read_arguments

RECIPE = """
seed: 1234
data_folder: !PLACEHOLDER
output_folder: !ref results/<seed>
log: !ref <output_folder>/log
noise_folder: null
trial_lists: [a, b]
vad: True
batch_size: 48
base_lr: 0.1
half: !ref <batch_size> / 2
precision: auto
by_round: {batch_size: [4, 8]}
gate: null
scorings: {cosine: !new:torch.nn.Identity , plain: {a: 1}}
lr_schedule: !name:speechbrain_dino.training.schedules.constant {value: !ref <base_lr>}
loss: !new:torch.nn.MSELoss
brain: !name:torch.nn.Module
"""
KEYS = re.findall(r"^(\w+):", RECIPE, re.MULTILINE)
_PIECES = (
    "1 -1 0.5 1e3 1e999 nan inf yes no on None null ~ auto [ ] { } [a,b] {a:1} a: b - "
    "? | > # % @ ` & * &a *a ! !! !new: !name: !apply: !new:torch.nn.Identity ' \" \\ "
    ", = !name:os.system !!python/object/apply:os.system !ref !copy <seed> <x> / + -- "
    "<by_round[batch_size]> <brain.x> 2024-11-26 cpu cuda:0 é \udce9 \x00 \x1b \ufeff"
)
PIECES = _PIECES.split(" ")
EXAMPLES = int(os.environ.get("FAULTS_EXAMPLES", 60))

names = st.sampled_from([*KEYS, *HELP_TEXTS, "allow_changed", "x", "loss.a", "", "a b"])
pieces = st.lists(st.sampled_from(PIECES), max_size=5)
values = st.one_of(
    pieces.map("".join), pieces.map(" ".join), st.text(max_size=20), st.just("seed")
)
options = st.one_of(
    st.tuples(names.map("--{}".format), values),
    st.builds("--{}={}".format, names, values).map(lambda word: (word,)),
    st.tuples(values),
)
lines = st.lists(options, max_size=5).map(lambda some: [w for o in some for w in o])


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    """A recipe that need not be merged again for every example."""
    path = tmp_path_factory.mktemp("fuzz") / "recipe.yaml"
    path.write_text(RECIPE, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command_line, "read_recipe", lambda path: RECIPE)
        yield str(path)


@contextmanager
def one_line_at_most():
    """A mistake of the user ends the program in one line."""
    try:
        yield
    except SystemExit as stop:
        text = str(stop.code)
        assert text and "\n" not in text.replace("\\n", ""), text


@settings(max_examples=EXAMPLES)
@given(words=lines)
@example(words=["--seed", "!ref <batch_size> ** <batch_size> ** <batch_size>"])
@example(words=["--gate", "[" * 3000])
@example(words=["--scorings", "{a: &a [*a]}"])
def test_words_start_a_run_or_end_in_one_line(recipe, words):
    with one_line_at_most():
        launch, _ = read_arguments([recipe, *words])
        launch.changed(data_folder="x").resolved()


@settings(max_examples=max(EXAMPLES // 4, 1))
@given(text=values.filter(bool))
def test_text_comes_through_whatever_it_is(recipe, text):
    if text.split(" ")[0] in ("!ref", "!copy"):
        return  # follows another key
    words = [f"--data_folder={text}", f"--output_folder={text}"]
    if text.strip().startswith("[") and text.strip().endswith("]"):
        words[0] = "--data_folder=x"  # several folders
    with one_line_at_most():
        launch, _ = read_arguments([recipe, *words])
        keys = YAML(typ="rt").load(launch.resolved())
        assert keys["output_folder"] == text and keys["log"] == f"{text}/log"
        assert keys["data_folder"] == words[0].partition("=")[2]
