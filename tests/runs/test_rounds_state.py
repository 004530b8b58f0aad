"""Notes of rounds come back."""

import json

from speechbrain_dino.runs.rounds import RoundsState


def test_notes_come_back(tmp_path):
    state = RoundsState(tmp_path / "rounds.json")
    assert state.get(0, "model") is None
    state.note(1, cluster={"clusters": 3})
    state.note(1, model="round1/inference")
    again = RoundsState(tmp_path / "rounds.json")
    assert again.get(1, "cluster") == {"clusters": 3}
    assert again.get(1, "model") == "round1/inference"
    assert again.lines()[0] == {"round": 0}
    text = (tmp_path / "rounds.json").read_text(encoding="utf-8")
    assert json.loads(text)["rounds"][1]["round"] == 1
