"""Starts a run from the command line: arguments, processes, YAML, folders."""

import atexit
import contextlib
import logging
import sys
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import speechbrain as sb
import torch
from hyperpyyaml import load_hyperpyyaml
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from speechbrain.utils.distributed import (
    ddp_broadcast,
    if_main_process,
    infer_device,
)
from speechbrain.utils.run_opts import RunOptions

from speechbrain_dino.augment.banks import default_hours
from speechbrain_dino.runs.arguments import read_options, split_arguments, texts_of
from speechbrain_dino.runs.keys import WRONG, converted, read_keys
from speechbrain_dino.runs.output_folder import (
    command_of,
    make_output_folder,
    take_output_folder,
)
from speechbrain_dino.runs.recipe_yaml import read_recipe
from speechbrain_dino.runs.references import resolved
from speechbrain_dino.runs.resume import (
    CONDITIONS,
    check_unchanged,
    forget_notes,
)
from speechbrain_dino.runs.rules import RULES
from speechbrain_dino.runs.usage import help_asked, print_help
from speechbrain_dino.utils.allocator import keep_freed_memory
from speechbrain_dino.utils.distributed import checked_device, own_device
from speechbrain_dino.utils.ending import end_on_signals, leave_group, wait_long
from speechbrain_dino.utils.errors import plain_errors, said_once
from speechbrain_dino.utils.one_run import wait_for_others
from speechbrain_dino.utils.precision import (
    bf16_support,
    choose_precision,
    stored_precision,
    stored_word,
)
from speechbrain_dino.utils.storage import tell_storage_errors

logger = logging.getLogger(__name__)


class Launch(NamedTuple):
    """What the command line asks for, from which runs are built.

    Arguments
    ---------
    recipe : str
        HyperPyYAML, merged with what it extends.
    overrides : dict
        Keys given on the command line, in their types.
    hparams_file : str
        The recipe's path.
    run_opts : speechbrain.utils.run_opts.RunOptions
        SpeechBrain's run options.
    allow_changed : tuple of str
        What may differ from the run that is continued.
    """

    recipe: str
    overrides: dict
    hparams_file: str
    run_opts: RunOptions
    allow_changed: tuple = ()

    def changed(self, **keys):
        """The same with other values of top-level keys."""
        return self._replace(overrides={**self.overrides, **keys})

    def build(self):
        """Builds the YAML's objects; new ones at each call."""
        with self._one_line():
            hparams = load_hyperpyyaml(resolved(self.recipe, self.overrides))
            check_schedules(hparams)
        return {**hparams, "allow_changed": self.allow_changed}

    def resolved(self):
        """The recipe's text with overrides in place and references resolved."""
        with self._one_line():
            return resolved(self.recipe, self.overrides)

    @contextlib.contextmanager
    def _one_line(self):
        """Ends the program in a line; ``python -X dev`` shows where an error arose."""
        try:
            yield
        except _MISTAKES as error:
            if sys.flags.dev_mode:
                raise
            raise said_once(_line(self.hparams_file, error)) from error


def _line(hparams_file, error):
    """What an error says about a recipe, in one line."""
    text = " ".join(" ".join(map(str, error.args)).split())
    between = " " if text.startswith(("needs ", "has no ")) else ": "
    return f"{hparams_file}{between}{text}"


_MISTAKES = (ValueError, TypeError, KeyError, AttributeError, ImportError, RuntimeError)
_MISTAKES += (ArithmeticError, YAMLError)


def check_schedules(hparams):
    """Calls every schedule once: wrong numbers are errors now, not after preparation.

    Arguments
    ---------
    hparams : dict
        The YAML's objects.

    Raises
    ------
    ValueError
        Names the schedule, and what it says.
    """
    for key, schedule in hparams.items():
        if key.endswith(("_schedule", "_seconds")) and callable(schedule):
            try:
                schedule(0.0)
            except (ValueError, TypeError, ArithmeticError) as error:
                raise ValueError(f"{key}: {error}") from error


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
    launch, asked = read_arguments(argv)
    run_opts = launch.run_opts
    with plain_errors(ValueError):
        device = own_device(checked_device(run_opts.device))
    if run_opts.device == "cuda":  # SpeechBrain would take the first one everywhere
        run_opts = replace(run_opts, device=device)
    if "distributed_backend" not in run_opts.overridden_args and (
        run_opts.device == "cpu" or not torch.cuda.is_available()
    ):
        run_opts = replace(run_opts, distributed_backend="gloo")
    with plain_errors(ValueError):
        sb.utils.distributed.ddp_init_group(run_opts)
    wait_long()
    atexit.register(leave_group)
    silence_torchvision()
    launch = launch._replace(run_opts=run_opts)
    hparams = launch.build()
    if _passing(run_opts):
        launch = launch.changed(**_debug_keys(hparams))
        hparams = launch.build()
    auto = "auto" in (asked, hparams.get("precision"))
    launch, choice = _settle_precision(launch, hparams, asked)
    folder, hours = hparams["output_folder"], hparams.get("noise_max_hours", 0)
    if hours is None:
        launch = launch.changed(noise_max_hours=_settled_hours(folder))
        hparams = launch.build()
    # "auto" is another precision where the hardware lacks that of before.
    free = ("precision",) * auto + ("noise_max_hours",) * (hours is None)
    owner = command_of(hparams, command)
    changes = _on_main(lambda: _take_folder(folder, owner, launch, hparams, free))
    with plain_errors(ValueError, OSError):
        make_output_folder(Path(folder), launch, changes)
    tell_storage_errors(folder)
    if if_main_process():
        logger.info("%s: results go to %s", launch.hparams_file, folder)
        choice.log()
    return launch, hparams


