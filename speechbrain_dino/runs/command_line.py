"""Starts a run from the command line: arguments, processes, YAML, folders."""

import argparse
import atexit
import contextlib
import difflib
import io
import logging
import re
import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import speechbrain as sb
import torch
from hyperpyyaml import load_hyperpyyaml, resolve_references
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from speechbrain.core import DEFAULT_LOG_CONFIG
from speechbrain.utils.distributed import ddp_broadcast, if_main_process, infer_device
from speechbrain.utils.run_opts import RunOptions

from speechbrain_dino.runs.keys import check_recipe
from speechbrain_dino.runs.output_folder import command_of, take_output_folder
from speechbrain_dino.runs.recipe_yaml import read_recipe
from speechbrain_dino.runs.usage import help_asked, print_help
from speechbrain_dino.utils.allocator import keep_freed_memory
from speechbrain_dino.utils.distributed import own_device
from speechbrain_dino.utils.ending import end_on_signals, leave_group, wait_long
from speechbrain_dino.utils.errors import check_arguments, plain_errors
from speechbrain_dino.utils.precision import (
    bf16_support,
    choose_precision,
    stored_precision,
)
from speechbrain_dino.utils.storage import tell_storage_errors

logger = logging.getLogger(__name__)


class Launch(NamedTuple):
    """What the command line asks for, from which runs are built.

    Arguments
    ---------
    recipe : str
        HyperPyYAML, merged with what it extends.
    overrides : str or dict
        The keys given on the command line, as YAML or values.
    hparams_file : str
        The recipe's path.
    run_opts : speechbrain.utils.run_opts.RunOptions
        SpeechBrain's run options.
    """

    recipe: str
    overrides: str | dict
    hparams_file: str
    run_opts: RunOptions

    def changed(self, **keys):
        """The same with other values of top-level keys, plain ones."""
        overrides = self.overrides or {}
        if isinstance(overrides, str):
            overrides = YAML(typ="rt").load(overrides)
        return self._replace(overrides={**overrides, **keys})

    def build(self):
        """Builds the YAML's objects; new ones at each call."""
        return _built(self.recipe, self.overrides, self.hparams_file)

    def resolved(self):
        """The recipe's text with overrides in place and references resolved."""
        return resolve_references(self.recipe, self.overrides).read()


def start_run(argv, command="training"):
    """Reads the arguments, joins the other processes and builds the YAML's objects.

    With ``--debug`` the output folder becomes ``<output_folder>/debug``.

    Arguments
    ---------
    argv : list of str
        The YAML file and options: SpeechBrain's run options, and any key of the YAML.
    command : str
        Whose the output folder is, where the YAML has no key ``run``.

    Returns
    -------
    hparams : dict
        What the YAML describes.
    run_opts : speechbrain.utils.run_opts.RunOptions
        SpeechBrain's run options.
    """
    launch, hparams = launched(argv, command)
    return hparams, launch.run_opts


def launched(argv, command="training"):
    """As `start_run`, for runs that build the YAML's objects several times.

    Arguments
    ---------
    argv : list of str
        The command line.
    command : str
        Whose the output folder is, where the YAML has no key ``run``.

    Returns
    -------
    launch : Launch
        From which the objects can be built again, with other keys.
    hparams : dict
        What the YAML describes.
    """
    if help_asked(argv):
        print_help(argv)
        raise SystemExit(0)
    end_on_signals()
    keep_freed_memory()
    argv, precision = without_precision(argv)
    hparams_file, run_opts, recipe, overrides = read_arguments(argv)
    with plain_errors(ValueError):
        device = own_device(_computable(run_opts.device))
    if run_opts.device == "cuda":  # SpeechBrain would take the first one everywhere
        run_opts = replace(run_opts, device=device)
    if run_opts.device == "cpu" or not torch.cuda.is_available():
        run_opts = replace(run_opts, distributed_backend="gloo")
    sb.utils.distributed.ddp_init_group(run_opts)
    wait_long()
    atexit.register(leave_group)
    silence_torchvision()
    launch = Launch(recipe, overrides, hparams_file, run_opts)
    hparams = launch.build()
    if run_opts.debug and not run_opts.debug_persistently:
        launch = launch.changed(**_debug_keys(hparams))
        hparams = launch.build()
    launch, choice = _settle_precision(launch, hparams, precision)
    folder = hparams["output_folder"]
    if if_main_process():
        with plain_errors(ValueError, OSError):
            take_output_folder(folder, command_of(hparams, command))
    with plain_errors(OSError):
        _make_output_folder(folder, hparams_file, launch.recipe, launch.overrides)
    tell_storage_errors(folder)
    if if_main_process():
        logger.info("%s: results go to %s", hparams_file, folder)
        choice.log()
    return launch, hparams


