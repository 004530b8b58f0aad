"""Work that is stopped at any moment ends, after a restart, with the same bits.

``make faults`` stops it at a hundred moments, the suite at one of each kind of work.
"""

import contextlib
import os
import random
import signal
import time

import pytest
from works import make_works

pytestmark = pytest.mark.recipe

NAMES = [
    "training",
    "preparation",
    "embedding",
    "rounds",
    "fine-tuning",
    "compare",
    "report",
]
SIGNALS = {signal.SIGKILL: {-9}, signal.SIGTERM: {143, -15}, signal.SIGINT: {130, -2}}
TIMES = int(os.environ.get("FAULTS_TIMES", 1))
if TIMES == 1:  # a minute of imports; tests/runs/test_compare.py stops one as well
    NAMES.remove("compare")


@pytest.fixture(scope="module")
def works(tmp_path_factory, launcher):
    return make_works(tmp_path_factory.mktemp("works"), launcher)


@pytest.fixture(scope="module")
def undisturbed(works, launcher, tmp_path_factory):
    """What each work leaves, and its seconds, once; by name."""
    done = {}

    def result(name):
        if name not in done:
            folder = tmp_path_factory.mktemp(name)
            begin = time.monotonic()
            finish(works[name], launcher, folder)
            done[name] = works[name].outcome(folder), time.monotonic() - begin
        return done[name]

    return result


def start(work, launcher, folder):
    quick = work.script.name != "report.py"
    command = work.command(folder)
    return launcher.start(*command, script=work.script, first=work.first, quick=quick)


def finish(work, launcher, folder):
    start(work, launcher, folder)
    run = launcher.wait()
    assert run.status == 0, run.output
    return run


@pytest.mark.parametrize("attempt", range(TIMES))
@pytest.mark.parametrize("name", NAMES)
def test_stopped_at_any_moment(works, undisturbed, launcher, tmp_path, name, attempt):
    expected, seconds = undisturbed(name)
    chance = random.Random(f"{name} {attempt}")
    for _ in range(chance.randint(1, 2)):  # some are stopped a second time
        process = start(works[name], launcher, tmp_path)
        time.sleep(chance.uniform(0, seconds))
        number = chance.choice(list(SIGNALS))
        with contextlib.suppress(ProcessLookupError):  # it has ended
            os.kill(process, number)
        run = launcher.wait()
        assert run.status in {0, *SIGNALS[number]}, run.output
        # Python goes on after an exception in a destructor; the program ends later.
        assert "Traceback" not in run.output or "Exception ignored" in run.output
    finish(works[name], launcher, tmp_path)
    ended = works[name].outcome(tmp_path)
    different = sorted(key for key in expected if ended.get(key) != expected[key])
    assert not different and set(ended) == set(expected), different
