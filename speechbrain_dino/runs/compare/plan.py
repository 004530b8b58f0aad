"""What a comparison is made of: its methods, data, budget and epochs."""

import io
import logging
import subprocess
from pathlib import Path

import numpy as np
from hyperpyyaml import load_hyperpyyaml
from ruamel.yaml import YAML

from speechbrain_dino.corpora.preparation import read_summary
from speechbrain_dino.runs.command_line import read_arguments
from speechbrain_dino.runs.recipe_yaml import read_recipe
from speechbrain_dino.training.curves import Curves
from speechbrain_dino.utils.checked_json import read_checked, write_checked

logger = logging.getLogger(__name__)

PROBE_BATCHES = 14  # of which the first third does not count
OWN_OPTIONS = {"--seed", "--output_folder", "--number_of_epochs", "--validate_every"}


def named(yamls):
    """Names the methods after their files.

    Arguments
    ---------
    yamls : list of path
        One recipe a method.

    Returns
    -------
    dict
        Name -> path.

    Raises
    ------
    ValueError
        If two have one name, or a file is not there.
    """
    names = [Path(path).stem for path in yamls]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"two YAMLs are named {', '.join(twice)}: rename one of them")
    missing = [str(path) for path in yamls if not Path(path).is_file()]
    if missing:
        raise ValueError(f"{', '.join(missing)} is no file: name recipes' YAMLs")
    return {name: Path(path).resolve() for name, path in zip(names, yamls)}


def checked_seeds(seeds):
    """The seeds; ValueError if one comes twice, as its run would count twice.

    Example
    -------
    >>> checked_seeds([1, 2])
    [1, 2]
    """
    twice = sorted({seed for seed in seeds if seeds.count(seed) > 1})
    if twice:
        raise ValueError(f"--seeds: {twice[0]} is given twice: a seed is one run")
    return seeds


def checked_options(options, output):
    """Options of every run, with one folder of prepared data for all.

    Arguments
    ---------
    options : list of str
        As given.
    output : pathlib.Path
        Folder of the comparison.

    Returns
    -------
    list of str

    Raises
    ------
    ValueError
        If one of them is set by the comparison.
    """
    given = set(as_pairs(options))
    taken = sorted(OWN_OPTIONS & {f"--{name}" for name in given})
    if taken:
        raise ValueError(
            f"{', '.join(taken)} is set by the comparison itself: leave it out"
        )
    if "data_save_folder" not in given:
        options = [*options, "--data_save_folder", str(output / "data")]
    return options


def as_pairs(options):
    """Options of a command line by name.

    Arguments
    ---------
    options : list of str
        ``["--lr", "0.1", "--debug", "--seed=3"]``.

    Returns
    -------
    dict

    Example
    -------
    >>> as_pairs(["--lr", "0.1", "--debug", "--seed=3"])
    {'lr': '0.1', 'debug': 'True', 'seed': '3'}
    """
    pairs, name = {}, None
    for option in options:
        if option.startswith("--"):
            name, _, value = option[2:].partition("=")
            pairs[name] = value or "True"
        elif name is not None:
            pairs[name] = option
    return pairs


class Plan:
    """Budget and options of a comparison, and the epochs of each method, in a file.

    Arguments
    ---------
    path : pathlib.Path
        The file; what lies there must have the same budget.
    steps : int or None
        Optimizer steps of every run; or
    minutes : float or None
        minutes of training of every run.
    options : list of str
        Options of every run.
    jobs : int
        Runs at a time, on which their speed depends.

    Raises
    ------
    ValueError
        If the file has another budget or other options.
    """

    def __init__(self, path, steps, minutes, options, jobs=1):
        self.path = path
        self.budget = {"steps": steps, "minutes": minutes, "options": options}
        self.budget["jobs"] = jobs
        self.content = {"budget": self.budget, "epochs": {}}
        if path.is_file():
            self.content |= read_checked(path)
        epochs = self.content["epochs"]
        numbers = epochs.values() if isinstance(epochs, dict) else [None]
        if not all(type(number) is int and number > 0 for number in numbers):
            raise ValueError(f"{path} is damaged (epochs): remove it to plan again")
        if self.content["budget"] != self.budget:
            raise ValueError(
                f"{path.parent} holds a comparison with another budget or other "
                f"options ({self.content['budget']}): give another --output_folder"
            )

    def epochs(self, method, recipe, utterances, command, probe, environment=None):
        """Whole epochs of a method that come nearest to the budget.

        Arguments
        ---------
        method : str
            Name of the method.
        recipe : pathlib.Path
            Its YAML.
        utterances : int
            Training utterances.
        command : list of str
            A command that trains it, for a look at its speed.
        probe : pathlib.Path
            Folder for that.
        environment : dict, optional
            Of that process.

        Returns
        -------
        int
            The same for all seeds, and after a restart.
        """
        epochs_of = self.content["epochs"]
        if method not in epochs_of:
            batch = YAML(typ="rt").load(read_recipe(recipe))["batch_size"]
            batch = int(as_pairs(command).get("batch_size", batch))
            steps = utterances // batch
            if not steps:
                raise ValueError(
                    f"{utterances} training utterances do not fill a batch of {batch} "
                    f"({method}): lower --batch_size"
                )
            wanted = self.budget["steps"]
            if wanted is None:
                logger.info("Measuring the speed of %s", method)
                seconds = 60 * self.budget["minutes"]
                speed = measured_speed(command, probe, environment)
                wanted = seconds * speed / batch
            epochs_of[method] = max(1, round(wanted / steps))
            write_checked(self.path, self.content)
        return epochs_of[method]


def measured_speed(command, folder, environment=None):
    """Utterances a second of a method, from a few batches.

    Arguments
    ---------
    command : list of str
        Command that trains it.
    folder : pathlib.Path
        Output folder.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If the run fails; with its last line.
    """
    options = ["--debug", "--debug_batches", str(PROBE_BATCHES), "--debug_epochs", "1"]
    options += ["--output_folder", str(folder), "--log_every", "1"]
    done = subprocess.run(
        [*command, *options], capture_output=True, text=True, env=environment
    )
    if done.returncode:
        messages = (
            done.stderr.strip() or done.stdout.strip() or "no message"
        ).splitlines()
        raise ValueError(f"a run could not be started: {messages[-1]}")
    rows = Curves(folder / "debug").read()
    speeds = [row["utt_per_s"] for row in rows if row["kind"] == "step"]
    return float(np.median(speeds[len(speeds) // 3 :]))


def prepare_once(methods, options):
    """Prepares the data that all methods share.

    Arguments
    ---------
    methods : dict
        Name -> YAML.
    options : list of str
        Options of every run.

    Returns
    -------
    int
        Number of training utterances.

    Raises
    ------
    ValueError
        If a YAML prepares other data than the first one.
    """
    given, texts = as_pairs(options), {}
    for name, path in methods.items():
        launch, _ = read_arguments([str(path), *options])
        keys = YAML(typ="rt").load(launch.resolved())
        texts[name] = _dumped({k: keys[k] for k in ("prepare", "prepare_noise")})
    first = next(iter(texts))
    for name, text in texts.items():
        if text != texts[first]:
            raise ValueError(
                f"{name} prepares other data than {first}: to be compared, YAMLs need "
                "the same prepare and prepare_noise"
            )
    functions = load_hyperpyyaml(texts[first])
    functions["prepare"]()
    functions["prepare_noise"]()
    return read_summary(given["data_save_folder"])["kept"]


def _dumped(tree):
    yaml, text = YAML(typ="rt"), io.StringIO()
    yaml.width = 4096
    yaml.dump(tree, text)
    return text.getvalue()
