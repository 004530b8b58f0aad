"""Processes that check and convert audio end with the one that started them."""

import multiprocessing
import os
import signal
import subprocess
import sys

import pytest
import recipe_runs as runs
from process_tools import members_of

from speechbrain_dino.data.audio_facts import map_parallel

PROGRAM = """
import sys, time
from pathlib import Path
from speechbrain_dino.data.audio_facts import map_parallel
from speechbrain_dino.utils.ending import end_on_signals

def work(number):
    (Path(sys.argv[1]) / str(number)).touch()
    time.sleep(0.05)
    return number

if __name__ == "__main__":
    end_on_signals()
    list(map_parallel(work, range(100_000), 3, "waiting"))
"""


@pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="workers are told of it on Linux alone"
)
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGKILL"])
def test_no_worker_is_left_behind(tmp_path, name):
    script = tmp_path / "program.py"
    script.write_text(PROGRAM, encoding="utf-8")
    done = tmp_path / "done"
    done.mkdir()
    process = subprocess.Popen(
        [sys.executable, str(script), str(done)],
        env=runs.environment(),
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        assert runs.until(lambda: len(os.listdir(done)) > 6)
        process.send_signal(getattr(signal, name))
        process.wait(timeout=runs.HANGS)
        assert runs.until(lambda: not members_of(process.pid), seconds=30)
    finally:
        if members_of(process.pid):
            os.killpg(process.pid, signal.SIGKILL)


def test_results_come_in_order_whatever_does_the_work(monkeypatch):
    """Threads where processes would be spawned: their functions need no pickling."""
    numbers = list(range(200))
    expected = [str(number) for number in numbers]
    assert list(map_parallel(str, numbers, 3, "working")) == expected
    method = multiprocessing.get_start_method(allow_none=True)
    for spawned in ("spawn", "forkserver"):
        monkeypatch.setattr(
            multiprocessing, "get_start_method", lambda allow_none, m=spawned: m
        )
        done = map_parallel(lambda number: str(number), numbers, 3, "working")
        assert list(done) == expected
    monkeypatch.undo()
    # Asking for the method must not settle it for the caller's program.
    assert multiprocessing.get_start_method(allow_none=True) == method