def read_arguments(argv):
    """Reads recipe, run options and keys; ends the program in a line at a wrong one.

    Arguments
    ---------
    argv : list of str
        The command line without ``--precision``.

    Returns
    -------
    hparams_file : str
        The recipe's path.
    run_opts : speechbrain.utils.run_opts.RunOptions
        SpeechBrain's run options.
    recipe : str
        HyperPyYAML, merged with what it extends.
    overrides : dict
        The given keys, in their types.
    """
    check_arguments(argv)
    printed = io.StringIO()
    try:
        with contextlib.redirect_stderr(printed):
            hparams_file, run_opts, overrides = sb.parse_arguments(argv)
    except SystemExit:  # argparse would print all its options before the one that errs
        message = printed.getvalue().strip().rpartition("error: ")[2]
        if "param_file" in message:
            message = "name a recipe's YAML first; --help lists them"
        raise SystemExit(f"{message}.") from None
    limit = run_opts.optimizer_step_limit
    if limit is not None:  # SpeechBrain leaves it a text
        if not str(limit).isdecimal():
            raise SystemExit(f"--optimizer_step_limit {limit}: expected an integer.")
        run_opts = replace(run_opts, optimizer_step_limit=int(limit))
    if not Path(hparams_file).is_file():
        raise SystemExit(
            f"{hparams_file} is no file: name a recipe's YAML first; --help lists them."
        )
    try:
        recipe = read_recipe(hparams_file)
    except (ValueError, OSError, YAMLError) as error:
        text = " ".join(str(error).split())
        raise SystemExit(f"{hparams_file} is no recipe: {text}") from error
    return hparams_file, run_opts, recipe, check_recipe(hparams_file, recipe, overrides)


def _computable(device):
    """The device; ValueError if there is no such one."""
    if device is None:
        return None
    try:
        wanted = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"--device {device}: expected cpu, cuda or cuda:N") from error
    gpus = torch.cuda.device_count()
    if wanted.type == "cuda" and (wanted.index or 0) >= gpus:
        raise ValueError(
            f"--device {device}: PyTorch sees {gpus} GPUs here; give --device cpu, or "
            "leave it out"
        )
    return device


def silence_torchvision():
    """SpeechBrain warns that its loggers cannot save pictures; none is ever given."""
    train_logger = logging.getLogger("speechbrain.utils.train_logger")
    train_logger.addFilter(lambda record: "torchvision" not in record.getMessage())


def without_precision(argv):
    """The arguments without ``--precision``: SpeechBrain's knows no ``auto``."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--precision")
    known, others = parser.parse_known_args(argv)
    return others, known.precision


def _settle_precision(launch, hparams, asked):
    """Replaces ``auto`` in all that describes the run, alike in all processes."""
    asked = asked or hparams.get("precision", launch.run_opts.precision)
    device = launch.run_opts.device or hparams.get("device") or infer_device()
    facts = None
    if if_main_process():
        stored = stored_precision(Path(hparams["output_folder"]) / "hyperparams.yaml")
        facts = bf16_support(device, wanted="bf16" in (asked, stored)), stored
    try:
        choice = choose_precision(asked, *ddp_broadcast(facts))
    except ValueError as error:
        raise SystemExit(f"{error}.") from error
    if "precision" in hparams:
        launch = launch.changed(precision=choice.precision)
    else:
        given = {*launch.run_opts.overridden_args, "precision"}
        run_opts = {"precision": choice.precision, "overridden_args": given}
        launch = launch._replace(run_opts=replace(launch.run_opts, **run_opts))
    hparams["precision"] = choice.precision
    return launch, choice


def _debug_keys(hparams):
    """A folder of its own: a few batches must not replace the results of a run."""
    changed = {"output_folder": str(Path(hparams["output_folder"]) / "debug")}
    if "data_save_folder" in hparams:  # what is prepared need not be prepared again
        changed["data_save_folder"] = hparams["data_save_folder"]
    return changed


def _make_output_folder(folder, hparams_file, recipe, overrides):
    """SpeechBrain's, but for a merged recipe and the script that the user started."""
    with tempfile.TemporaryDirectory() as scratch:
        whole = Path(scratch) / Path(hparams_file).name
        whole.write_text(recipe, encoding="utf-8")
        log_config = Path(scratch) / "log-config.yaml"
        _write_log_config(log_config)
        sb.create_experiment_directory(folder, whole, overrides, str(log_config))
    if not if_main_process():
        return
    (Path(folder) / Path(__file__).name).unlink()
    if Path(sys.argv[0]).suffix == ".py":
        shutil.copy(sys.argv[0], folder)
    saved = Path(folder) / "hyperparams.yaml"
    text = saved.read_text(encoding="utf-8")
    text = text.replace(str(whole), str(Path(hparams_file).resolve()), 1)
    saved.write_text(text, encoding="utf-8")


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
        known = "Saving an empty state_dict" in record.getMessage()
        return record.levelno >= logging.WARNING and not known


def _built(recipe, overrides, hparams_file):
    try:
        return load_hyperpyyaml(recipe, overrides)
    except KeyError as error:
        unknown = re.match(r"Override '(\w+)' not found", str(error.args[0]))
        if unknown is None:
            raise
        keys = re.findall(r"^(\w+):", recipe, flags=re.MULTILINE)
        close = difflib.get_close_matches(unknown[1], keys, cutoff=0.5)
        raise SystemExit(
            f"{hparams_file} has no key {unknown[1]!r}. "
            f"{'Close to it: ' + ', '.join(close) if close else 'Its keys'}"
            f"{'' if close else ': ' + ', '.join(keys)}."
        ) from error
    except ValueError as error:
        missing = re.match(r"'(\w+)' is a !PLACEHOLDER", str(error))
        if missing is None:
            raise
        raise SystemExit(
            f"{hparams_file} needs {missing[1]!r}: give it on the command line, "
            f"--{missing[1]} VALUE."
        ) from error


def run_emotion(argv):
    """Runs what the YAML's key ``run`` names.

    Arguments
    ---------
    argv : list of str
        The YAML file and options.

    Returns
    -------
    dict
        Content of results.json.
    """
    launch, hparams = launched(argv)
    return hparams["run"](launch, hparams)
