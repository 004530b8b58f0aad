"""One page per run: metrics, curves, pictures, configuration.

    python -m speechbrain_dino.reports.report RUN_FOLDER [OTHER_RUN_FOLDER ...]

writes ``RUN_FOLDER/report/index.html``, which needs no network and no script, and the
pictures beside it as PNG. Further runs join the first in its table and DET curves.
"""

from pathlib import Path

from speechbrain_dino.metrics.classification import metrics_frame
from speechbrain_dino.reports import plots
from speechbrain_dino.reports.page import write_page
from speechbrain_dino.reports.plots.embedding_map import layout_name
from speechbrain_dino.reports.run_folder import check_run, read_run
from speechbrain_dino.reports.tables import conditions_table, results_table
from speechbrain_dino.scoring.conditions import categories
from speechbrain_dino.utils.checked_json import odd_content_is_named
from speechbrain_dino.utils.ending import end_on_signals
from speechbrain_dino.utils.errors import plain_errors
from speechbrain_dino.utils.options import Options

_ORIGIN = ("model", "seed", "git", "hardware", "seconds")


def write_report(output_folder, others=()):
    """Writes the page of a run, or of what is there of it.

    Arguments
    ---------
    output_folder : path
        The run's folder.
    others : sequence of path
        Folders of runs to compare with.

    Returns
    -------
    pathlib.Path
        The page.

    Raises
    ------
    FileNotFoundError
        If a folder does not exist.

    Example
    -------
    >>> page = write_report(getfixture("tmp_path"))
    >>> page.name, "not been evaluated yet" in page.read_text(encoding="utf-8")
    ('index.html', True)
    """
    runs = _distinct([read_run(folder) for folder in (output_folder, *others)])
    with odd_content_is_named(Path(output_folder) / "results.json"):
        return _write_page(runs)


def _write_page(runs):
    first = runs[0]
    results = first.results
    data = results.get("data", {})
    command = results.get("command", "")
    return write_page(
        first.path,
        "run.html",
        _pictures(runs),
        title=first.name,
        summary=_summary(runs),
        results=results,
        verification=results_table(runs),
        classes=_classes(results.get("finetune")),
        conditions=conditions_table(results),
        layout=layout_name(),
        data={k: v for k, v in data.items() if not isinstance(v, dict)},
        left_out=_left_out(data.get("left_out", {})),
        origin={name: results[name] for name in _ORIGIN if name in results},
        command=command if isinstance(command, str) else " ".join(map(str, command)),
        settings=first.settings,
        missing=_missing(runs),
    )


def _distinct(runs):
    """Runs of equal folder names get their parents' names as well."""
    names = [run.name for run in runs]
    return [
        run._replace(name="/".join(run.path.resolve().parts[-2:]))
        if names.count(run.name) > 1
        else run
        for run in runs
    ]


def _pictures(runs):
    """The pictures for which there is something to draw."""
    first = runs[0]
    pictures = {}
    if not (first.steps.empty and first.epochs.empty):
        before = first.results.get("verification_before")
        pictures["training"] = plots.training_figure(first.steps, first.epochs, before)
    if not first.epochs.empty:
        pictures["health"] = plots.health_figure(first.epochs)
    systems = _systems(runs)
    if systems:
        pictures["det"] = plots.det_figure(systems)
    if first.scores:
        pictures["scores"] = plots.score_figure(_histograms(first))
    tuned = first.results.get("finetune")
    if tuned:
        title = "Emotions, test utterances of all folds"
        counts, classes = tuned["confusion"], tuned["classes"]
        pictures["confusion"] = plots.confusion_figure(counts, classes, title)
    if first.embeddings is not None and len(first.embeddings):
        kinds = [] if first.about is None else categories(first.about)
        pictures["map"] = plots.map_figure(first.embeddings, first.about, kinds)
    return pictures


def _systems(runs):
    """Name -> scores of every run and way to score, for the DET curves."""
    systems = {}
    for run in runs:
        if not run.scores:
            continue
        if run.ways:
            raw = next(iter(run.results["scorings"]))
            more = f"{run.name}, " if len(runs) > 1 else ""
            # A calibrated system has the curve of the system.
            about = run.results["scorings"]
            ways = {w: s for w, s in run.ways.items() if not _only_calibrated(about[w])}
            ways = {raw: run.scores, **ways}
            systems |= {f"{more}{way}": scores for way, scores in ways.items()}
        else:
            systems[run.name] = run.scores
    return systems


def _only_calibrated(about):
    return len(about.get("systems", ())) == 1


def _histograms(run):
    """Panels of score histograms: the raw way to score, and the last one beside it."""
    if not run.ways:
        return run.scores
    raw, last = next(iter(run.results["scorings"])), list(run.ways)[-1]
    panels = {}
    for name, scores in run.scores.items():
        panels[f"{name}, {raw}"] = scores
        if name in run.ways[last]:
            panels[f"{name}, {last}"] = run.ways[last][name]
    return panels


def _summary(runs):
    results = runs[0].results
    parts = []
    data = results.get("data", {})
    if "kept" in data:
        parts.append(f"{data['kept']:,} training utterances")
    if "hours" in data:
        parts.append(f"{data['hours']:.1f} hours of speech")
    if "seconds" in results:
        seconds = results["seconds"]
        short = seconds < 60
        parts.append(f"{seconds:.0f} s" if short else f"{seconds / 60:.1f} minutes")
    if len(runs) > 1:
        parts.append("compared with " + ", ".join(run.name for run in runs[1:]))
    return " · ".join(parts)


def _classes(metrics):
    """Metrics of classification, recalls, and the results of each fold."""
    if not metrics:
        return {}
    frame = metrics_frame({"fine-tuned": metrics})
    recalls = metrics["recalls"].items()
    folds = [("fold", "best epoch", "UAR in validation", "UAR in test")]
    columns = "fold_names", "epochs", "uar_valid", "folds"
    for fold, epoch, valid, tested in zip(*(metrics[name] for name in columns)):
        folds.append((fold, epoch, _percent(valid), _percent(tested["uar"])))
    return {
        "metrics": [("", *frame), *frame.itertuples()],
        "recalls": {f"recall {name}": _percent(recall) for name, recall in recalls},
        "folds": folds,
    }


def _percent(share):
    return "" if share is None else f"{100 * share:.1f} %"


def _left_out(kinds):
    if not kinds:
        return []
    columns = "count", "example", "remedy"
    rows = [(kind, *(kinds[kind][name] for name in columns)) for kind in kinds]
    return [("left out", "items", "example", "remedy"), *rows]


def _missing(runs):
    rows = {}
    for run in runs:
        for text in run.missing:
            name, _, meaning = text.partition(": ")
            rows[name if len(runs) == 1 else f"{run.name}: {name}"] = meaning
    return rows


def main(arguments=None):
    """Command line: ``python -m speechbrain_dino.reports.report RUN_FOLDER ...``."""
    parser = Options(description="Writes the HTML page of a run.")
    parser.add_argument("run_folder", type=Path, help="output folder of the run")
    parser.add_argument("others", nargs="*", type=Path, help="runs to compare with")
    options = parser.parse_args(arguments)
    end_on_signals()
    with plain_errors(ValueError, OSError):
        for folder in (options.run_folder, *options.others):
            check_run(folder)
        print(write_report(options.run_folder, options.others))


if __name__ == "__main__":
    main()
