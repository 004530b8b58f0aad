"""Runs end with the right exit status and without leaving a process."""

import atexit
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import recipe_runs as runs
import torch
from process_tools import members_of
from torch.utils.data import DataLoader

from speechbrain_dino.data.crops import crop_loader
from speechbrain_dino.utils import ending
from speechbrain_dino.utils.ending import stop_workers

WORKERS = 3


@pytest.fixture(scope="module")
def recipe(tmp_path_factory, tiny_corpus):
    folder = tmp_path_factory.mktemp("ending")

    def write(name, **keys):
        return runs.write_recipe(
            folder / f"{name}.yaml",
            data_folder=str(tiny_corpus),
            data_save_folder=str(folder / "prepared"),
            num_workers=WORKERS,
            **{"embedding_model": runs.PLAIN_ENCODER, **keys},
        )

    return write


class Program:
    """A program in a process group of its own."""

    def __init__(self, log, *command, **variables):
        self.log = log
        with open(log, "w", encoding="utf-8") as file:
            self.process = subprocess.Popen(
                [sys.executable, *map(str, command)],
                env=runs.environment(**variables),
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def members(self):
        """Process ids of its group that still run."""
        return members_of(self.process.pid)

    def ended(self, seconds=60):
        """Exit status and what it printed; nothing of it may be left."""
        try:
            status = self.process.wait(seconds)
            # The kernel ends workers whose parent is gone, if not at once.
            left = not runs.until(lambda: not self.members(), 20)
        finally:
            if self.members():
                os.killpg(self.process.pid, signal.SIGKILL)
        assert not left, "a process is left"
        return status, self.log.read_text(errors="replace", encoding="utf-8")


def train(recipe, folder, **variables):
    options = [runs.RECIPE / "train.py", recipe, "--output_folder", folder / "run"]
    return Program(folder / "printed.txt", *options, **variables)


@pytest.mark.recipe
def test_a_run_that_ends_well(recipe, tmp_path):
    status, printed = train(recipe("well", number_of_epochs=1), tmp_path).ended(300)
    assert status == 0, printed
    assert "Traceback" not in printed


@pytest.mark.recipe
def test_a_run_that_fails_in_its_first_step(recipe, tmp_path):
    fails = runs.PLAIN_ENCODER.replace("PlainEncoder", "FailingEncoder")
    run = train(recipe("fails", embedding_model=fails), tmp_path)
    status, printed = run.ended(300)
    assert status == 1, printed
    assert "this encoder does not train" in printed


@pytest.mark.recipe
@pytest.mark.parametrize(
    "number, to_all", [(signal.SIGTERM, False), (signal.SIGINT, True)]
)
def test_a_run_that_is_stopped(recipe, tmp_path, number, to_all):
    run = train(recipe("long", number_of_epochs=10_000), tmp_path)
    curves = tmp_path / "run" / "curves.jsonl"
    assert runs.until(curves.is_file, 300), run.log.read_text(encoding="utf-8")
    assert len(run.members()) == 1 + WORKERS
    # The terminal sends Ctrl-C to the workers as well.
    (os.killpg if to_all else os.kill)(run.process.pid, number)
    status, printed = run.ended()
    assert status == 128 + number, printed
    assert printed.count(f"Stopped by {number.name}.") == 1
    assert "Traceback" not in printed


def test_workers_of_a_killed_run_end_with_it(tmp_path):
    script = tmp_path / "loads.py"
    script.write_text(
        "import sys, time\n"
        f"sys.path.append({str(Path(__file__).parent)!r})\n"
        "from test_ending import Silence\n"
        "from speechbrain_dino.data.crops import crop_loader\n"
        f"batches = iter(crop_loader(Silence(), 2, {WORKERS}))\n"
        "print(next(batches), flush=True)\n"
        "time.sleep(600)\n",
        encoding="utf-8",
    )
    run = Program(tmp_path / "printed.txt", script)
    assert runs.until(lambda: "tensor" in run.log.read_text(encoding="utf-8"), 120)
    assert len(run.members()) == 1 + WORKERS
    run.process.kill()
    assert run.ended()[0] == -signal.SIGKILL


class Silence(torch.utils.data.Dataset):
    """Utterances that need no file."""

    seed = 0

    def __len__(self):
        return 8

    def bytes_of_an_item(self):
        return 8

    def __getitem__(self, key):
        return torch.zeros(2)


@pytest.fixture
def no_workers_left():
    """Workers of a failed test do not outlive it."""
    loaders = []
    yield loaders
    for loader in loaders:
        stop_workers(loader)


def test_workers_are_stopped_before_the_interpreter_ends(no_workers_left):
    loader = crop_loader(Silence(), 2, WORKERS)
    no_workers_left.append(loader)
    batches = iter(loader)
    next(batches)
    workers = batches._workers
    assert len(workers) == WORKERS and all(worker.is_alive() for worker in workers)
    stop_workers(loader)
    assert not any(worker.is_alive() for worker in workers)
    assert len(list(loader)) == 4  # with new ones
    stop_workers(loader)
    stop_workers(loader)  # none are left
    stop_workers(DataLoader([0, 1]))


class Stuck(Silence):
    """The second batch is never read."""

    def __getitem__(self, key):
        if key[1] > 1:
            import time

            time.sleep(600)
        return torch.zeros(2)


def test_workers_that_hang_are_killed(no_workers_left):
    loader = DataLoader(
        Stuck(),
        batch_sampler=[[(1, 0)], [(1, 2)], [(1, 3)]],
        num_workers=1,
        persistent_workers=True,
    )
    no_workers_left.append(loader)
    batches = iter(loader)
    next(batches)
    (worker,) = batches._workers
    stop_workers(loader, seconds=0.1)
    worker.join(60)
    assert worker.exitcode == -signal.SIGKILL


ASKED_TO_END = """
import os, signal, sys, time
from speechbrain_dino.utils import ending
ending.GRACE = 0.2
ending.end_on_signals()
def end(number):
    os.kill(os.getpid(), number)
{}
"""


@pytest.mark.parametrize(
    "code, expected",
    [
        # importing by name, as HyperPyYAML does, makes another error of SystemExit
        ("try:\n    end(15)\nexcept SystemExit:\n    raise ValueError", 143),
        # swallowed; the main thread continues
        ("try:\n    end(15)\nexcept SystemExit:\n    time.sleep(600)", 143),
        ("try:\n    end(2)\nfinally:\n    open(sys.argv[1], 'w').close()", 130),
        ("sys.exit(7)", 7),
        ("raise ValueError", 1),
        ("", 0),
        ("import multiprocessing as m\nm.Process(target=time.sleep, args=[600]).start()"
         "\nend(15)", 143),
        # threads that are waited for at the interpreter's end, such as those that read
        ("from concurrent.futures import ThreadPoolExecutor as Pool\n"
         "Pool().submit(time.sleep, 600)\nend(15)", 143),
        # what the caller has set stays
        ("signal.signal(15, lambda *_: sys.exit(9))\nending.end_on_signals()\nend(15)",
         9),
    ],
)  # fmt: skip
def test_exit_status(tmp_path, code, expected):
    script = tmp_path / "program.py"
    script.write_text(ASKED_TO_END.format(code), encoding="utf-8")
    run = Program(tmp_path / "printed.txt", script, tmp_path / "finally")
    assert run.ended(120)[0] == expected
    assert (tmp_path / "finally").exists() == (expected == 130)


def test_handlers_are_for_the_main_program(monkeypatch):
    monkeypatch.setattr(atexit, "register", lambda *_: None)
    monkeypatch.setattr(ending._Ending, "at_exit", False)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # as behind nohup
    ending.end_on_signals()
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    assert signal.getsignal(signal.SIGTERM) is ending._raise_exit