def read_arguments(argv):
    """Reads recipe, run options and keys; ends the program in a line at a wrong one.

    Arguments
    ---------
    argv : list of str
        The command line.

    Returns
    -------
    launch : Launch
        What it asks for.
    precision : str or None
        ``--precision`` where the recipe has no such key.
    """
    try:
        arguments = split_arguments(argv)
    except ValueError as error:
        raise said_once(f"{error}.") from None
    hparams_file = arguments.hparams_file
    if not Path(hparams_file).is_file():
        raise said_once(
            f"{hparams_file} is no file: name a recipe's YAML first; --help lists them."
        )
    try:
        recipe = read_recipe(hparams_file)
    except (ValueError, OSError, YAMLError) as error:
        text = " ".join(str(error).split())
        raise said_once(f"{hparams_file} is no recipe: {text}") from error
    try:
        keys = YAML(typ="rt").load(recipe)
        texts, words = texts_of(arguments, keys)
        run_opts, own = read_options(words, hparams_file, trains="brain" in keys)
        if not Path(run_opts.log_config or hparams_file).is_file():
            raise ValueError(
                f"--log_config {run_opts.log_config}: there is no such file"
            )
        allowed = tuple(own.get("allow_changed", ()))
        unknown = [name for name in allowed if name not in {*keys, *CONDITIONS}]
        if unknown:
            raise ValueError(
                f"--allow_changed {unknown[0]}: expected keys of the recipe, or "
                f"{', '.join(CONDITIONS)}"
            )
        overrides = read_keys(keys, texts)
    except ValueError as error:
        raise said_once(_line(hparams_file, error)) from error
    launch = Launch(recipe, overrides, hparams_file, run_opts, allowed)
    return launch, own.get("precision")


def silence_torchvision():
    """SpeechBrain warns that its loggers cannot save pictures; none is ever given."""
    train_logger = logging.getLogger("speechbrain.utils.train_logger")
    train_logger.addFilter(lambda record: "torchvision" not in record.getMessage())


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
        raise said_once(f"{error}.") from error
    if "precision" in hparams:
        launch = launch.changed(precision=choice.precision)
    else:
        given = {*launch.run_opts.overridden_args, "precision"}
        run_opts = {"precision": choice.precision, "overridden_args": given}
        launch = launch._replace(run_opts=replace(launch.run_opts, **run_opts))
    hparams["precision"] = choice.precision
    return launch, choice


def _settled_hours(folder):
    """``noise_max_hours`` of the run in a folder, or of a new one on this machine."""
    hours = None
    if if_main_process():
        stored = stored_word(Path(folder) / "hyperparams.yaml", "noise_max_hours")
        stored = converted(stored, RULES["noise_max_hours"])
        hours = default_hours() if stored in (None, WRONG) else stored
    return ddp_broadcast(hours)


def _debug_keys(hparams):
    """A folder of its own: a few batches must not replace the results of a run."""
    changed = {"output_folder": str(Path(hparams["output_folder"]) / "debug")}
    if "data_save_folder" in hparams:  # what is prepared need not be prepared again
        changed["data_save_folder"] = hparams["data_save_folder"]
    return changed


def _passing(run_opts):
    return run_opts.debug and not run_opts.debug_persistently


def _take_folder(folder, owner, launch, hparams, free):
    """Refuses a folder of others, or of a run with other values; returns changes."""
    wait_for_others(folder)
    take_output_folder(folder, owner)
    if _passing(launch.run_opts):
        forget_notes(folder)
        return {}
    return check_unchanged(launch, folder, free) if "brain" in hparams else {}


def _on_main(check):
    """What a check returns, which only the first process makes."""
    outcome = None
    if if_main_process():
        try:
            outcome = check(), None
        except (ValueError, OSError) as error:
            outcome = None, f"{error}."
    result, message = ddp_broadcast(outcome)
    if message:
        raise said_once(message)
    return result


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
