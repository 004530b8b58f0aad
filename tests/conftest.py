"""Fixtures that several test files share."""

import logging
import os
import signal
import sys
from pathlib import Path

# One thread, here and in all processes that tests start, set before the libraries that
# read it: sums then do not depend on the number of cores, and threads that spin do not
# slow down a busy machine.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["MKL_NUM_THREADS"] = "1"
os.environ["OPENBLAS_NUM_THREADS"] = "1"

import pytest
import speechbrain  # noqa: F401  puts its redirects into sys.modules
import torch
from hypothesis import HealthCheck, settings
from recipe_runs import Launcher, make_corpus
from speechbrain.utils.importutils import LazyModule

# Ctrl-C means what it does at a terminal, though nohup or a script that started the
# suite in the background lets all its processes ignore it.
for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
    if signal.getsignal(number) is signal.SIG_IGN:
        interrupt = number == signal.SIGINT
        signal.signal(
            number, signal.default_int_handler if interrupt else signal.SIG_DFL
        )

# Hypothesis asks every loaded module for its file; SpeechBrain's redirects answer
# by importing packages that are not installed, which ends the whole test run.
for module in list(sys.modules.values()):
    if isinstance(module, LazyModule):
        vars(module).setdefault("__file__", None)

# The same examples at every run, however slow the machine is, and no file left behind.
settings.register_profile(
    "suite",
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("suite")

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


def pytest_collection_modifyitems(items):
    """Tests that need a GPU are skipped where there is none."""
    if not torch.cuda.is_available():
        skipped = pytest.mark.skip(reason="needs a GPU: there is no CUDA device here")
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(skipped)


@pytest.fixture(scope="session")
def shared_data():
    """Folder of real speech beside the checkout; the test is skipped without it."""
    if not SHARED.is_dir():
        pytest.skip("real speech is not here: no ../shared/data beside the checkout")
    return SHARED


@pytest.fixture(scope="session")
def voxceleb_mini(shared_data):
    """Real speech in VoxCeleb's layout."""
    return shared_data / "voxceleb_mini"


@pytest.fixture(scope="session")
def noise_rir_mini(shared_data):
    """Real noises and impulse responses."""
    return shared_data / "noise_rir_mini"


@pytest.fixture(scope="session")
def tiny_corpus(tmp_path_factory):
    """Colored noise in VoxCeleb's layout."""
    return make_corpus(tmp_path_factory.mktemp("corpus") / "vox")


@pytest.fixture
def in_this_process(monkeypatch):
    """What a recipe changes in the process that it runs in is undone."""
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    # A list of all packages takes longer than a short training.
    monkeypatch.setattr(
        "speechbrain.utils.logger.get_environment_description", lambda: ""
    )
    monkeypatch.setattr("speechbrain_dino.runs.command_line.keep_freed_memory", bool)
    root = logging.getLogger()
    handlers = list(root.handlers)
    yield
    for handler in set(root.handlers) - set(handlers):
        root.removeHandler(handler)
        handler.close()


@pytest.fixture(scope="session")
def launcher(tmp_path_factory):
    """Starts runs of the recipe as processes of their own."""
    launcher = Launcher(tmp_path_factory.mktemp("launcher"))
    yield launcher
    launcher.close()


@pytest.fixture(autouse=True)
def _same_random_numbers():
    """Every test starts from the same seed and on one thread."""
    torch.manual_seed(0)
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _same_signal_handlers():
    """Programs that run in the test's process set theirs."""
    numbers = (signal.SIGTERM, signal.SIGINT)
    handlers = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, handlers):
        if signal.getsignal(number) is not handler:
            signal.signal(number, handler)
            signal.set_wakeup_fd(-1)
