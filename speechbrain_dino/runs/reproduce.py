"""All recipes of a paper, one after the other, and its tables beside what they gave.

The plan is a YAML of plain data: ``data``, what may be given on the command line;
``stages``, name -> ``needs`` (of ``data`` and of earlier stages), ``command`` (script
and words, from the folder of recipes) and ``options``; ``tables``, name -> ``title``,
``columns`` and rows. ``<name>`` in a word stands for a folder that was given, or for
the output folder of a stage.
"""

import logging
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from ruamel.yaml import YAML

from speechbrain_dino.reports.reproduction import write_reproduction
from speechbrain_dino.runs.usage import examples
from speechbrain_dino.utils.checked_json import read_checked, write_checked
from speechbrain_dino.utils.ending import end_on_signals
from speechbrain_dino.utils.errors import plain_errors
from speechbrain_dino.utils.options import Options
from speechbrain_dino.utils.ownership import claim
from speechbrain_dino.utils.provenance import provenance

logger = logging.getLogger(__name__)

DONE, STATE = "done", "reproduction.json"
_REFERENCE = re.compile(r"<(\w+)>")


class Stage(NamedTuple):
    """A command of the plan, its words as they are written there."""

    name: str
    needs: list
    command: list
    options: dict


def main(argv, recipes):
    """Command line of ``reproduce.py``; ``recipes``: the folder of recipes."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = Options(description=examples(), add_help=False)
    parser.add_argument("plan", nargs="?", help="YAML of stages and tables")
    parser.add_argument("-h", "--help", action="store_true")
    known, _ = parser.parse_known_args(argv)
    with plain_errors(ValueError, OSError):
        if known.plan is None:
            print(examples())
            raise SystemExit(0 if known.help else 2)
        plan = read_plan(known.plan)
    parser = Options(prog=f"reproduce.py {known.plan}", description=examples())
    parser.add_argument("plan")
    parser.add_argument("--output_folder", default=plan["output_folder"])
    parser.add_argument("--stages", nargs="+", help="these alone; all by default")
    for name, what in plan["data"].items():
        parser.add_argument(f"--{name}", help=what)
    given = vars(parser.parse_args(argv))
    output, stages = Path(given.pop("output_folder")), given.pop("stages")
    folders = {name: given[name] for name in plan["data"] if given[name]}
    end_on_signals()
    with plain_errors(ValueError, OSError):
        states = reproduce(plan, folders, output, Path(recipes), stages)
    if any(state["status"].startswith("failed") for state in states.values()):
        raise SystemExit(1)


def read_plan(path):
    """The plan, its stages as :class:`Stage`; ValueError where names do not fit."""
    if not Path(path).is_file():
        raise ValueError(f"{path} is no file: name the YAML of a plan")
    plan = YAML(typ="safe").load(Path(path))
    missing = {"output_folder", "data", "stages", "tables"} - set(plan or {})
    if missing:
        raise ValueError(f"{path} is no plan: it has no {', '.join(sorted(missing))}")
    known, stages = set(plan["data"]), {}
    for name, stage in plan["stages"].items():
        options = stage.get("options", {})
        stages[name] = Stage(name, stage.get("needs", []), stage["command"], options)
        words = [*stage["command"], *map(str, options.values())]
        named = {n for word in words for n in _REFERENCE.findall(str(word))}
        unknown = (named | set(stages[name].needs)) - known
        if unknown:
            raise ValueError(
                f"stage {name} of {path} names {', '.join(sorted(unknown))}, which is "
                "no key of data and no earlier stage"
            )
        known.add(name)
    for title, table in plan["tables"].items():
        places = [p for row in table["rows"] for p in row.get("ours", {}).values()]
        strangers = {place[0] for place in places} - set(stages)
        if strangers:
            raise ValueError(
                f"table {title} of {path} names {', '.join(sorted(strangers))}, which "
                "is no stage"
            )
    return {**plan, "stages": stages}


def reproduce(plan, folders, output, recipes, chosen=None):
    """Runs what is not done yet and writes the page after each stage.

    A stage whose data are not given, or whose earlier stage was not run, is skipped
    and named on the page; one that failed is tried again by the same command, and its
    recipe goes on where it stopped.

    Arguments
    ---------
    plan : dict
        See :func:`read_plan`.
    folders : dict
        Key of ``data`` -> folder.
    output, recipes : pathlib.Path
        Where everything goes, a folder for each stage; the folder of recipes.
    chosen : list of str, optional
        Names of the stages to run; the others keep their state.

    Returns
    -------
    dict
        Stage -> ``status``, ``command``, ``seconds`` and ``missing``.

    Raises
    ------
    ValueError
        If ``chosen`` names no stage, or nothing at all was given.
    """
    strangers = set(chosen or ()) - set(plan["stages"])
    if strangers:
        raise ValueError(
            f"--stages {', '.join(sorted(strangers))}: the plan has "
            f"{', '.join(plan['stages'])}"
        )
    if not folders:
        options = ", ".join(f"--{name}" for name in plan["data"])
        raise ValueError(f"no data: give at least one of {options}")
    claim(output, "reproduction")
    states = read_checked(output / STATE) if (output / STATE).is_file() else {}
    for number, stage in enumerate(plan["stages"].values(), 1):
        state = states.get(stage.name, {"status": "not run"})
        skip = state["status"] == DONE or (chosen and stage.name not in chosen)
        if not skip:
            place = f"Stage {number} of {len(plan['stages'])}, {stage.name}"
            state = _run(stage, place, states, folders, output, recipes)
        states[stage.name] = state
        write_checked(output / STATE, states)
        write_reproduction(output, plan, states, provenance(None))
    return states


def _run(stage, place, states, folders, output, recipes):
    done = {name for name, state in states.items() if state["status"] == DONE}
    missing = [name for name in stage.needs if name not in done | set(folders)]
    if missing:
        names = [name if name in states else f"--{name}" for name in missing]
        logger.info("%s: skipped, without %s", place, ", ".join(names))
        return {"status": "skipped", "missing": missing}
    folder = (output / stage.name).resolve()
    known = {name: str(Path(path).resolve()) for name, path in folders.items()}
    known |= {name: str((output / name).resolve()) for name in done}
    # Noise and rooms may be left out: then their options are.
    options = {
        key: _filled(str(value), known)
        for key, value in stage.options.items()
        if set(_REFERENCE.findall(str(value))) <= set(known)
    }
    words = [_filled(str(word), known) for word in stage.command]
    script = (recipes / words[0]).resolve()
    command = [sys.executable, str(script)]
    command += words[1:]
    for key, value in options.items():
        command += [f"--{key}", value]
    command += ["--output_folder", str(folder)]
    logger.info("%s:\n  %s", place, shlex.join(command))
    begin = time.monotonic()
    done = subprocess.run(command, cwd=script.parent)
    status = DONE if done.returncode == 0 else f"failed: exit status {done.returncode}"
    seconds = round(time.monotonic() - begin, 1)
    logger.info("%s: %s, %.1f minutes", place, status, seconds / 60)
    shown = shlex.join(["python", *words, *_as_words(options)])
    return {"status": status, "command": shown, "seconds": seconds}


def _as_words(options):
    return [word for key, value in options.items() for word in (f"--{key}", value)]


def _filled(word, known):
    return _REFERENCE.sub(lambda found: known[found[1]], word)
