"""The output folder of a run, in which it replaces nothing but its own files."""

import sys
from pathlib import Path

from speechbrain_dino.utils.ownership import check_owner, claim

RUN_FILES = ("hyperparams.yaml", "results.json", "log.txt", "env.log", "seconds.json")
RUN_FILES += ("curves.jsonl", "curves.crc", "train_log.txt", "tensorboard", "save")
RUN_FILES += ("report", "scores", "calibration", "inference", "predictions")
RUN_FILES += ("predictions.csv", "labels.csv", "clustering.json", "clusters.png")
RUN_FILES += ("rounds.json", "folds", "command_line.py")
"""What runs write into their output folder, beside ``data`` and ``embeddings``, which
runs may share and which carry marks of their own."""

REPLACED = {"report": "report", "scores": "scoring", "calibration": "calibration"}
REPLACED |= {"inference": "export"}
"""Folders that are replaced as a whole, and what their marks name."""


def take_output_folder(folder, command):
    """Claims a run's output folder, see ``ownership.claim``.

    Raises NotOwnedError if another command wrote there, or the user has something that
    the run would replace, now or at its end.
    """
    folder, script = Path(folder), Path(sys.argv[0])
    names = (*RUN_FILES, *([script.name] if script.suffix else []))
    check_owner(folder, command, names)
    for name, owner in REPLACED.items():
        check_owner(folder / name, owner)
    claim(folder, command, names)


def command_of(hparams, default):
    """What a recipe's key ``run`` names: ``finetune``, where it is ``run_finetune``."""
    run = hparams.get("run")
    if run is None:
        return default
    return getattr(run, "func", run).__name__.removeprefix("run_")
