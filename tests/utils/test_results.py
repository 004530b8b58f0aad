"""results.json keeps what was there and stays JSON."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from speechbrain_dino.utils.checked_json import read_checked
from speechbrain_dino.utils.provenance import git_state, hardware, provenance
from speechbrain_dino.utils.results import update_results


def test_metrics_merge_and_replace(tmp_path):
    path = tmp_path / "run" / "results.json"
    update_results(path, {"seed": 1, "verification": {"O": {"eer": 0.3, "trials": 5}}})
    update_results(path, {"seed": 2, "verification": {"O": {"eer": 0.2}, "H": {}}})
    assert read_checked(path) == {
        "seed": 2,
        "verification": {"O": {"eer": 0.2, "trials": 5}, "H": {}},
    }
    assert [p.name for p in path.parent.iterdir()] == ["results.json"]


def test_everything_becomes_plain_json(tmp_path):
    path = tmp_path / "results.json"
    metrics = {
        "a": np.float32(0.5),
        "b": torch.tensor([1, 2]),
        "c": (float("nan"), np.inf, True, None),
        "d": Path("x/y"),
        3: np.int64(4),
    }
    returned = update_results(path, metrics)
    expected = {
        "a": 0.5,
        "b": [1, 2],
        "c": [None, None, True, None],
        "d": os.path.join("x", "y"),
        "3": 4,
    }
    assert read_checked(path) == returned == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        ("", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ('[{"eer": 0.1}]', "holds a list where an object"),
        ("0.1", "holds a float where an object"),
        ('{"eer": 0.9, "checksum": "1b0c4e2f3a5d6c7b"}', "is damaged or was changed"),
    ],
)
def test_a_broken_file_is_named_and_kept(tmp_path, text, message):
    path = tmp_path / "results.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=rf"results\.json {message}"):
        update_results(path, {"a": 1})
    assert path.read_text(encoding="utf-8") == text


def test_results_of_an_earlier_version_are_merged(tmp_path):
    path = tmp_path / "results.json"
    path.write_text('{"eer": 0.1}', encoding="utf-8")
    assert update_results(path, {"seed": 1}) == {"eer": 0.1, "seed": 1}
    assert read_checked(path) == {"eer": 0.1, "seed": 1}


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_git_state_follows_the_checkout(tmp_path, monkeypatch):
    # Neither the user's settings (hooks, signatures) nor the repository of a hook that
    # runs these tests, nor one around the temporary folder.
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("LC_ALL", "C")  # messages in ASCII
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert git_state(tmp_path) is None

    def git(*arguments):
        who = ["-c", "user.name=a", "-c", "user.email=a@b"]
        command = ["git", *who, *arguments]
        done = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
        return done.stdout.decode().strip()

    git("init")
    inner = tmp_path / "site-packages"
    inner.mkdir()
    (tmp_path / "a.py").write_text("1", encoding="utf-8")
    git("add", "a.py")
    git("commit", "-m", "first")
    commit = git("rev-parse", "HEAD")
    assert git_state(tmp_path) == {"commit": commit, "dirty": False}
    (tmp_path / "new.txt").write_text("not tracked", encoding="utf-8")
    assert git_state(tmp_path)["dirty"] is False
    (tmp_path / "a.py").write_text("2", encoding="utf-8")
    assert git_state(tmp_path) == {"commit": commit, "dirty": True}
    assert git_state(inner) is None


def test_provenance_says_what_ran_and_where(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "argv", ["train.py", "hparams/a b.yaml", "--seed", "3"])
    state = provenance(seed=3)
    assert state["seed"] == 3
    assert state["command"].endswith("train.py 'hparams/a b.yaml' --seed 3")
    assert state["versions"]["torch"] == torch.__version__
    machine = hardware()
    assert machine["cores"] >= 1
    assert machine["cpu"]
    assert len(machine["gpus"]) == torch.cuda.device_count()
    update_results(tmp_path / "results.json", state)
