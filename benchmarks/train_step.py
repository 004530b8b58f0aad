"""Utterances per second of a training step, and where the time goes.

    python benchmarks/train_step.py                       # dino_ecapa.yaml
    python benchmarks/train_step.py --precision fp32 --batch_size 128 --out_dim 65536
    python benchmarks/train_step.py --recipe dino.yaml    # the paper's LResNet34
    python benchmarks/train_step.py --compare [--compile] [--json FILE]

The step is taken apart: the gradient of the loss is first propagated to the
embeddings (head and loss), then from there through the encoder, so that "beyond the
encoder" is what augmentation, log-mels, head, loss, clipping, optimizer and teacher
update cost together. ``--default_malloc`` leaves glibc's memory thresholds alone.
``--compare`` runs a recipe with ECAPA-TDNN beside itself with SpeechBrain's own class,
step by step in turns, each in a process of its own that the other waits for.
"""

import argparse
import copy
import json
import logging
import multiprocessing
import re
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile as sf
import torch
from hyperpyyaml import load_hyperpyyaml
from speechbrain.lobes.models.ECAPA_TDNN import ECAPA_TDNN as THEIRS

from speechbrain_dino.augment.crops import augmented
from speechbrain_dino.losses.views import Views
from speechbrain_dino.runs.recipe_yaml import read_recipe
from speechbrain_dino.training.safe_step import clip_gradients, parameter_groups
from speechbrain_dino.utils.allocator import keep_freed_memory
from speechbrain_dino.utils.precision import PRECISIONS, autocast, resolved_precision

RECIPES = Path(__file__).resolve().parents[1] / "recipes" / "VoxCeleb" / "hparams"
OURS = (
    r"!new:speechbrain_dino\.models\.(ecapa|encoders)\.\w*ECAPA\w*(\n +padding: \w+)?"
)
TIMES = ("encoder", "step", "CPU")
ENCODER = ("teacher forward", "student forward", "encoder backward")


def main():
    args = arguments()
    if args.compare:
        compare(args)
        return
    splits = [*measured(args)]
    show(args, splits[args.warmup :])


def measured(args):
    """Takes the steps; yields the seconds of the parts of each."""
    if not args.default_malloc:
        keep_freed_memory()
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        write_noises(Path(folder))
        hparams = build(args, folder)
        hparams["augment"].load()
        if args.compile:
            print("compiling: the first steps take minutes", flush=True)
        step = Step(hparams, args)
        for number in range(args.warmup + args.steps):
            yield timed(step, number)


def timed(step, number):
    """A step, and a line that says how long it took: the first ones may compile."""
    begin = time.perf_counter()
    split = step.run()
    seconds = time.perf_counter() - begin
    if number == 0:
        print(f"time to the first step: {seconds:.1f} s", flush=True)
    else:
        print(f"step {number + 1}: {seconds:.3f} s", flush=True)
    return split


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", default="dino_ecapa.yaml")
    parser.add_argument("--batch_size", type=int, default=8)
    parser.add_argument("--out_dim", type=int, default=4096)
    parser.add_argument("--precision", choices=PRECISIONS, default="auto")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--warmup", type=int, default=2)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--compare", action="store_true")
    parser.add_argument("--json", type=Path, help="where --compare writes its table")
    parser.add_argument("--speechbrain", action="store_true", help="its own ECAPA-TDNN")
    parser.add_argument("--default_malloc", action="store_true")
    default = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--device", default=default)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    args.asked_precision = args.precision
    args.precision = resolved_precision(args.precision, args.device)
    return args


def write_noises(folder):
    """Generated noises and decaying rooms: what they hold does not change the time."""
    rng = np.random.default_rng(0)
    rows = {"noise": [], "rir": []}
    for number in range(20):
        noise = rng.normal(0, 0.1, 80000)
        room = rng.normal(0, 0.3, 8000) * np.exp(-np.arange(8000) / 1500)
        for name, samples in (("noise", noise), ("rir", room)):
            wav = folder / f"{name}{number}.wav"
            sf.write(wav, samples.clip(-1, 1), 16000)
            rows[name].append(f"{name}{number},{len(samples) / 16000},{wav}")
    for name, lines in rows.items():
        text = "\n".join(["ID,duration,wav", *lines]) + "\n"
        (folder / f"{name}.csv").write_text(text, encoding="utf-8")


