"""Runs of a comparison: processes, several at a time, and how they end."""

import logging
import os
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import NamedTuple

from speechbrain_dino.training.collapse import CAUSES
from speechbrain_dino.training.curves import Curves
from speechbrain_dino.utils.checked_json import write_checked

logger = logging.getLogger(__name__)

EVERY = 60  # seconds between two lines of progress of a run


class Run(NamedTuple):
    """A training that is to be done.

    Arguments
    ---------
    name : str
        For the log.
    command : list of str
        What trains.
    folder : pathlib.Path
        Its output folder; gets ``printed.txt`` and ``compared.json``.
    epochs : int
        How many it trains.
    """

    name: str
    command: list
    folder: Path
    epochs: int


def own_threads(jobs):
    """Environment of runs of which several share the machine.

    Arguments
    ---------
    jobs : int
        Runs at a time.

    Returns
    -------
    dict
        With ``OMP_NUM_THREADS``, unless it was set: threads of two runs on the same
        cores wait for each other.

    Raises
    ------
    ValueError
        If there is less than one run at a time.
    """
    if jobs < 1:
        raise ValueError(f"jobs={jobs}: expected one run at a time or more")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    cores = cores or os.cpu_count() or 1
    share = {"OMP_NUM_THREADS": str(max(1, cores // jobs))} if jobs > 1 else {}
    return {**share, **os.environ}


def run_all(runs, jobs, environment):
    """Trains, and notes how each run ended.

    Arguments
    ---------
    runs : list of Run
        What is to be done.
    jobs : int
        Runs at a time.
    environment : dict
        Of the processes.

    Yields
    ------
    Run
        Each one when it has ended.
    """
    stop = threading.Event()
    pool = ThreadPoolExecutor(jobs)
    try:
        done = {
            pool.submit(_run, run, f"{number} of {len(runs)}", environment, stop): run
            for number, run in enumerate(runs, 1)
        }
        for future in as_completed(done):
            future.result()
            yield done[future]
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)


def _run(run, number, environment, stop):
    if stop.is_set():
        return
    logger.info("Run %s: %s", number, run.name)
    run.folder.mkdir(parents=True, exist_ok=True)
    printed = run.folder / "printed.txt"
    with open(printed, "w", encoding="utf-8") as file:
        process = subprocess.Popen(
            run.command, stdout=file, stderr=subprocess.STDOUT, env=environment
        )
        try:
            _watch(process, run, stop)
        finally:
            process.kill()
            process.wait()
    if stop.is_set():
        return
    status = _status(process.returncode, printed)
    logger.info("%s: %s", run.name, status)
    write_checked(run.folder / "compared.json", {"status": status})


def _watch(process, run, stop):
    """Waits until it ends or is to be stopped, and tells how far it is."""
    last_note = time.monotonic()
    while process.poll() is None and not stop.wait(0.1):
        if time.monotonic() - last_note > EVERY:
            last_note = time.monotonic()
            rows = Curves(run.folder).read()
            if rows:
                at = rows[-1]["epoch"], run.epochs, rows[-1].get("loss")
                logger.info("  %s: epoch %.1f of %d, loss %s", run.name, *at)


def _status(code, printed):
    lines = printed.read_text(encoding="utf-8", errors="replace").splitlines()
    if code == 0:
        return "done"
    for line in reversed(lines):
        for cause in CAUSES:
            if f"{cause} in each of the last" in line:
                return f"collapsed: {cause}"
    messages = [line for line in lines if line.strip()]
    return f"failed: {messages[-1] if messages else f'exit status {code}'}"
