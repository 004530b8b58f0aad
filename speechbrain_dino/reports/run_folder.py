"""Reads the output folder of a run, finished or not."""

import logging
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from speechbrain_dino.data.trials import read_scores
from speechbrain_dino.embeddings.table import EmbeddingTable
from speechbrain_dino.training.curves import Curves
from speechbrain_dino.utils.checked_json import read_checked

logger = logging.getLogger(__name__)


class RunFolder(NamedTuple):
    """Contents of a run's output folder.

    Arguments
    ---------
    path : pathlib.Path
        The folder.
    name : str
        What to call the run.
    results : dict
        ``results.json``, empty if there is none.
    steps, epochs : pandas.DataFrame
        Lines of the two kinds in ``curves.jsonl``, one row per step or epoch; where a
        resumed run repeated one, the last counts.
    scores : dict
        Trial list -> (labels int8 (M,), scores float64 (M,)).
    ways : dict
        Further ways to score -> the like of ``scores``; one folder each in ``scores``.
    embeddings : EmbeddingTable or None
        Embeddings of the test utterances.
    about : pandas.DataFrame or None
        Metadata of the test utterances, a line per row of ``embeddings``.
    settings : str
        Text of ``hyperparams.yaml``, empty if there is none.
    missing : list of str
        Missing parts, in words.
    """

    path: Path
    name: str
    results: dict
    steps: pd.DataFrame
    epochs: pd.DataFrame
    scores: dict
    ways: dict
    embeddings: EmbeddingTable
    about: pd.DataFrame
    settings: str
    missing: list


_OF_RUNS = ("results.json", "hyperparams.yaml", "curves.jsonl", "rounds.json", "scores")


def check_run(folder):
    """Raises FileNotFoundError if a folder holds nothing of a run.

    Example
    -------
    >>> check_run(getfixture("tmp_path"))
    Traceback (most recent call last):
    FileNotFoundError: ... is no run folder: it has no results.json, ...
    """
    folder = Path(folder)
    if folder.is_dir() and not any((folder / name).exists() for name in _OF_RUNS):
        raise FileNotFoundError(
            f"{folder} is no run folder: it has no {', '.join(_OF_RUNS)}; name the "
            "--output_folder of a run"
        )


def read_run(folder):
    """Reads a run's output folder.

    Arguments
    ---------
    folder : path
        The folder; any part of it may be missing.

    Returns
    -------
    RunFolder
        Its contents, and the names of missing parts.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist.

    Example
    -------
    >>> folder = getfixture("tmp_path")
    >>> line = '{"kind": "step", "step": 1, "epoch": 0.5, "loss": 2.0}'
    >>> _ = (folder / "curves.jsonl").write_text(line)
    >>> run = read_run(folder)
    >>> run.steps["loss"].tolist(), "results.json" in run.missing[0]
    ([2.0], True)
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(
            f"there is no run folder {folder}: name the --output_folder of a training"
        )
    missing = []
    results, settings = {}, ""
    if (folder / "results.json").is_file():
        with _damaged_is_missing("results.json", missing):
            results = read_checked(folder / "results.json", "it is left out")
            results = _well_formed(results, missing)
    else:
        missing.append("results.json: the run has not been evaluated yet")
    if (folder / "hyperparams.yaml").is_file():
        settings = (folder / "hyperparams.yaml").read_text("utf-8", "replace")
    else:
        missing.append("hyperparams.yaml: the configuration is missing")
    rows, number = [], len(missing)
    with _damaged_is_missing("curves.jsonl", missing):
        rows = Curves(folder).read()
    steps, epochs = _last_rows(rows, "step"), _last_rows(rows, "epoch")
    logged = not (steps.empty and epochs.empty) or len(missing) > number
    if not logged and "scorings" not in results:
        missing.append("curves.jsonl: no training has been logged here")
    scores = _scores(folder / "scores", missing)
    ways = [name for name in results.get("scorings", ()) if name]
    ways = {name: _scores(folder / "scores" / name, missing) for name in ways}
    if not scores:
        missing.append("scores/: no trial list has been scored, so no DET curve")
    table = folder / "embeddings" / "test"
    embeddings = about = None
    if table.is_dir():
        with _damaged_is_missing("embeddings/test/", missing):
            embeddings = EmbeddingTable.load(table)
    else:
        missing.append("embeddings/test/: no test embeddings, so no map of speakers")
    if (table / "metadata.csv").is_file():
        with _damaged_is_missing("embeddings/test/metadata.csv", missing):
            about = pd.read_csv(table / "metadata.csv", keep_default_na=False)
            if embeddings is not None and len(about) != len(embeddings):
                raise ValueError(f"{len(about)} lines for {len(embeddings)} embeddings")
    return RunFolder(
        path=folder,
        name=folder.resolve().name,
        results=results,
        steps=steps,
        epochs=epochs,
        scores=scores,
        ways={name: lists for name, lists in ways.items() if lists},
        embeddings=embeddings,
        about=about,
        settings=settings,
        missing=missing,
    )


_TABLES = ("verification", "verification_before")
_DICTS = (*_TABLES, "scorings", "data", "finetune", "health")


def _well_formed(results, missing):
    """Results without what is no dict where one is expected, as by hand or damage."""
    odd = []
    for name in _DICTS:
        value = results.get(name, {})
        rows = value.values() if name in _TABLES and isinstance(value, dict) else ()
        if not (isinstance(value, dict) and all(isinstance(r, dict) for r in rows)):
            odd.append(name)
    if odd:
        missing.append(f"results.json: left out, as damaged: {', '.join(odd)}")
    return {key: value for key, value in results.items() if key not in odd}


def _last_rows(rows, kind):
    """A row per step or epoch: where a resumed run repeated one, the last counts."""
    last = {row[kind]: row for row in rows if row["kind"] == kind}
    return pd.DataFrame([last[number] for number in sorted(last)])


def _scores(folder, missing):
    """List -> (labels, scores) of the files in a folder that have labels."""
    lists = {}
    for path in sorted(folder.glob("*.txt")):
        with _damaged_is_missing(f"{folder.name}/{path.name}", missing):
            trials, scores = read_scores(path)
            if trials.labels is not None:
                lists[path.stem] = (trials.labels, scores)
    return lists


@contextmanager
def _damaged_is_missing(name, missing):
    """Leaves a file that cannot be read out of the page, which then says so."""
    try:
        yield
    except (ValueError, OSError) as error:
        logger.warning("%s: %s", name, error)
        missing.append(f"{name}: {error}")
