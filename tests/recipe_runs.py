"""Whole runs of the VoxCeleb recipe on a small corpus, in processes to be killed.

Importing torch and SpeechBrain takes seconds, so one process imports them and forks a
child for every run (``Launcher``); each child executes ``train.py`` as ``python
train.py ...`` would.
"""

import atexit
import contextlib
import importlib
import json
import os
import runpy
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile as sf
import torch

ROOT = Path(__file__).resolve().parents[1]
RECIPE = ROOT / "recipes" / "VoxCeleb"
RATE = 16000
HANGS = 1200  # seconds after which whatever is waited for counts as hung
TINY = {
    "trial_lists": ["veri_test.txt"],
    "min_duration": 0.5,
    "vad": False,
    "num_workers": 0,
    "global_seconds": 0.6,
    "local_crops": 2,
    "local_seconds": 0.3,
    "n_mels": 16,
    # Without dither, which is drawn step by step and process by process.
    "compute_features": """!new:speechbrain.lobes.features.Fbank
    sample_rate: !ref <sample_rate>
    n_mels: !ref <n_mels>
    f_min: 20
    f_max: !ref <f_max>
    n_fft: 512
    win_length: 25
    hop_length: 10""",
    "embedding_dim": 8,
    "out_dim": 32,
    "embedding_model": """!new:speechbrain.lobes.models.ECAPA_TDNN.ECAPA_TDNN
    input_size: !ref <n_mels>
    channels: [8, 8, 8, 8, 16]
    kernel_sizes: [5, 3, 3, 3, 1]
    dilations: [1, 2, 3, 4, 1]
    attention_channels: 4
    se_channels: 4
    res2net_scale: 2
    lin_neurons: !ref <embedding_dim>""",
    "head": """!new:speechbrain_dino.models.heads.DINOHead
    in_dim: !ref <embedding_dim>
    out_dim: !ref <out_dim>
    hidden_dim: 16
    bottleneck_dim: 8""",
    "number_of_epochs": 3,
    "batch_size": 4,
    "precision": "fp32",
    "base_lr": 0.2,
    "warmup_epochs": 1,
    "log_every": 1,
    "valid_utterances": 8,
    "ckpt_interval_minutes": 0,
    "ckpt_interval_steps": 2,
}
# Without BatchNorm: what it computes does not depend on how a batch is split.
PLAIN_ENCODER = """!new:recipe_runs.PlainEncoder
    input_size: !ref <n_mels>
    embedding_dim: !ref <embedding_dim>"""


# The seconds that forks save.
IMPORTED_ONCE = (
    "matplotlib.pyplot",
    "torch._dynamo",
    "speechbrain_dino.corpora.audio_folder",
    "speechbrain_dino.corpora.noise_rir",
    "speechbrain_dino.corpora.voxceleb",
    "speechbrain_dino.runs.rounds",
    "speechbrain_dino.runs.train",
)
# What takes longer than these trainings and decides nothing in most tests.
QUICK = """
import speechbrain.utils.logger, speechbrain_dino.runs.train
speechbrain.utils.logger.get_environment_description = lambda: ""
speechbrain_dino.runs.train.write_report = lambda folder: None
"""


def make_corpus(folder, speakers=8, utterances=4, seed=0):
    """Colored noise in VoxCeleb's layout, and a trial list of the last two speakers.

    Returns
    -------
    Path
        The data folder, with ``veri_test.txt`` in it.
    """
    folder, rng = Path(folder), np.random.default_rng(seed)
    tested = []
    for speaker in range(speakers):
        # A speaker is a resonance: two poles at a frequency of its own.
        angle, radius = 0.2 + 2.4 * speaker / speakers, 0.9
        for number in range(utterances):
            noise = rng.standard_normal(round(RATE * rng.uniform(1.0, 2.0)))
            spectrum = np.fft.rfft(noise)
            turn = np.exp(-1j * np.linspace(0, np.pi, len(spectrum)))
            poles = 1 - 2 * radius * np.cos(angle) * turn + radius**2 * turn**2
            wave = np.fft.irfft(spectrum / poles, len(noise))
            name = f"id{speaker:05d}/s{number}/00001.wav"
            path = folder / "wav" / name
            path.parent.mkdir(parents=True)
            sf.write(path, 0.1 * wave / wave.std(), RATE)
            if speaker >= speakers - 2:
                tested.append(name)
    trials = [
        f"{int(one[:7] == other[:7])} {one} {other}"
        for number, one in enumerate(tested)
        for other in tested[number + 1 :]
    ]
    (folder / "veri_test.txt").write_text("\n".join(trials) + "\n", encoding="utf-8")
    return folder


