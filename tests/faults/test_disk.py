"""Disks that are full or read-only and folders that vanish, at ten points of a run.

Each ends in one line with the cause, the free space and what to do, and nothing that
was whole is damaged: the same command then ends with the bits of an undisturbed run.
"""

import errno
import shutil
import subprocess
import sys

import pytest
import recipe_runs as runs
import torch
from test_resume import assert_same_end

from speechbrain_dino.utils.storage import storage_message

pytestmark = pytest.mark.recipe

# No file may grow beyond this: a full disk for those who are not root.
SMALL_FILES = """
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (BYTES, resource.RLIM_INFINITY))
"""
# Call number CALL of NAME: what the system says when DISASTER has come about.
FAILS = """
import errno, os, shutil
import MODULE as module
calls, original = [], module.NAME
def failing(*args, **kwargs):
    calls.append(1)
    if len(calls) == CALL:
        DISASTER
    return original(*args, **kwargs)
module.NAME = failing
"""
FULL = 'raise OSError(errno.ENOSPC, "No space left on device", "FOLDER/x")'
READ_ONLY = 'raise OSError(errno.EROFS, "Read-only file system", "FOLDER/x")'
GONE = 'shutil.rmtree("FOLDER")'
POINTS = {
    "full, at the first checkpoint": ("training.checkpoints", "_flushed_size", 1, FULL),
    "full, while a checkpoint is put": ("training.checkpoints", "_remove", 1, FULL),
    "full, at the end of an epoch": ("training.brain", "save_epoch", 2, FULL),
    "full, at the curves": ("training.curves", "_append", 9, FULL),
    "full, at the scores": ("scoring.verify", "write_scores", 1, FULL),
    "full, at the export": ("embeddings.export", "save", 1, FULL),
    "read-only, at the curves": ("training.curves", "_append", 13, READ_ONLY),
    "gone, at the end of an epoch": ("training.brain", "save_epoch", 2, GONE),
}


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    folder = tmp_path_factory.mktemp("disk")
    return runs.write_recipe(
        folder / "tiny.yaml",
        data_folder=str(runs.make_corpus(folder / "vox")),
        data_save_folder=str(folder / "prepared"),
        number_of_epochs=2,
        average_last=2,
    )


@pytest.fixture(scope="module")
def undisturbed(launcher, recipe):
    folder = recipe.parent / "whole"
    run = launcher.run(recipe, "--output_folder", folder)
    assert run.status == 0, run.output
    return folder


def assert_told(run, *words):
    """The run failed, with one line that says why and how much space there is."""
    assert run.status == 1, run.output
    assert "Traceback" not in run.output and "Logging error" not in run.output
    last = run.output.strip().splitlines()[-1]
    for word in (*words, "GB free there", "run the same command again"):
        assert word in last, run.output


def assert_goes_on(launcher, recipe, folder, undisturbed):
    run = launcher.run(recipe, "--output_folder", folder)
    assert run.status == 0, run.output
    assert_same_end(folder, undisturbed)


@pytest.mark.parametrize("point", POINTS)
def test_a_disk_that_fails(launcher, recipe, undisturbed, tmp_path, point):
    module, name, call, disaster = POINTS[point]
    folder = tmp_path / "run"
    code = FAILS.replace("DISASTER", disaster).replace("FOLDER", str(folder))
    code = code.replace("MODULE", f"speechbrain_dino.{module}").replace("NAME", name)
    code = code.replace("CALL", str(call))
    run = launcher.run(recipe, "--output_folder", folder, first=code)
    cause = {FULL: "the disk is full", READ_ONLY: "read-only", GONE: "is gone"}
    assert_told(run, cause[disaster], str(folder))
    if disaster == GONE:
        assert not list(tmp_path.rglob("*.ckpt"))
    assert_goes_on(launcher, recipe, folder, undisturbed)


@pytest.mark.parametrize("size", [1_000, 12_000])
def test_files_that_cannot_be_written_to_their_end(
    launcher, recipe, undisturbed, tmp_path, size
):
    code = SMALL_FILES.replace("BYTES", str(size))
    run = launcher.run(recipe, "--output_folder", tmp_path / "run", first=code)
    assert_told(run)
    assert_goes_on(launcher, recipe, tmp_path / "run", undisturbed)


def test_a_disk_that_is_really_full(recipe, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = f"mount -t tmpfs -o size=100k none {disk} && exec "
    mounted = ["unshare", "--mount", "--map-root-user", "sh", "-c"]
    able = shutil.which("unshare") is not None
    if not (able and subprocess.run([*mounted, mount + "true"]).returncode == 0):
        pytest.skip("needs the right to mount a small tmpfs")
    command = f"{sys.executable} {runs.RECIPE / 'train.py'} {recipe} --device cpu"
    command += f" --output_folder {disk / 'run'}"
    ended = subprocess.run(
        [*mounted, mount + command],
        env=runs.environment(),
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    run = runs.Run(ended.returncode, ended.stdout + ended.stderr)
    assert_told(run, "the disk is full", "0.0 GB free")


def test_messages_name_cause_file_and_space(tmp_path):
    error = OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "a.ckpt"))
    text = storage_message(error)
    assert text.startswith(f"the disk is full: {tmp_path / 'a.ckpt'} (")
    gone = FileNotFoundError(errno.ENOENT, "No such file", str(tmp_path / "no" / "a"))
    assert storage_message(gone) is None  # perhaps a file that the user named wrongly
    assert f"of this path only {tmp_path})" in storage_message(gone, tmp_path)
    with pytest.raises(RuntimeError) as failed:
        torch.save({"a": torch.ones(3)}, tmp_path / "no" / "a.ckpt")
    assert str(tmp_path / "no") in storage_message(failed.value, tmp_path)
    assert storage_message(ValueError("a.wav is empty"), tmp_path) is None
    assert storage_message(OSError("trial list 'x' was not found"), tmp_path) is None