def build(args, folder):
    overrides = {
        "data_folder": folder,
        "data_save_folder": folder,
        "out_dim": args.out_dim,
    }
    recipe = read_recipe(RECIPES / args.recipe)
    if args.speechbrain:
        recipe = re.sub(OURS, f"!new:{THEIRS.__module__}.{THEIRS.__qualname__}", recipe)
    return load_hyperpyyaml(recipe, overrides)


class Step:
    """One training step on random audio, timed part by part."""

    def __init__(self, hparams, args):
        self.hparams, self.args, self.device = hparams, args, args.device
        self.modules = {
            name: module.to(self.device) for name, module in hparams["modules"].items()
        }
        student = self.modules["student"]
        self.encoder, self.head = student.encoder, student.head
        self.teacher = self.modules["teacher"]
        if args.compile:  # as training does
            self.encoder = torch.compile(self.encoder, dynamic=True)
            self.teacher.branch.compile_encoder(dynamic=True)
        groups = parameter_groups(student, hparams["weight_decay"])
        self.optimizer = hparams["opt_class"](groups, lr=1e-4)
        self.scaler = torch.GradScaler(self.device, enabled=args.precision == "fp16")
        rate, batch = hparams["sample_rate"], args.batch_size
        self.views = [
            torch.randint(-3000, 3000, (count, batch, int(rate * seconds)))
            .to(torch.int16)
            .to(self.device)
            for count, seconds in (
                (hparams["global_crops"], hparams["global_seconds"]),
                (hparams["local_crops"], hparams["local_seconds"]),
            )
        ]

    def run(self):
        """Takes a step; returns the seconds of each part."""
        self.split, self.mark = {}, self.now()
        waves = []
        for view in self.views:
            crops = view.flatten(0, 1).float() / 32768
            draws = torch.rand(len(crops), self.modules["augment"].num_draws)
            waves.append(augmented(self.modules["augment"], crops, None, draws))
        self.lap("augmentation")
        feats = [
            self.modules["mean_var_norm"](self.modules["compute_features"](wave))
            for wave in waves
        ]
        self.lap("features")
        with autocast(self.device, self.args.precision):
            _, teacher = self.teacher(feats[:1])
            self.lap("teacher forward")
            embedded = torch.cat([self.encoder(crops).flatten(1) for crops in feats])
            self.lap("student forward")
            leaf = embedded.detach().requires_grad_()
            student = self.head(leaf)
            number = self.args.batch_size
            views = Views(
                student.unflatten(0, (-1, number)),
                teacher.unflatten(0, (-1, number)),
                leaf.unflatten(0, (-1, number)),
                items=torch.arange(number, device=self.device),
                shared=len(self.views[0]),
            )
            loss = self.modules["loss"](views).loss
        self.scaler.scale(loss).backward()
        self.lap("head and loss")
        embedded.backward(leaf.grad)
        self.lap("encoder backward")
        self.modules["loss"].settle()
        self.update()
        return self.split

    def update(self):
        student = self.modules["student"]
        self.scaler.unscale_(self.optimizer)
        clip_gradients(student.parameters(), 3.0, per_tensor=True)
        self.lap("clipping")
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        self.lap("optimizer")
        self.teacher.update(student, 0.996)
        self.lap("teacher update")

    def lap(self, name):
        now = self.now()
        self.split[name] = self.split.get(name, 0.0) + now - self.mark
        self.mark = now

    def now(self):
        if torch.device(self.device).type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()


# -- beside SpeechBrain ---------------------------------------------------------------


