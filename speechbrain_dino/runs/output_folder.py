"""The output folder of a run, in which it replaces nothing but its own files."""

import logging
import os
import shutil
import sys
import tempfile
from datetime import date
from pathlib import Path

import speechbrain as sb
from ruamel.yaml import YAML
from speechbrain.core import DEFAULT_LOG_CONFIG
from speechbrain.utils.distributed import if_main_process

from speechbrain_dino.runs.resume import note_changes
from speechbrain_dino.utils.files import replacing
from speechbrain_dino.utils.ownership import check_owner, claim
from speechbrain_dino.utils.refusals import forget, when_accepted

RUN_FILES = ("hyperparams.yaml", "results.json", "log.txt", "env.log", "seconds.json")
RUN_FILES += ("curves.jsonl", "curves.crc", "train_log.txt", "tensorboard", "save")
RUN_FILES += ("report", "scores", "calibration", "inference", "predictions")
RUN_FILES += ("predictions.csv", "labels.csv", "clustering.json", "clusters.png")
RUN_FILES += ("rounds.json", "folds", "output_folder.py")
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


def make_output_folder(folder, launch, changes):
    """SpeechBrain's, but for the merged recipe and the script that the user started.

    What describes an earlier command in this folder is replaced when this one is
    accepted, see ``utils.refusals``.
    """
    forget()
    if if_main_process():
        _keep_until_accepted(folder, launch, changes)
    with tempfile.TemporaryDirectory() as scratch:
        log_config = launch.run_opts.log_config
        if log_config is None:
            log_config = Path(scratch) / "log-config.yaml"
            _write_log_config(log_config)
        sb.create_experiment_directory(folder, log_config=str(log_config))
    if if_main_process():
        (folder / Path(__file__).name).unlink(missing_ok=True)


def _keep_until_accepted(folder, launch, changes):
    head = f"# Generated {date.today()} from:\n# {Path(launch.hparams_file).resolve()}"
    text = f"{head}\n# yamllint disable\n{launch.resolved()}"
    environment, log = folder / "env.log", folder / "log.txt"
    content = environment.read_bytes() if environment.is_file() else None
    size = log.stat().st_size if log.is_file() else None

    def write():
        if Path(sys.argv[0]).suffix == ".py":
            shutil.copy(sys.argv[0], folder)
        note_changes(folder, changes)  # before what they are changes from is replaced
        write_settings(folder, text)

    def take_back():
        if content is not None:
            environment.write_bytes(content)
        if size is not None:  # lines are appended, also after this
            os.truncate(log, size)

    if (folder / "hyperparams.yaml").exists():
        when_accepted(write, take_back)
    else:
        write()


def write_settings(folder, text):
    """Writes a run's ``hyperparams.yaml``."""
    with replacing(folder / "hyperparams.yaml") as draft:
        draft.write_text(text, "utf-8")


def _write_log_config(path):
    """SpeechBrain's, but that its own news and names of loggers go to log.txt alone."""
    yaml = YAML()
    config = yaml.load(Path(DEFAULT_LOG_CONFIG).read_text("utf-8"))
    config["formatters"]["console"]["format"] = "%(message)s"
    config["filters"] = {"for_people": {"()": f"{__name__}.ForPeople"}}
    config["handlers"]["console"]["filters"] = ["for_people"]
    yaml.dump(config, path)


class ForPeople(logging.Filter):
    """Passes warnings, and what this package tells."""

    def filter(self, record):
        """Whether a record is shown in the terminal."""
        if not record.name.startswith("speechbrain."):
            return True
        is_harmless = "Saving an empty state_dict" in record.getMessage()
        return record.levelno >= logging.WARNING and not is_harmless
