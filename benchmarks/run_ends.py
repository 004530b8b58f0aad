"""How soon a training ends, and with what exit status.

    python benchmarks/run_ends.py
    python benchmarks/run_ends.py --workers 14 --times 5 --pinned

Starts ``train.py`` on generated audio, lets it end well, fail in its first step, or be
stopped by SIGTERM or Ctrl-C in the middle, and looks how long it and its workers are
there afterwards: from the signal, the line of the error, or the line of the report.

``--pinned`` puts PyTorch's wait for workers of a loader that pins memory (hooks that
join each of them) where there is no GPU; ``pin_memory=True`` does nothing there.
"""

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
from beside import RECIPE, make_audio

from speechbrain_dino.utils.ending import end_on_signals

LAST_LINES = {"ends well": "Report: ", "fails": "this step fails"}
SIGNALS = {"SIGTERM": signal.SIGTERM, "Ctrl-C": signal.SIGINT}
EXPECTED = {"ends well": [0], "fails": [1], "SIGTERM": [143], "Ctrl-C": [130, -2]}
LIMIT = 5.0
SCRIPT = """
import atexit, runpy, sys
from torch.utils.data import dataloader
from speechbrain_dino.training.pretraining import PretrainingBrain
how, pinned, *sys.argv = sys.argv[1:]
if pinned == "True":
    iterator = dataloader._MultiProcessingDataLoaderIter
    begin = iterator.__init__
    def begin_pinned(self, loader):
        begin(self, loader)
        for worker in self._workers:
            atexit.register(iterator._clean_up_worker, worker)
    iterator.__init__ = begin_pinned
if how == "fails":
    def fail(*args):
        raise RuntimeError("this step fails")
    PretrainingBrain.compute_objectives = fail
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--ends", nargs="+", choices=EXPECTED, default=[*EXPECTED])
    parser.add_argument("--pinned", action="store_true")
    args = parser.parse_args()
    end_on_signals()
    print(f"| end | exit status | within {LIMIT:.0f} s | median (s) | longest (s) |")
    print("|---|---|---|---|---|", flush=True)
    good = True
    with tempfile.TemporaryDirectory() as folder:
        make_audio(Path(folder))
        for how in args.ends:
            expected = EXPECTED[how]
            ends = [end(how, folder, n, args) for n in range(args.times)]
            statuses, seconds = zip(*ends)
            seconds = sorted(seconds)
            soon = sum(value <= LIMIT for value in seconds)
            good &= soon == args.times and set(statuses) <= set(expected)
            print(
                f"| {how} | {', '.join(map(str, sorted(set(statuses))))} "
                f"| {soon} of {args.times} | {seconds[len(seconds) // 2]:.1f} "
                f"| {seconds[-1]:.1f} |",
                flush=True,
            )
    sys.exit(not good)


def end(how, folder, number, args):
    """Exit status of a run, and the seconds until its whole process group was gone."""
    output = Path(folder) / f"{how} {number}"
    output.mkdir()
    log = output / "printed.txt"
    command = [sys.executable, "-c", SCRIPT, how, str(args.pinned), "train.py"]
    command += ["hparams/dino_mini.yaml", "--data_folder", folder]
    command += ["--data_save_folder", f"{folder}/prepared", "--trial_lists", "[]"]
    command += ["--check_audio", "headers", "--output_folder", str(output)]
    command += ["--batch_size", "8", "--num_workers", str(args.workers)]
    command += ["--log_every", "1", "--warmup_epochs", "1", "--global_seconds", "0.5"]
    command += ["--local_seconds", "0.3", "--min_duration", "0.5"]
    command += ["--number_of_epochs", "100000" if how in SIGNALS else "1"]
    with open(log, "w") as file:
        process = subprocess.Popen(
            command, cwd=RECIPE, stdout=file, stderr=file, start_new_session=True
        )
    try:
        return watched(process, how, log)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def watched(process, how, log):
    curves = log.with_name("curves.jsonl")  # a line a step
    while process.poll() is None:
        if how in SIGNALS and curves.is_file():
            break
        if how in LAST_LINES and LAST_LINES[how] in log.read_text(errors="replace"):
            break
        time.sleep(0.01)
    began = time.monotonic()
    if how == "Ctrl-C":  # the terminal sends it to the workers as well
        os.killpg(process.pid, signal.SIGINT)
    elif how in SIGNALS:
        process.send_signal(SIGNALS[how])
    status = process.wait()
    while group_lives(process.pid):
        time.sleep(0.01)
    seconds = time.monotonic() - began
    if status not in EXPECTED[how]:
        print(log.read_text(errors="replace")[-2000:], file=sys.stderr)
    return status, seconds


def group_lives(group):
    """Whether a process of the group is there that is not waiting to be reaped."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, ProcessLookupError, PermissionError):
            zombie = process.status() == psutil.STATUS_ZOMBIE
            if os.getpgid(process.pid) == group and not zombie:
                return True
    return False


if __name__ == "__main__":
    main()
