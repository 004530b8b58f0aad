"""One page a run: figures, curves, pictures, configuration.

    python -m speechbrain_dino.reports.report RUN_FOLDER [OTHER_RUN_FOLDER ...]

writes ``RUN_FOLDER/report/index.html``, which needs no network and no script, and the
pictures beside it as PNG. Further runs join the first in its table and DET curves.
"""

import argparse
import base64
import io
from pathlib import Path

from speechbrain_dino.metrics.classification import figures_frame
from speechbrain_dino.reports import plots
from speechbrain_dino.reports.page import details, page, picture, rows_table
from speechbrain_dino.reports.plots.embedding_map import layout_name
from speechbrain_dino.reports.run_folder import read_run
from speechbrain_dino.reports.tables import conditions_table, results_table
from speechbrain_dino.scoring.conditions import categories
from speechbrain_dino.utils.files import replacing

_PLAIN = ("model", "seed", "git", "hardware", "seconds")


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
    first = runs[0]
    figures = _figures(runs)
    with replacing(first.path / "report") as folder:
        folder.mkdir()
        inlined = {}
        for name, figure in figures.items():
            file = io.BytesIO()
            figure.savefig(file, format="png", facecolor="white")
            (folder / f"{name}.png").write_bytes(file.getvalue())
            inlined[name] = base64.b64encode(file.getvalue()).decode("ascii")
        html = page(first.name, _summary(runs), _sections(runs, inlined))
        (folder / "index.html").write_text(html, encoding="utf-8")
    return first.path / "report" / "index.html"


def _distinct(runs):
    """Runs of equal folder names get their parents' names as well."""
    names = [run.name for run in runs]
    return [
        run._replace(name="/".join(run.path.resolve().parts[-2:]))
        if names.count(run.name) > 1
        else run
        for run in runs
    ]


def _figures(runs):
    """The pictures for which there is something to draw."""
    first = runs[0]
    figures = {}
    if not (first.steps.empty and first.epochs.empty):
        before = first.results.get("verification_before")
        figures["training"] = plots.training_figure(first.steps, first.epochs, before)
    if not first.epochs.empty:
        figures["health"] = plots.health_figure(first.epochs)
    systems = _systems(runs)
    if systems:
        figures["det"] = plots.det_figure(systems)
    if first.scores:
        figures["scores"] = plots.score_figure(_histograms(first))
    tuned = first.results.get("finetune")
    if tuned:
        title = "Emotions, test utterances of all folds"
        parts = tuned["confusion"], tuned["classes"], title
        figures["confusion"] = plots.confusion_figure(*parts)
    if first.embeddings is not None and len(first.embeddings):
        kinds = [] if first.about is None else categories(first.about)
        figures["map"] = plots.map_figure(first.embeddings, first.about, kinds)
    return figures


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


def _sections(runs, inlined):
    first = runs[0]
    health = rows_table(first.results.get("health", {}))
    sections = [
        ("Speaker verification", results_table(runs), ""),
        ("Classes", _classes(first.results.get("finetune")), ""),
        ("Confusions", picture(inlined, "confusion", _CONFUSION), ""),
        ("Detection error trade-off", picture(inlined, "det", _DET), ""),
        ("Scores", picture(inlined, "scores", _SCORES), ""),
        ("Conditions", conditions_table(first.results), ""),
        ("Map of the embeddings", picture(inlined, "map", _MAP), ""),
        ("Training", picture(inlined, "training", _TRAINING), ""),
        ("Health", picture(inlined, "health", _HEALTH), health),
        ("Data", _data(first.results.get("data", {})), ""),
        ("How it was made", _making(first), ""),
        ("Not here", _missing(runs), ""),
    ]
    return [(title, body + more) for title, body, more in sections if body or more]


def _classes(figures):
    """Figures of classification, recalls, and what training came to in each fold."""
    if not figures:
        return ""
    frame = figures_frame({"fine-tuned": figures})
    body = rows_table([("", *frame), *frame.itertuples()])
    recalls = {
        f"recall {name}": "" if recall is None else f"{100 * recall:.1f} %"
        for name, recall in figures["recalls"].items()
    }
    lines = [("fold", "best epoch", "UAR in validation", "UAR in test")]
    columns = "fold_names", "epochs", "uar_valid", "folds"
    for fold, epoch, valid, tested in zip(*(figures[name] for name in columns)):
        found = valid, tested["uar"]
        uars = ("" if uar is None else f"{100 * uar:.1f} %" for uar in found)
        lines.append((fold, epoch, *uars))
    return body + rows_table(recalls) + rows_table(lines)


_CONFUSION = "Shares of each class, counts below."
_DET = "Misses against false alarms at every threshold; the mark is the EER."
_SCORES = "Scores of the trials; the dashed line is the threshold of the EER."
_MAP = f"{layout_name()} of test utterances, a color and mark a speaker."
_TRAINING = "Open marks at epoch 0: before training. Thin line: single steps."
_HEALTH = "A collapsed model shows here first: no divergence, few prototypes, rank 1."


def _data(data):
    plain = {k: v for k, v in data.items() if not isinstance(v, dict)}
    left_out = data.get("left_out", {})
    lines = [("left out", "items", "example", "remedy")]
    for kind, item in left_out.items():
        lines.append((kind, item["count"], item["example"], item["remedy"]))
    body = rows_table(plain)
    return body + (rows_table(lines) if left_out else "")


def _making(run):
    results = run.results
    body = rows_table({name: results[name] for name in _PLAIN if name in results})
    command = results.get("command", "")
    command = command if isinstance(command, str) else " ".join(map(str, command))
    if command:
        body += details("Command", command, opened=True)
    if run.settings:
        body += details("Configuration (hyperparams.yaml)", run.settings)
    return body


def _missing(runs):
    lines = {}
    for run in runs:
        for text in run.missing:
            name, _, meaning = text.partition(": ")
            lines[name if len(runs) == 1 else f"{run.name}: {name}"] = meaning
    return rows_table(lines)


def main(arguments=None):
    """Command line: ``python -m speechbrain_dino.reports.report RUN_FOLDER ...``."""
    parser = argparse.ArgumentParser(description="Writes the HTML page of a run.")
    parser.add_argument("run_folder", type=Path, help="output folder of the run")
    parser.add_argument("others", nargs="*", type=Path, help="runs to compare with")
    known = parser.parse_args(arguments)
    try:
        print(write_report(known.run_folder, known.others))
    except FileNotFoundError as error:
        parser.exit(1, f"{error}\n")


if __name__ == "__main__":
    main()
