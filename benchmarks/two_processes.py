#!/usr/bin/env python3
"""Gradients of a recipe's first steps under two processes against one.

    python benchmarks/two_processes.py --data_folder F --noise_folder N --rir_folder R

Trains each recipe for ``--steps`` in one process, then takes the same steps in two with
half the batch each, on the CPU, and prints the lowest cosine of their gradients (before
clipping) and the largest relative difference of the losses. Two processes begin each
step from the weights that one had: rounding, which Adam's first steps blow up, does not
add up. BatchNorm takes its statistics from all processes, as SyncBatchNorm on GPUs.
Further options go to the recipes.
"""

import argparse
import contextlib
import copy
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from torch import nn

from speechbrain_dino.models.modes import unwrapped
from speechbrain_dino.runs.prepare import prepare
from speechbrain_dino.runs.train import make_brain, start_run
from speechbrain_dino.utils.distributed import gathered, process_count

HPARAMS = Path(__file__).resolve().parents[1] / "recipes" / "VoxCeleb" / "hparams"
RECIPES = ["dino", "dino_koleo", "dino_sinkhorn", "dino_cosine", "rdino", "sdpn"]
RECIPES += ["simclr", "moco", "vicreg", "byol", "dino_ssps", "simclr_ssps"]


class Enough(Exception):
    """The steps have been taken."""


class SyncedNorm(nn.BatchNorm1d):
    """BatchNorm over the batch of all processes, which torch has for GPUs alone."""

    def forward(self, x):
        """Normalizes (N, D) or (N, D, time)."""
        if not self.training:
            return super().forward(x)
        axes = [axis for axis in range(x.dim()) if axis != 1]
        shape = [1, -1] + [1] * (x.dim() - 2)
        mean = gathered(x.mean(axes)[None]).mean(0)
        centered = x - mean.view(shape)
        variance = gathered(centered.square().mean(axes)[None]).mean(0)
        with torch.no_grad():
            count = x.numel() / x.shape[1] * process_count()
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
        scale = (variance + self.eps).rsqrt()
        if self.affine:
            scale = scale * self.weight
            return centered * scale.view(shape) + self.bias.view(shape)
        return centered * scale.view(shape)


def train(out, steps, states, arguments):
    """Takes the steps, in one of torchrun's processes; saves losses and gradients.

    States before the steps are taken from the file ``states``, or saved with the rest.
    """
    hparams, run_opts = start_run(arguments)
    run = prepare(hparams, run_opts)
    brain = make_brain(run)
    for name in brain.networks:
        for module in brain.modules[name].modules():
            if isinstance(module, nn.BatchNorm1d):
                module.__class__ = SyncedNorm
    losses, gradients, saved = [], [], []
    given = torch.load(states)[2] if states else None
    step, backward, fit_batch = brain.optimizers_step, brain.backward, brain.fit_batch

    def placed(batch):
        modules = {k: unwrapped(brain.modules[k]) for k in (*brain.networks, "loss")}
        if given is None:
            saved.append(copy.deepcopy({k: m.state_dict() for k, m in modules.items()}))
        else:
            for name, module in modules.items():
                module.load_state_dict(given[len(gradients)][name])
        return fit_batch(batch)

    def noted(loss):
        losses.append(gathered(loss.detach().reshape(1)).mean().item())
        backward(loss)

    def noted_step():
        weights = list(unwrapped(brain.trained).parameters())
        of_weights = [
            p.new_zeros(p.shape) if p.grad is None else p.grad for p in weights
        ]
        gradients.append(torch.cat([grad.flatten() for grad in of_weights]))
        step()
        if len(gradients) == steps:
            raise Enough

    brain.backward, brain.optimizers_step, brain.fit_batch = noted, noted_step, placed
    with contextlib.suppress(Enough):
        brain.fit(hparams["epoch_counter"], run.loader)
    if not getattr(brain, "rank", None):
        torch.save((losses, torch.stack(gradients), saved), out)


def measured(recipe, processes, folder, options, others):
    """Losses (steps,) and gradients (steps, weights) of a recipe."""
    out = folder / f"{recipe}_{processes}.pt"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += [f"--nproc_per_node={processes}", __file__, "--out", str(out)]
    if processes > 1:
        command += ["--states", str(folder / f"{recipe}_1.pt")]
    command += ["--steps", str(options.steps), str(HPARAMS / f"{recipe}_mini.yaml")]
    command += ["--output_folder", str(folder / f"{recipe}_{processes}"), *others]
    command += ["--batch_size", str(options.batch_size), "--precision", "fp32"]
    command += ["--data_save_folder", str(folder / "data"), "--device", "cpu"]
    command += ["--trial_lists", "[]"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    losses, gradients, _ = torch.load(out)
    return torch.tensor(losses), gradients


def compared(folder, options, others):
    """Prints a row for each recipe; returns the lowest cosine of all."""
    lowest = 1.0
    print("| recipe | steps | lowest cosine | losses differ by |\n|---|---|---|---|")
    for recipe in options.recipes:
        one, two = (measured(recipe, n, folder, options, others) for n in (1, 2))
        cosine = torch.cosine_similarity(one[1].double(), two[1].double(), dim=1)
        # MoCo's queue is empty in the first step: neither has a loss to descend.
        moved = one[1].any(1) | two[1].any(1)
        cosine = cosine[moved].min()
        apart = ((one[0] - two[0]) / one[0])[moved].abs().max()
        lowest = min(lowest, float(cosine))
        row = f"| {recipe} | {len(one[0])} | {cosine:.6f} | {apart:.0e} |"
        print(row, flush=True)
    return lowest


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipes", nargs="+", default=RECIPES)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--batch_size", type=int, default=16)
    parser.add_argument("--out", help=argparse.SUPPRESS)
    parser.add_argument("--states", help=argparse.SUPPRESS)
    given, rest = parser.parse_known_args()
    if given.out:
        rest += ["--batch_size", str(given.batch_size)]
        train(given.out, given.steps, given.states, rest)
    else:
        with tempfile.TemporaryDirectory() as scratch:
            lowest = compared(Path(scratch), given, rest)
        if lowest < 0.9999:
            sys.exit("two processes do not give the gradient of one")
