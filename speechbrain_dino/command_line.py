"""Starts a run from the command line: arguments, processes, YAML, folders."""

import logging
import os
import tempfile
from dataclasses import fields
from pathlib import Path

import speechbrain as sb
import torch
from hyperpyyaml import load_hyperpyyaml
from speechbrain.utils.run_opts import RunOptions

from speechbrain_dino.memory import keep_freed_memory
from speechbrain_dino.recipe_yaml import read_recipe

logger = logging.getLogger(__name__)


def start_run(argv):
    """Reads the arguments, joins the other processes and builds the YAML's objects.

    Arguments
    ---------
    argv : list of str
        The YAML file and options: SpeechBrain's run options, and any key of the YAML.

    Returns
    -------
    hparams : dict
        What the YAML describes.
    run_opts : speechbrain.utils.run_opts.RunOptions
        SpeechBrain's run options.
    """
    keep_freed_memory()
    check_arguments(argv)
    hparams_file, run_opts, overrides = sb.parse_arguments(argv)
    if "RANK" in os.environ and not torch.cuda.is_available():
        run_opts.distributed_backend = "gloo"
    sb.utils.distributed.ddp_init_group(run_opts)
    recipe = read_recipe(hparams_file)
    hparams = _built(recipe, overrides, hparams_file)
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / Path(hparams_file).name
        whole.write_text(recipe, encoding="utf-8")
        sb.create_experiment_directory(hparams["output_folder"], whole, overrides)
    return hparams, run_opts


def _built(recipe, overrides, hparams_file):
    try:
        return load_hyperpyyaml(recipe, overrides)
    except KeyError as error:
        raise SystemExit(
            f"{hparams_file} has no key {error}, which was given on the command line."
        ) from error
    except ValueError as error:
        if "PLACEHOLDER" in str(error).upper():
            raise SystemExit(
                f"{hparams_file}: {error}. Give it on the command line, for instance "
                "--data_folder /data/VoxCeleb"
            ) from error
        raise


def check_arguments(argv):
    """Stops at arguments that SpeechBrain would take for something else.

    Arguments
    ---------
    argv : list of str
        The command line.

    Raises
    ------
    SystemExit
        At an abbreviated run option, which would swallow a key of the YAML, and at a
        value with "=", which would be cut.

    Example
    -------
    >>> check_arguments(["dino.yaml", "--batch_size", "64", "--device=cpu"])
    >>> check_arguments(["dino.yaml", "--dev", "cpu"])
    Traceback (most recent call last):
    SystemExit: --dev is short for --device: write it out.
    """
    known = [field.name for field in fields(RunOptions)]
    for argument in argv:
        if not argument.startswith("--"):
            if "=" in argument:
                raise SystemExit(
                    f"{argument!r} contains '=', which SpeechBrain cuts: write it "
                    "into the YAML instead."
                )
            continue
        name, _, value = argument[2:].partition("=")
        if "=" in value:
            raise SystemExit(
                f"{argument!r} contains '=' twice: write it into the YAML."
            )
        if name not in known:
            longer = [option for option in known if option.startswith(name)]
            if longer:
                raise SystemExit(f"--{name} is short for --{longer[0]}: write it out.")