def write_labels(folder, data_folder, wrong=(), left_out=()):
    """Labels of a corpus' training speakers, the rows ``wrong`` with the next one's."""
    names = sorted(path for path in (Path(data_folder) / "wav").glob("*/*/*.wav"))
    names = [path for path in names if int(path.parts[-3][2:]) < 6]
    lines = ["ID,label"]
    for row, path in enumerate(names):
        label = (int(path.parts[-3][2:]) + (row in wrong)) % 6
        identity = "--".join([*path.parts[-3:-1], path.stem])
        lines.append(f"{identity},{-1 if row in left_out else label}")
    path = Path(folder) / "labels.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def make_noises(folder, number=3, seed=1):
    """White noises of different loudness."""
    rng = np.random.default_rng(seed)
    Path(folder).mkdir()
    for item in range(number):
        wave = 0.05 * (item + 1) * rng.standard_normal(RATE)
        sf.write(Path(folder) / f"noise{item}.wav", wave, RATE)
    return Path(folder)


# What a small training on labels has in other ways than ``TINY``.
LABELED = {
    "local_crops": 0,
    "chunk_seconds": 0.5,
    "large_margin_seconds": 0.7,
    "global_seconds": """!name:speechbrain_dino.training.schedules.in_turn
    lengths: [2, 1]
    schedules: [!ref <chunk_seconds>, !ref <large_margin_seconds>]""",
    "head": None,
    "clusterer": "!new:collections.Counter",
    "affine_epochs": 1,
    "main_epochs": 1,
    "large_margin_epochs": 1,
    "margin_warmup_epochs": 1,
    "number_of_epochs": "!ref <affine_epochs> + <main_epochs> + <large_margin_epochs>",
    "affine_lr": 0.1,
    "opt_class": "!name:torch.optim.SGD\n    momentum: 0.9\n    fused: True",
}


def write_recipe(path, base="dino", **keys):
    """Writes a YAML that extends a recipe with ``TINY`` and ``keys``."""
    lines = [f"extends: {RECIPE / 'hparams' / f'{base}.yaml'}"]
    small = TINY if "dino" in Path(base).name else {**TINY, **LABELED}
    for key, value in {**small, **keys}.items():
        plain = isinstance(value, str) and value.startswith("!")
        lines.append(f"{key}: {value if plain else json.dumps(value)}")
    path = Path(path)
    path.write_text(
        "\n".join(lines).replace(": true", ": True") + "\n", encoding="utf-8"
    )
    return path


def make_brain(recipe, *options):
    """Builds brain and loader in this process, as ``train.py`` does, on the CPU.

    Unless the options name another ``--device``: SpeechBrain would take a GPU.
    """
    from speechbrain_dino.runs import train as training_run

    options = [str(option) for option in options]
    if "--device" not in options:
        options += ["--device", "cpu"]
    hparams, run_opts = training_run.start_run([str(recipe), *options])
    run = training_run.prepare(hparams, run_opts)
    return training_run.make_brain(run), run.loader


def environment(**more):
    """Variables for processes that run the recipe with this checkout, on the CPU."""
    paths = [str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        **more,
    }


class PlainEncoder(torch.nn.Module):
    """Two layers and a mean over time, (B, T, F) -> (B, D), without BatchNorm."""

    def __init__(self, input_size, embedding_dim):
        super().__init__()
        self.frames = torch.nn.Linear(input_size, 16)
        self.embedding = torch.nn.Linear(16, embedding_dim)

    def forward(self, feats, lengths=None):
        hidden = torch.nn.functional.gelu(self.frames(feats))
        return self.embedding(hidden.mean(1))


