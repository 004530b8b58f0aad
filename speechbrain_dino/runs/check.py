"""Checks a recipe without data: its keys, its parts, their size and cost.

    python -m speechbrain_dino.check hparams/dino.yaml [--key value ...]

Everything is built on the CPU; nothing is read, trained or written.
"""

import re
import sys
import tempfile

import torch
from torch.utils.flop_counter import FlopCounterMode

from speechbrain_dino.models.branch import Branch
from speechbrain_dino.runs.command_line import (
    read_arguments,
    silence_torchvision,
)
from speechbrain_dino.runs.usage import help_asked

_UTTERANCES = 2  # BatchNorm needs more than one


def main(argv):
    """Command line.

    Arguments
    ---------
    argv : list of str
        A recipe, and keys of it.

    Raises
    ------
    SystemExit
        At the first thing that does not fit, in one line.
    """
    if help_asked(argv) or not argv:
        print(__doc__.strip())
        return
    for line in report(argv):
        print(line)


def report(argv):
    """What a recipe consists of, in lines.

    Arguments
    ---------
    argv : list of str
        As for :func:`main`.

    Yields
    ------
    str
    """
    silence_torchvision()
    launch, _ = read_arguments(argv)
    hparams_file, recipe = launch.hparams_file, launch.recipe
    needed = re.findall(r"^(\w+): !PLACEHOLDER", recipe, re.MULTILINE)
    with tempfile.TemporaryDirectory() as scratch:
        given = {**dict.fromkeys(needed, scratch), **launch.overrides}
        given["output_folder"] = scratch
        if re.search(r"^start_model:", recipe, re.MULTILINE):
            given["start_model"] = None
        hparams = launch.changed(**given).build()
    yield f"{hparams_file}: keys and parts are in order"
    encoder = hparams.get("embedding_model")
    if encoder is None or "global_crops" not in hparams:
        trained = re.search(r"^start_model:", recipe, re.MULTILINE)
        yield f"  trained is {'what start_model names' if trained else 'no network'}"
        return
    student = hparams.get("student")
    parts = {"encoder": encoder}
    if isinstance(student, Branch):
        parts["head"] = student.head
    for name, part in parts.items():
        yield _line(name, f"{_count(part):,} parameters")
    yield _line("total", f"{sum(map(_count, parts.values())):,} parameters")
    if "head" not in parts:
        yield _line("output layer", "depends on the number of classes")
    yield from _crops(hparams)
    try:
        yield from _cost(
            hparams, student if "head" in parts else Branch(encoder, _as_is)
        )
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise SystemExit(
            f"{hparams_file}: its parts do not fit together: {reason}"
        ) from error
    yield _line("batch", f"{hparams['batch_size']} utterances, all processes together")
    yield _line("epochs", str(hparams["number_of_epochs"]))


def _as_is(embeddings):
    return embeddings


def _line(name, value):
    return f"  {name:24} {value}"


def _count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def _seconds(value):
    return float(value(0) if callable(value) else value)


def _lengths(hparams):
    """(number of crops, seconds) of each crop length."""
    for kind in ("global", "local"):
        number = hparams[f"{kind}_crops"]
        if number:
            yield kind, number, _seconds(hparams[f"{kind}_seconds"])


def _crops(hparams):
    crops = [f"{n} x {seconds:g} s ({kind})" for kind, n, seconds in _lengths(hparams)]
    yield _line("crops per utterance", ", ".join(crops))


def _cost(hparams, student):
    """Arithmetic and memory of one utterance's crops, forward and backward."""
    rate = hparams["sample_rate"]
    feats = []
    for _, number, seconds in _lengths(hparams):
        waves = torch.randn(number * _UTTERANCES, round(seconds * rate))
        features = hparams["compute_features"](waves)
        feats.append(hparams["mean_var_norm"](features, torch.ones(len(waves))))
    kept = {}

    def keep(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    student.train()
    counter = FlopCounterMode(display=False)
    hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
    with counter, hooks:
        student(feats)
    forward = counter.get_total_flops()
    total = 3 * forward  # backward costs two forwards
    if hparams.get("teacher") is not None:
        teacher = FlopCounterMode(display=False)
        with teacher, torch.no_grad():
            student(feats[:1])
        total += teacher.get_total_flops()
    weights = {p.untyped_storage().data_ptr() for p in student.parameters()}
    activations = sum(size for place, size in kept.items() if place not in weights)
    yield _line("FLOPs per utterance", f"{total / _UTTERANCES / 1e9:.1f} G in training")
    yield _line(
        "memory per utterance",
        f"{activations / _UTTERANCES / 2**20:.0f} MiB of activations in fp32",
    )


if __name__ == "__main__":
    main(sys.argv[1:])
