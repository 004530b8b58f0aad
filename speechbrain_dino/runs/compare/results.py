"""What a comparison of methods found: figures of runs, means over seeds, a table."""

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from speechbrain_dino.reports.run_folder import read_run
from speechbrain_dino.utils.checked_json import odd_content_is_named, read_checked

HEALTH = (
    "effective_rank",
    "neighbor_agreement",
    "embedding_std",
    "prototypes_used",
    "nonfinite",
)


class ComparedRun(NamedTuple):
    """One method with one seed.

    Arguments
    ---------
    method : str
        Name of its YAML.
    seed : int
        The seed.
    status : str
        "done", "collapsed: ...", "failed: ..." or "to do".
    figures : dict
        ``eer/<list>`` of the final model, ``untrained/<list>``, ``steps``, ``epochs``,
        ``utt_per_s`` (median over logged steps), ``minutes`` (of training, without
        validation), ``memory_gb`` and those of ``HEALTH`` in the last epoch, as far as
        they are known.
    curve : dict
        List -> (minutes of training, EER), two arrays, at each validation.
    """

    method: str
    seed: int
    status: str
    figures: dict
    curve: dict


def read_compared(folder, method, seed):
    """Reads what a run of a comparison left behind, as far as it got.

    Arguments
    ---------
    folder : str or path
        Its output folder.
    method : str
        Name of its YAML.
    seed : int
        Its seed.

    Returns
    -------
    ComparedRun
    """
    folder = Path(folder)
    status = _json(folder / "compared.json").get("status", "to do")
    if not folder.is_dir():
        return ComparedRun(method, seed, status, {}, {})
    run = read_run(folder)
    figures = {"memory_gb": _json(folder / "memory.json").get("memory_gb")}
    with odd_content_is_named(folder / "results.json"):
        for key, name in _EERS.items():
            for which, metrics in run.results.get(key, {}).items():
                figures[f"{name}/{which}"] = float(metrics["eer"])
    curve = {}
    if not run.steps.empty:
        batch = re.search(r"^batch_size: (\d+)", run.settings, flags=re.MULTILINE)
        minutes = minutes_of_training(run.steps, int(batch[1]))
        figures |= {
            "steps": int(run.steps["step"].iloc[-1]),
            "utt_per_s": float(run.steps["utt_per_s"].median()),
            "minutes": float(minutes[-1]),
        }
    if not run.epochs.empty:
        figures["epochs"] = int(run.epochs["epoch"].iloc[-1])
        for name in HEALTH:
            if name in run.epochs and run.epochs[name].notna().any():
                figures[name] = float(run.epochs[name].dropna().iloc[-1])
        curve = {
            column[4:]: _curve(run, column, minutes)
            for column in run.epochs
            if column.startswith("eer/")
        }
    figures = {key: value for key, value in figures.items() if value is not None}
    return ComparedRun(method, seed, status, figures, curve)


def minutes_of_training(steps, batch_size):
    """Time behind each logged step, from the logged speeds.

    Validation, checkpoints and time between two sessions do not count.

    Arguments
    ---------
    steps : pandas.DataFrame
        Logged steps, with ``step`` and ``utt_per_s``.
    batch_size : int
        Utterances a step.

    Returns
    -------
    numpy.ndarray
        Minutes (N,), cumulated.

    Example
    -------
    >>> import pandas as pd
    >>> steps = pd.DataFrame({"step": [5, 10], "utt_per_s": [50.0, 100.0]})
    >>> minutes_of_training(steps, batch_size=60).round(3).tolist()  # 300 at a time
    [0.1, 0.15]
    """
    passed = np.diff(steps["step"], prepend=0) * batch_size
    return np.cumsum(passed / steps["utt_per_s"].to_numpy()) / 60


def _curve(run, column, minutes):
    seen = run.epochs[run.epochs[column].notna()]
    at = np.interp(seen["step"], run.steps["step"], minutes)
    return at, seen[column].to_numpy(dtype=float)


_EERS = {"verification_before": "untrained", "verification": "eer"}


def _json(path):
    return read_checked(path) if path.is_file() else {}


