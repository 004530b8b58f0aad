"""Metrics of a run, one JSON object per line."""

import json
import sys

from speechbrain_dino.training.curves import Curves


def filled(folder):
    curves = Curves(folder)
    for step in (10, 20):
        curves.add("step", step, epoch=step / 20, loss=8.0 - step)
    curves.add("epoch", 20, epoch=1, loss=7.5)
    curves.add("step", 30, epoch=1.5, loss=7.0)
    return curves


def test_lines_are_what_was_added(tmp_path):
    rows = filled(tmp_path / "new" / "run").read()
    assert rows[0] == {"kind": "step", "step": 10, "epoch": 0.5, "loss": -2.0}
    assert rows[2] == {"kind": "epoch", "step": 20, "epoch": 1, "loss": 7.5}
    assert [row["step"] for row in rows] == [10, 20, 20, 30]


def test_nan_and_infinity_become_null(tmp_path):
    curves = Curves(tmp_path)
    curves.add("step", 1, loss=float("nan"), lr=float("-inf"), wait=0.5)
    line = (tmp_path / "curves.jsonl").read_text(encoding="utf-8")
    row = json.loads(line, parse_constant=lambda name: 1 / 0)
    assert (row["loss"], row["lr"], row["wait"]) == (None, None, 0.5)


def test_nothing_yet_is_no_line(tmp_path):
    curves = Curves(tmp_path)
    curves.forget_after(0)
    assert curves.read() == []


def test_resumed_run_forgets_what_it_writes_again(tmp_path):
    curves = filled(tmp_path)
    curves.forget_after(20)
    assert [row["step"] for row in curves.read()] == [10, 20, 20]


def test_epoch_that_is_not_wholly_behind_is_forgotten(tmp_path):
    curves = filled(tmp_path)
    curves.forget_after(20, epoch=0)
    assert [(row["kind"], row["step"]) for row in curves.read()] == [
        ("step", 10),
        ("step", 20),
    ]


def test_line_cut_by_a_kill_is_left_out_and_spoils_no_other(tmp_path, caplog):
    curves = filled(tmp_path)
    text = curves.path.read_text(encoding="utf-8")
    curves.path.write_text(text[:-9], encoding="utf-8")
    assert len(curves.read()) == 3
    assert "half a line is left out" in caplog.text
    curves.forget_after(30)
    curves.add("step", 40, loss=1.0)
    assert [row["step"] for row in curves.read()] == [10, 20, 20, 40]


def test_single_cut_line_spoils_no_other(tmp_path):
    curves = Curves(tmp_path)
    curves.path.write_text('{"kind": "st', encoding="utf-8")
    curves.forget_after(0)
    curves.add("step", 1, loss=1.0)
    assert [row["step"] for row in curves.read()] == [1]


def test_without_tensorboard_the_file_is_written_all_the_same(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    curves = Curves(tmp_path, tensorboard=True)
    curves.add("step", 1, loss=1.0)
    assert curves.writer is None and len(curves.read()) == 1
