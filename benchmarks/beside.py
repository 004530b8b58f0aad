"""Speed of training and embedding beside other work on the same cores.

    python benchmarks/beside.py
    python benchmarks/beside.py --work embed --seconds 10 --repeats 7
    python benchmarks/beside.py --variant "one thread" OMP_NUM_THREADS=1

Busy loops are started beside a run, none, one and two. Every variant, environment
variables, has a run of its own; the runs take turns of some seconds, stopped by SIGSTOP
in between, so that what else the machine does meets all of them alike. Shown are
medians over the repeats, and their share of the same variant's speed alone. Not for
Windows.
"""

import argparse
import contextlib
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile as sf

from speechbrain_dino.utils.ending import end_on_signals

RECIPE = Path(__file__).resolve().parents[1] / "recipes" / "VoxCeleb"
# What the package sets, and what libgomp does if nothing is set.
VARIANTS = {
    "as it is": {},
    "spinning (libgomp's default)": {"GOMP_SPINCOUNT": "300000"},
}
BUSY = "while True: pass"
EMBED = """
import sys, time
from speechbrain_dino.embeddings.extract import embed
from speechbrain_dino.utils.allocator import keep_freed_memory
from speechbrain_dino.models.embedder import Embedder
from speechbrain_dino.data.manifest import Manifest
from speechbrain_dino.runs.recipe_yaml import read_recipe
from hyperpyyaml import load_hyperpyyaml
keep_freed_memory()
recipe, data, lines = sys.argv[1:]
hparams = load_hyperpyyaml(read_recipe(recipe), {"data_folder": data})
parts = ("compute_features", "mean_var_norm", "embedding_model")
embedder = Embedder(*(hparams[part] for part in parts))
manifest = Manifest.from_csv(data + "/utterances.csv").subset(range(4))
while True:
    embed(manifest, embedder, batch_seconds=16)
    with open(lines, "a") as file:
        file.write("\\n")
"""


def main():
    end_on_signals()
    args = arguments()
    variants = VARIANTS if args.variant is None else {**VARIANTS, **args.variant}
    with tempfile.TemporaryDirectory() as folder:
        make_audio(Path(folder))
        for work in args.work:
            with contextlib.ExitStack() as stack:
                runs = {
                    name: stack.enter_context(Run(work, folder, number, environment))
                    for number, (name, environment) in enumerate(variants.items())
                }
                measure(work, runs, args)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--work", nargs="+", choices=["train", "embed"], default=["train", "embed"]
    )
    parser.add_argument("--loops", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--seconds", type=float, default=8.0, help="of a turn")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--variant", nargs="+", metavar=("NAME", "KEY=VALUE"), action=_Variant
    )
    return parser.parse_args()


class _Variant(argparse.Action):
    def __call__(self, parser, namespace, values, option_string=None):
        name, *pairs = values
        variants = getattr(namespace, self.dest) or {}
        variants[name] = dict(pair.split("=", 1) for pair in pairs)
        setattr(namespace, self.dest, variants)


def make_audio(folder):
    """Noise in VoxCeleb's layout, 8 speakers with 12 utterances of 4 s."""
    rng = np.random.default_rng(0)
    rows = ["ID,duration,wav,start,stop,spk_id"]
    for speaker in range(8):
        for number in range(12):
            wav = folder / "wav" / f"id{speaker:05d}" / f"s{number}" / "00001.wav"
            wav.parent.mkdir(parents=True)
            sf.write(wav, rng.normal(0, 0.1, 64000).clip(-1, 1), 16000)
            name = f"{speaker}-{number}"
            rows.append(f"{name},4.0,{wav},0,64000,{speaker}")
    (folder / "utterances.csv").write_text("\n".join(rows) + "\n")


class Run:
    """A run that writes a line a step, stopped unless it has its turn."""

    def __init__(self, work, folder, number, environment):
        output = Path(folder) / f"{work}{number}"
        output.mkdir()
        recipe = RECIPE / "hparams" / "dino_mini.yaml"
        if work == "train":
            self.lines = output / "curves.jsonl"
            command = ["train.py", str(recipe), "--data_folder", folder]
            command += ["--trial_lists", "[]", "--check_audio", "headers"]
            command += ["--data_save_folder", str(output / "prepared")]
            command += ["--output_folder", str(output), "--log_every", "1"]
            command += ["--number_of_epochs", "100000", "--batch_size", "16"]
            command += ["--validate_every", "100000", "--warmup_epochs", "1"]
        else:
            self.lines = output / "lines.txt"
            command = ["-c", EMBED, str(recipe), folder, str(self.lines)]
        self.printed = output / "printed.txt"
        with open(self.printed, "w") as file:
            self.process = subprocess.Popen(
                [sys.executable, *command],
                cwd=RECIPE,
                env={**os.environ, **environment},
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def __enter__(self):
        while self._count() < 3:
            if self.process.poll() is not None:
                raise SystemExit(self.printed.read_text()[-3000:])
            time.sleep(0.1)
        self._signal(signal.SIGSTOP)
        return self

    def __exit__(self, *error):
        self._signal(signal.SIGKILL)
        self.process.wait()

    def speed(self, seconds):
        """Lines a second, between the first and the last of a turn."""
        self._signal(signal.SIGCONT)
        try:
            ended, number, times = time.monotonic() + seconds, self._count(), []
            # At least two whole steps, however slow they are.
            while time.monotonic() < ended or len(times) < 3:
                time.sleep(0.005)
                count = self._count()
                if count > number:
                    times.append((time.monotonic(), count))
                    number = count
        finally:
            self._signal(signal.SIGSTOP)
        (begin, before), (end, after) = times[0], times[-1]
        return (after - before) / (end - begin)

    def _count(self):
        return self.lines.read_bytes().count(b"\n") if self.lines.exists() else 0

    def _signal(self, number):
        os.killpg(self.process.pid, number)


@contextlib.contextmanager
def busy(loops):
    """Other work: loops that do nothing but compute."""
    command = [sys.executable, "-c", BUSY]
    others = [subprocess.Popen(command) for _ in range(loops)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def measure(work, runs, args):
    speeds = {(name, loops): [] for name in runs for loops in args.loops}
    for _ in range(args.repeats):
        for loops in args.loops:
            for name, run in runs.items():
                with busy(loops):
                    speeds[name, loops].append(run.speed(args.seconds))
    titles = [f"{loops} busy loop{'s' * (loops != 1)}" for loops in args.loops]
    print(f"| {work}, steps/s | {' | '.join(titles)} |")
    print("|---" * (1 + len(titles)) + "|")
    for name in runs:
        medians = [statistics.median(speeds[name, loops]) for loops in args.loops]
        cells = [f"{speed:.2f} ({speed / medians[0]:.0%})" for speed in medians]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
