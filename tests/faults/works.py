"""Pieces of work that can be stopped at any moment, and what each leaves.

A ``Work`` is a command on small data and a function that reads all that it decided:
numbers and bytes, without what depends on the clock.
"""

import contextlib
import hashlib
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import recipe_runs as runs
import soundfile as sf
import torch
from emotion_runs import SMALL, as_arguments, make_emotions, make_start_model

from speechbrain_dino.embeddings.table import EmbeddingTable

CLOCK = ("wait", "utt_per_s", "time", "seconds", "minutes", "date", "host", "memory")
SMALL_PARTS = """
import functools, speechbrain_dino.runs.audio_input as steps
steps.embed_to_folder = functools.partial(steps.embed_to_folder, part_seconds=2.0)
"""
PREPARE = """
import sys
from speechbrain_dino.corpora.voxceleb import prepare_voxceleb
from speechbrain_dino.utils.ending import end_on_signals
end_on_signals()
data, save = sys.argv[1:]
prepare_voxceleb(data, save, ["veri_test.txt"], min_duration=0.5, num_workers=2)
"""
AHC = """!new:speechbrain_dino.clustering.clusterers.AHC
    num_clusters: !ref <clusters>"""


class Work(NamedTuple):
    """A script, its arguments but for the output folder, and what it leaves."""

    script: Path
    arguments: list
    outcome: Callable
    first: str = ""
    output: tuple = ("--output_folder",)

    def command(self, folder):
        """All arguments of a run that writes into ``folder``."""
        return [*map(str, self.arguments), *self.output, str(folder)]


def make_works(folder, launcher):
    """Makes data and a first model; returns the works by name."""
    vox = runs.make_corpus(folder / "vox")
    keys = {"data_folder": str(vox), "data_save_folder": str(folder / "prepared")}
    keys["mean_var_norm"] = "!new:speechbrain_dino.models.features.MeanNorm"
    training = runs.write_recipe(
        folder / "training.yaml", **keys, num_workers=1, average_last=2
    )
    short = runs.write_recipe(folder / "dino.yaml", **keys, number_of_epochs=1)
    model = folder / "dino" / "inference"
    run = launcher.run(short, "--output_folder", folder / "dino")
    assert run.status == 0, run.output
    rounds = runs.write_recipe(
        folder / "rounds.yaml",
        base="pseudo_labels",
        **keys,
        rounds=2,
        first_model=str(model),
        clusters=4,
        clusterer=AHC,
    )
    prepare = folder / "prepare.py"
    prepare.write_text(PREPARE, encoding="utf-8")
    odd = _at_another_rate(runs.make_corpus(folder / "odd"))
    emotion = runs.ROOT / "recipes" / "CREMA-D"
    emotion_keys = {
        **SMALL,
        "main_epochs": 2,
        "data_folder": make_emotions(folder / "emotions"),
        "start_model": make_start_model(folder / "start"),
    }
    yaml = emotion / "hparams" / "finetune_mini.yaml"
    embedding = {"model": model, "data": vox, "device": "cpu", "workers": 1}
    comparison = [short, "--steps", "8", "--seeds", "1"]
    return {
        "training": Work(runs.RECIPE / "train.py", [training], of_training),
        "preparation": Work(prepare, [odd], of_preparation, output=()),
        "embedding": Work(
            runs.RECIPE / "embed.py", as_arguments(embedding), of_embedding, SMALL_PARTS
        ),
        "rounds": Work(runs.RECIPE / "rounds.py", [rounds], of_rounds),
        "fine-tuning": Work(
            emotion / "train.py", [yaml, *as_arguments(emotion_keys)], of_finetuning
        ),
        "compare": Work(runs.RECIPE / "compare.py", comparison, of_comparison),
        "report": Work(
            runs.ROOT / "speechbrain_dino" / "reports" / "report.py",
            [],
            of_report,
            f"import shutil, sys\nshutil.copytree('{folder / 'dino'}', sys.argv[1], "
            "dirs_exist_ok=True, ignore=shutil.ignore_patterns('report'))",
            output=(),
        ),
    }


def _at_another_rate(corpus):
    """The training files of a corpus, said to be of 22,050 Hz: to be converted."""
    for path in sorted((corpus / "wav").glob("*/*/*.wav")):
        wave, _ = sf.read(path, dtype="int16")
        sf.write(path, wave, 22050)
    return corpus


def of_training(folder):
    """Weights, optimizer, counters; every line of the curves; results."""
    leaves = runs.tensors(runs.states(folder))
    decided = {
        name: value.numpy(force=True).tobytes() if torch.is_tensor(value) else value
        for name, value in leaves.items()
    }
    decided["curves"] = [_timeless(row) for row in runs.curves(folder)]
    results = runs.results(folder)
    for key in ("verification", "verification_before", "averaged_epochs"):
        decided[key] = results.get(key)
    return _without_clock(decided)


def of_preparation(folder):
    """Every file that was written, but for the summary's time."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(
            path.read_bytes().replace(bytes(folder), b"")
        ).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix in (".csv", ".txt", ".wav", ".flac")
    }


def of_embedding(folder):
    """The table; its parts are gone."""
    table = EmbeddingTable.load(folder)
    left = sorted(path.name for path in folder.glob("parts-*"))
    return {"ids": table.ids, "vectors": np.array(table.vectors).tobytes(), "x": left}


def of_rounds(folder):
    """Labels and training of each round, and the table."""
    decided = {}
    for number in (1, 2):
        one = folder / f"round{number}"
        decided[f"labels{number}"] = (one / "clusters" / "labels.csv").read_bytes()
        decided[f"training{number}"] = of_training(one)
    text = (folder / "rounds.json").read_text(encoding="utf-8")
    lines = json.loads(text.replace(str(folder), ""))["rounds"]
    decided["rounds"] = [_timeless(line) for line in lines]
    return decided


def of_finetuning(folder):
    """Predictions of all folds, their figures, the exported weights."""
    decided = {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.glob("folds/*/predictions.csv"))
    }
    assert len(decided) == SMALL["num_folds"]
    for path in sorted((folder / "inference").glob("*.ckpt")):
        decided[path.name] = _content(path)
    decided["pooled"] = runs.results(folder)["finetune"]["pooled"]
    return decided


def of_comparison(folder):
    """All trainings of the comparison."""
    trainings = sorted(path.parent for path in folder.rglob("curves.jsonl"))
    trainings = [path for path in trainings if path.name != "debug"]
    assert len(trainings) == 1, trainings
    return {str(path.relative_to(folder)): of_training(path) for path in trainings}


def _content(path):
    """Tensors of a saved module as bytes; other files as they are."""
    with contextlib.suppress(pickle.UnpicklingError):
        leaves = runs.tensors(torch.load(path, weights_only=True))
        return {
            name: value.numpy().tobytes() if torch.is_tensor(value) else value
            for name, value in leaves.items()
        }
    return path.read_bytes()


def of_report(folder):
    """Pictures, and the page without its date."""
    report = folder / "report"
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(report.iterdir())
        if path.suffix == ".png"
    } | {"files": sorted(path.name for path in report.iterdir())}


def _timeless(row):
    """A nested dictionary without what the clock, or the machine, decides."""
    if isinstance(row, dict):
        return {k: _timeless(v) for k, v in row.items() if not _of_clock(k)}
    return row


def _without_clock(decided):
    return {k: v for k, v in decided.items() if not _of_clock(k)}


def _of_clock(name):
    return any(word in str(name) for word in CLOCK)
