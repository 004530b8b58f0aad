"""Two trainings do not share a folder."""

import subprocess
import sys
import tempfile

import pytest
import recipe_runs as runs

from speechbrain_dino.utils import one_run
from speechbrain_dino.utils.one_run import only_run, wait_for_others

pytestmark = pytest.mark.skipif(one_run.fcntl is None, reason="no such locks here")

PROGRAM = """
import sys, time
from pathlib import Path
from speechbrain_dino.utils.one_run import only_run
with only_run(sys.argv[1]):
    Path(sys.argv[2]).touch()
    time.sleep(600)
"""


@pytest.fixture
def other(tmp_path):
    """A process at work in ``folder``."""
    begun = tmp_path / "begun"
    words = [sys.executable, "-c", PROGRAM, str(tmp_path / "folder"), str(begun)]
    process = subprocess.Popen(words, env=runs.environment())
    try:
        assert runs.until(begun.exists)
        yield process
    finally:
        process.kill()
        process.wait()


def test_the_second_is_refused(tmp_path, other, monkeypatch):
    monkeypatch.setattr(one_run, "PATIENCE", 0.3)
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    for name in ("folder", "link", "folder/../folder"):
        with pytest.raises(ValueError, match=f"process {other.pid}"):
            wait_for_others(tmp_path / name)
    wait_for_others(tmp_path / "another")


def test_the_folder_is_free_when_the_first_is_killed(tmp_path, other):
    other.kill()
    with only_run(tmp_path / "folder"):
        wait_for_others(tmp_path / "folder")


def test_the_folder_is_free_after_an_error(tmp_path):
    with pytest.raises(KeyError), only_run(tmp_path):
        raise KeyError
    words = [sys.executable, "-c", PROGRAM.replace("time.sleep(600)", "")]
    begun = tmp_path / "begun"
    done = subprocess.run([*words, tmp_path, begun], env=runs.environment())
    assert done.returncode == 0 and begun.exists()


def test_where_no_lock_can_be_made_there_is_none(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "file"))
    with only_run(tmp_path):
        wait_for_others(tmp_path)


def test_a_run_is_not_started_beside_another(tmp_path, other, tiny_corpus, monkeypatch):
    monkeypatch.setattr(one_run, "PATIENCE", 0.2)
    recipe = runs.write_recipe(tmp_path / "tiny.yaml", data_folder=str(tiny_corpus))
    with pytest.raises(SystemExit, match=f"process {other.pid}"):
        runs.make_brain(recipe, "--output_folder", tmp_path / "folder")
    assert not (tmp_path / "folder").exists()
