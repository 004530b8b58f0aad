"""Compares methods: the same data, the same budget, the same seeds.

Every run is a process of its own that trains as the recipe's ``train.py`` does. A
comparison that was stopped goes on where it was; YAMLs and seeds may be added later.
"""

import csv
import json
import logging
import shlex
import sys
from pathlib import Path

from speechbrain_dino.reports.plots.comparison import comparison_figure
from speechbrain_dino.runs.compare.plan import (
    Plan,
    checked_options,
    checked_seeds,
    named,
    prepare_once,
)
from speechbrain_dino.runs.compare.processes import Run, own_threads, run_all
from speechbrain_dino.runs.compare.results import (
    markdown,
    read_compared,
    summarized,
    table_lines,
)
from speechbrain_dino.runs.usage import examples
from speechbrain_dino.utils.ending import end_on_signals
from speechbrain_dino.utils.errors import plain_errors
from speechbrain_dino.utils.files import replacing
from speechbrain_dino.utils.options import Options, number
from speechbrain_dino.utils.ownership import claim
from speechbrain_dino.utils.provenance import git_state, hardware

logger = logging.getLogger(__name__)

MEASURED = "speechbrain_dino.runs.compare.measured"
OF_A_RUN = ("printed.txt", "compared.json", "memory.json")
COMPARED = ("plan.json", *(f"comparison.{end}" for end in ("json", "md", "csv", "png")))


def main(argv, train_script):
    """Command line of ``compare.py``.

    Arguments
    ---------
    argv : list of str
        YAMLs and options; options that are not the comparison's own go to every run.
    train_script : str or path
        The recipe's ``train.py``.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    arguments, options = _parser().parse_known_args(argv)
    # Trainings must not outlive the comparison: the next one would start them again.
    end_on_signals()
    with plain_errors(ValueError, OSError):
        table = compare(
            arguments.yamls,
            arguments.seeds,
            train_script,
            arguments.output_folder,
            options,
            steps=arguments.steps,
            minutes=arguments.minutes,
            points=arguments.points,
            jobs=arguments.jobs,
        )
    # A collapse is a result.
    failed = [
        f"{method}, {status}"
        for method, entry in table.items()
        for status in entry["status"]
        if "collapsed" not in status
    ]
    if failed:
        logger.error("Not trained: %s. The same command tries again", "; ".join(failed))
        raise SystemExit(1)


def _parser():
    parser = Options(
        description=examples(),
        epilog="Further options, such as --data_folder, go to every train.py.",
    )
    parser.add_argument("yamls", nargs="+", help="one YAML per method")
    parser.add_argument(
        "--seeds",
        type=number(int, low=0, high=2**32 - 1),
        nargs="+",
        default=[1, 2, 3],
        help="a run each of every method; 1 2 3 if not given",
    )
    budget = parser.add_mutually_exclusive_group(required=True)
    budget.add_argument(
        "--steps", type=number(int, low=1), help="optimizer steps of every run"
    )
    budget.add_argument(
        "--minutes",
        type=number(float, above=0),
        help="minutes of training of every run",
    )
    parser.add_argument(
        "--output_folder",
        default="results/comparison",
        help="where runs and table go; %(default)s if not given",
    )
    parser.add_argument(
        "--points", type=number(int, low=1), default=8, help="validations of a run"
    )
    parser.add_argument(
        "--jobs",
        type=number(int, low=1),
        default=1,
        help="runs at a time, each with its share of the cores; small models use one "
        "core each better than all of them together",
    )
    return parser


def compare(
    yamls,
    seeds,
    train_script,
    output_folder,
    options=(),
    steps=None,
    minutes=None,
    points=8,
    jobs=1,
):
    """Trains every YAML with every seed and writes table and plot.

    The budget is met in whole epochs, as schedules are made for a number of epochs; of
    minutes, by the speed of a few batches before the first run of a YAML.

    Arguments
    ---------
    yamls : list of path
        One recipe a method; the name of the file is the name of the method.
    seeds : list of int
        Seeds.
    train_script : str or path
        The recipe's ``train.py``.
    output_folder : str or path
        Gets ``<method>/<seed>/``, ``comparison.md``, ``.csv``, ``.json`` and ``.png``.
    options : list of str
        Options for every run, ``["--data_folder", "/data/VoxCeleb"]``.
    steps : int, optional
        Optimizer steps of every run; or
    minutes : float, optional
        minutes of training of every run.
    points : int
        Validations of a run, as evenly spread as whole epochs allow.
    jobs : int
        Runs at a time.

    Returns
    -------
    dict
        See ``comparison.summarized``.

    Raises
    ------
    ValueError
        If two methods have one name, the data are not the same for all, or the folder
        holds a comparison with another budget or something else than a comparison.
    """
    methods, seeds = named(yamls), checked_seeds(list(seeds))
    output = Path(output_folder)
    options = checked_options(list(options), output)
    environment = own_threads(jobs)
    claim(output, "comparison", [*COMPARED, *methods])
    plan = Plan(output / "plan.json", steps, minutes, options, jobs)
    utterances = prepare_once(methods, options)
    todo = []
    # Seeds outermost: early on there is something of every method to look at.
    for method, seed in ((method, seed) for seed in seeds for method in methods):
        folder = output / method / str(seed)
        if read_compared(folder, method, seed).status.startswith(("done", "collapsed")):
            continue
        claim(folder, "training", OF_A_RUN)
        command = [sys.executable, "-m", MEASURED]
        command += [str(folder / "memory.json"), str(train_script)]
        command += [str(methods[method]), *options, "--seed", str(seed)]
        probe = output / method / "probe"
        recipe = methods[method]
        epochs = plan.epochs(method, recipe, utterances, command, probe, environment)
        every = max(1, round(epochs / points))
        command += ["--number_of_epochs", str(epochs), "--validate_every", str(every)]
        command += ["--output_folder", str(folder)]
        todo.append(Run(f"{method}, seed {seed}", command, folder, epochs))
    for _ in run_all(todo, jobs, environment):
        write_comparison(output, methods, seeds, plan)
    return write_comparison(output, methods, seeds, plan)


def write_comparison(output, methods, seeds, plan):
    """Writes table and plot of what is there; see :func:`compare`."""
    runs = [
        read_compared(output / method / str(seed), method, seed)
        for seed in seeds
        for method in methods
    ]
    table = summarized(runs)
    lines = table_lines(table)
    about = {
        "command": shlex.join([Path(sys.executable).name, *sys.argv]),
        "plan": plan.content,
        "git": git_state(),
        "hardware": hardware(),
        "methods": table,
        "runs": [run._replace(curve={})._asdict() for run in runs],
    }
    _write(output / "comparison.json", json.dumps(about, indent=2))
    text = f"`{about['command']}`\n\n{markdown(lines)}\n\n![](comparison.png)\n"
    _write(output / "comparison.md", text)
    with (
        replacing(output / "comparison.csv") as draft,
        open(draft, "w", newline="", encoding="utf-8") as file,
    ):
        csv.writer(file).writerows(lines)
    if any(run.curve for run in runs):
        with replacing(output / "comparison.png") as draft:
            comparison_figure(runs).savefig(draft)
    logger.info("%s", markdown(lines))
    return table


def _write(path, text):
    with replacing(path) as draft:
        draft.write_text(text, encoding="utf-8")
