"""Notes of rounds: what is kept, what is refused."""

import json

import pytest

from speechbrain_dino.runs.command_line import Launch
from speechbrain_dino.runs.rounds import RoundsState

RECIPE = """
rounds: 2
margin: 0.2
precision: fp16
part: !new:collections.Counter
    - [1, !ref <margin>]
output_folder: here
"""


def launch(**changed):
    return Launch(RECIPE, {}, "recipe.yaml", None).changed(**changed)


def test_notes_come_back(tmp_path):
    state = RoundsState(tmp_path / "rounds.json", launch())
    assert state.get(0, "model") is None
    state.note(1, cluster={"clusters": 3})
    state.note(1, model="round1/inference")
    free = {"rounds": 5, "output_folder": "x", "precision": "fp32"}
    again = RoundsState(tmp_path / "rounds.json", launch(**free))
    assert again.get(1, "cluster") == {"clusters": 3}
    assert again.get(1, "model") == "round1/inference"
    assert again.lines()[0] == {"round": 0}
    assert (
        json.loads((tmp_path / "rounds.json").read_text(encoding="utf-8"))["rounds"][1][
            "round"
        ]
        == 1
    )


def test_another_configuration_is_refused(tmp_path):
    RoundsState(tmp_path / "rounds.json", launch()).note(0, model="m")
    with pytest.raises(ValueError, match=r"margin 0\.2, and now margin is 0\.3"):
        RoundsState(tmp_path / "rounds.json", launch(margin=0.3))