def compare(args):
    """Steps of all variants in turns; prints medians, ratios and peak memory."""
    asked = [args.asked_precision]
    if args.asked_precision == "auto":
        asked = list(dict.fromkeys(["fp32", args.precision]))
    runs = {
        (who, how, precision): Beside(args, who, how, precision)
        for precision in asked
        for how in (("eager", "compiled") if args.compile else ("eager",))
        for who in ("SpeechBrain", "ours")
    }
    for _ in range(args.warmup + args.steps):
        for run in runs.values():
            run.step()
    table = {name: run.end(args.warmup) for name, run in runs.items()}
    base = table["SpeechBrain", "eager", asked[0]]
    print(f"\n{' '.join(sys.argv)}\n{torch.get_num_threads()} threads, {args.device}")
    print(
        "class       mode     prec.  encoder  ratio   step  ratio    CPU  ratio    GiB"
    )
    rows = []
    for (who, how, precision), row in table.items():
        ratios = {f"{k} ratio": row[k] / base[k] for k in TIMES}
        rows.append(
            {"class": who, "mode": how, "precision": precision, **row, **ratios}
        )
        shown = [f"{row[k]:6.2f} {ratios[f'{k} ratio']:6.2f}" for k in TIMES]
        print(f"{who:11} {how:8} {precision:6}  {' '.join(shown)} {row['memory']:6.2f}")
    for row in rows:
        if row["mode"] == "compiled":
            what = f"{row['class']} compiled, {row['precision']}"
            print(f"{what}: {row['first step']:.0f} s to the end of the first step")
    if args.json is not None:
        args.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


class Beside:
    """A variant in a process of its own, which sleeps while the others compute."""

    def __init__(self, args, who, how, precision):
        own = copy.copy(args)
        own.speechbrain, own.compile = who == "SpeechBrain", how == "compiled"
        own.precision = precision
        self.pipe, end = multiprocessing.Pipe()
        context = multiprocessing.get_context("spawn")
        self.process = context.Process(target=serve, args=(own, end), daemon=True)
        self.process.start()
        end.close()
        self.splits, self.cpu = [], []

    def step(self):
        self.pipe.send("step")
        split, cpu = self.pipe.recv()
        self.splits.append(split)
        self.cpu.append(cpu)

    def end(self, warmup):
        """Medians of the seconds of encoder, step and CPU; GiB at the peak."""
        self.pipe.send("end")
        memory = self.pipe.recv()
        self.process.join()
        kept = self.splits[warmup:]
        return {
            "encoder": statistics.median(sum(s[k] for k in ENCODER) for s in kept),
            "step": statistics.median(sum(s.values()) for s in kept),
            "CPU": statistics.median(self.cpu[warmup:]),
            "first step": sum(self.splits[0].values()),
            "memory": memory / 2**30,
        }


def serve(args, pipe):
    """Takes a step whenever the other end of the pipe asks; says its memory at last."""
    steps = measured(args)
    while pipe.recv() == "step":
        begin = time.process_time()
        pipe.send((next(steps), time.process_time() - begin))
    if torch.device(args.device).type == "cuda":
        pipe.send(torch.cuda.max_memory_allocated())
    else:
        pipe.send(1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


# -- one variant ----------------------------------------------------------------------


def show(args, splits):
    medians = {name: statistics.median(s[name] for s in splits) for name in splits[0]}
    total = statistics.median(sum(split.values()) for split in splits)
    beyond = sum(value for name, value in medians.items() if name not in ENCODER)
    print(f"\n{' '.join(sys.argv)}")
    print(
        f"{torch.get_num_threads()} threads, torch {torch.__version__}, {args.device}, "
        f"{args.precision}"
    )
    for name, seconds in medians.items():
        print(f"{name:18} {1000 * seconds:9.1f} ms {100 * seconds / total:6.1f} %")
    print(f"{'step':18} {1000 * total:9.1f} ms")
    print(f"{args.batch_size / total:.2f} utterances/s")
    print(
        f"beyond encoder forward and backward: {100 * beyond / total:.1f} % of a step"
    )


if __name__ == "__main__":
    main()