def summarized(runs):
    """Means and deviations over the seeds of each method, the best method first.

    Arguments
    ---------
    runs : list of ComparedRun
        All runs.

    Returns
    -------
    dict
        Method -> figures: each with ``mean``, ``deviation`` (of the sample, None for
        one seed) and ``seeds``; and ``status``, a list of those that are not "done".
    """
    table = {}
    for method in dict.fromkeys(run.method for run in runs):
        own = [run for run in runs if run.method == method]
        done = [run for run in own if run.status == "done"]
        names = dict.fromkeys(name for run in done for name in run.figures)
        figures = {}
        for name in names:
            values = [run.figures[name] for run in done if name in run.figures]
            figures[name] = {
                "mean": float(np.mean(values)),
                "deviation": float(np.std(values, ddof=1)) if len(values) > 1 else None,
                "seeds": len(values),
            }
        left = [f"seed {run.seed}: {run.status}" for run in own if run.status != "done"]
        table[method] = {"figures": figures, "status": left}
    return dict(sorted(table.items(), key=lambda item: _first_eer(item[1]["figures"])))


def _first_eer(figures):
    eers = sorted(name for name in figures if name.startswith("eer/"))
    return figures[eers[0]]["mean"] if eers else np.inf


COLUMNS = (
    ("steps", "steps", "{:.0f}", 1),
    ("utt_per_s", "utterances/s", "{:.1f}", 1),
    ("minutes", "minutes", "{:.1f}", 1),
    ("memory_gb", "memory GiB", "{:.1f}", 1),
    ("effective_rank", "effective rank", "{:.1f}", 1),
    ("neighbor_agreement", "neighbors %", "{:.1f}", 100),
    ("prototypes_used", "prototypes", "{:.0f}", 1),
    ("nonfinite", "bad steps", "{:.0f}", 1),
)


def table_lines(table):
    """The comparison as rows of text, the first one the heading.

    Arguments
    ---------
    table : dict
        From :func:`summarized`.

    Returns
    -------
    list of list of str
        Method, EER of each list in % (mean, deviation over seeds), seeds, further
        figures, and what is not done; the untrained encoder comes last.
    """
    measured = [entry["figures"] for entry in table.values()]
    eers = sorted({n for figures in measured for n in figures if n.startswith("eer/")})
    columns = [c for c in COLUMNS if any(c[0] in figures for figures in measured)]
    heading = ["method", *(f"EER % {name[4:]}" for name in eers), "seeds"]
    lines = [heading + [title for _, title, _, _ in columns] + ["not done"]]
    for method, entry in table.items():
        figures = entry["figures"]
        seeds = max((figure["seeds"] for figure in figures.values()), default=0)
        line = [method, *(_cell(figures, name, "{:.2f}", 100) for name in eers)]
        line += [str(seeds), *(_cell(figures, n, f, s) for n, _, f, s in columns)]
        lines.append([*line, "; ".join(entry["status"])])
    untrained = [_untrained(measured, name) for name in eers]
    if any(untrained):
        empty = [""] * (len(columns) + 2)
        lines.append(["untrained (mean of all)", *untrained, *empty])
    return lines


def _untrained(measured, name):
    name = name.replace("eer/", "untrained/")
    values = [figures[name]["mean"] for figures in measured if name in figures]
    return f"{100 * np.mean(values):.2f}" if values else ""


def _cell(figures, name, form, scale):
    if name not in figures:
        return ""
    mean, deviation = figures[name]["mean"], figures[name]["deviation"]
    text = form.format(scale * mean)
    if deviation is not None and name.startswith("eer/"):
        text += f" ± {scale * deviation:.2f}"
    return text


def markdown(lines):
    """A Markdown table of rows of text, the first one the heading.

    Arguments
    ---------
    lines : list of list of str
        From :func:`table_lines`.

    Returns
    -------
    str

    Example
    -------
    >>> print(markdown([["method", "EER %"], ["dino", "4.40"]]))
    | method | EER % |
    |---|---|
    | dino | 4.40 |
    """
    rows = [f"| {' | '.join(line)} |" for line in lines]
    return "\n".join([rows[0], "|" + "---|" * len(lines[0]), *rows[1:]])
