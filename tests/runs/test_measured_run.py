"""Scripts whose memory is noted."""

import json
import sys

import pytest

from speechbrain_dino.runs.compare.measured import main, peak_memory
from speechbrain_dino.utils.checked_json import read_checked


@pytest.fixture(autouse=True)
def on_the_cpu(monkeypatch):
    """Other tests of this process may have used a GPU."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)


@pytest.fixture
def script(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["measured_run"])
    monkeypatch.setattr(sys, "path", list(sys.path))
    path = tmp_path / "script.py"
    path.write_text(
        "import pathlib, sys, neighbor\n"
        "pathlib.Path(sys.argv[1]).write_text(neighbor.WORD + sys.argv[2])\n"
        "assert __name__ == '__main__'\n"
        "sys.exit(int(sys.argv[2]))\n",
        encoding="utf-8",
    )
    (tmp_path / "neighbor.py").write_text("WORD = 'status '\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("status", [0, 3])
def test_script_runs_as_if_started_alone(script, tmp_path, status):
    note = tmp_path / "run" / "memory.json"
    status_file = tmp_path / "told.txt"
    with pytest.raises(SystemExit) as end:
        main([str(note), str(script), str(status_file), str(status)])
    assert end.value.code == status
    assert status_file.read_text(encoding="utf-8") == f"status {status}"
    measured = json.loads(note.read_text(encoding="utf-8"))
    assert measured["device"] == "cpu"
    assert 0.05 < measured["memory_gb"] <= peak_memory()["memory_gb"]


def test_the_larger_peak_of_several_sessions_stays(script, tmp_path):
    note = tmp_path / "memory.json"
    before = {"memory_gb": 1e6, "device": "cpu"}
    note.write_text(json.dumps(before), encoding="utf-8")
    with pytest.raises(SystemExit):
        main([str(note), str(script), str(tmp_path / "told.txt"), "0"])
    assert read_checked(note) == before
    note.write_text(json.dumps(before | {"memory_gb": 0.001}), encoding="utf-8")
    with pytest.raises(SystemExit):
        main([str(note), str(script), str(tmp_path / "told.txt"), "0"])
    assert json.loads(note.read_text(encoding="utf-8"))["memory_gb"] > 0.05


def test_what_a_gpu_holds_counts_where_one_is_used(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.max_memory_allocated", lambda: 3 * 2**29)
    assert peak_memory() == {"memory_gb": 1.5, "device": "cuda"}
    monkeypatch.setattr("torch.cuda.max_memory_allocated", lambda: 0)
    assert peak_memory()["device"] == "cpu"