class FailingEncoder(PlainEncoder):
    """It embeds, but does not train."""

    def forward(self, feats, lengths=None):
        if self.training:
            raise RuntimeError("this encoder does not train")
        return super().forward(feats, lengths)


def states(output_folder):
    """All recoverables of the newest checkpoint, as loaded or as bytes."""
    recoverables = {}
    for file in sorted(newest_checkpoint(output_folder).glob("*.ckpt")):
        recoverables[file.stem] = file.read_bytes()
        with contextlib.suppress(Exception):
            recoverables[file.stem] = torch.load(file, weights_only=True)
    return recoverables


def newest_checkpoint(output_folder):
    """Folder of the whole checkpoint that was saved last."""
    folders = (Path(output_folder) / "save").glob("CKPT+*")
    return max((f for f in folders if (f / "CKPT.yaml").is_file()), key=_saved_at)


def results(output_folder):
    """results.json."""
    return json.loads(
        (Path(output_folder) / "results.json").read_text(encoding="utf-8")
    )


def _saved_at(checkpoint):
    lines = (checkpoint / "CKPT.yaml").read_text(encoding="utf-8").splitlines()
    return next(float(x.split(":")[1]) for x in lines if x.startswith("unixtime"))


def tensors(state, prefix=""):
    """All tensors and numbers of nested dicts and lists, by path."""
    if isinstance(state, dict):
        parts = state.items()
    elif isinstance(state, (list, tuple)):
        parts = enumerate(state)
    else:
        return {prefix: state}
    leaves = {}
    for key, value in parts:
        leaves |= tensors(value, f"{prefix}/{key}")
    return leaves


def curves(output_folder):
    """Lines of curves.jsonl; every line must be whole."""
    text = (Path(output_folder) / "curves.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


class Run(NamedTuple):
    """A run that ended: exit status (negative: the signal) and what it printed."""

    status: int
    output: str


class Launcher:
    """Starts runs of ``train.py`` as processes forked from one that has imported."""

    def __init__(self, folder):
        self.log = Path(folder) / "printed.txt"
        self.server = subprocess.Popen(
            [sys.executable, __file__],
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def start(self, recipe, *options, first="", quick=True, script="train.py"):
        """Starts a run, after the Python code ``first``; returns its process id.

        A ``quick`` run writes no report and no list of packages.
        """
        job = {
            "script": str(RECIPE / script),
            "argv": [str(recipe), *map(str, options)],
            "log": str(self.log),
            "first": (QUICK if quick else "") + first,
        }
        self.server.stdin.write(json.dumps(job) + "\n")
        self.server.stdin.flush()
        self.process = int(self.server.stdout.readline())
        return self.process

    def wait(self, seconds=HANGS):
        """Waits for the end of the run that was started last, kills it if it hangs."""
        alarm = threading.Timer(seconds, os.kill, (self.process, signal.SIGKILL))
        alarm.start()
        status = int(self.server.stdout.readline())
        alarm.cancel()
        return Run(status, self.log.read_text(errors="replace", encoding="utf-8"))

    def run(self, recipe, *options, **keywords):
        """Starts a run and waits for its end."""
        self.start(recipe, *options, **keywords)
        return self.wait()

    def close(self):
        """Ends the process that runs are forked from."""
        self.server.stdin.close()
        self.server.wait(timeout=HANGS)


def until(condition, seconds=HANGS):
    """Waits until a condition holds; False if it never did."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.002)
    return False


def _serve():
    for name in IMPORTED_ONCE:
        importlib.import_module(name)
    for line in sys.stdin:
        job = json.loads(line)
        child = os.fork()
        if child == 0:
            _run(job)
        print(child, flush=True)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _run(job):
    status = 1
    try:
        log = os.open(job["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for number in (1, 2):
            os.dup2(log, number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        script = job["script"]
        os.chdir(Path(script).parent)
        sys.argv = [script, *job["argv"]]
        exec(job["first"], {})
        runpy.run_path(script, run_name="__main__")
        status = 0
    except SystemExit as end:
        status = 0 if end.code is None else end.code
        if isinstance(status, str):
            print(status, file=sys.stderr)
            status = 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        atexit._run_exitfuncs()  # as the interpreter does at its end
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    _serve()
