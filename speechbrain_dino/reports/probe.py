"""The page of a probe's run: tables, confusions, folds."""

import base64
import io
from html import escape
from pathlib import Path

from speechbrain_dino.metrics.classification import figures_frame, shown
from speechbrain_dino.reports.page import details, page, picture, rows_table
from speechbrain_dino.reports.plots.confusion import confusion_figure
from speechbrain_dino.utils.files import replacing


def write_probe_report(output_folder, results):
    """Writes ``report/index.html`` and its pictures.

    Arguments
    ---------
    output_folder : str or path
        Folder of the run.
    results : dict
        Content of its results.json.

    Returns
    -------
    pathlib.Path
        The page.
    """
    made = {name: results[name] for name in ("seed", "git", "seconds")}
    made |= {"hardware": results["hardware"], "versions": results["versions"]}
    made = rows_table({name: value for name, value in made.items() if value})
    made += details("Command", results["command"], opened=True)
    labels = ", ".join(results["probe"])
    title = f"Linear probe of {results['model']}"
    summary = f"{labels}, from frozen embeddings"
    with replacing(Path(output_folder) / "report") as folder:
        folder.mkdir()
        inlined = {}
        for name, figure in probe_figures(results).items():
            file = io.BytesIO()
            figure.savefig(file, format="png", facecolor="white")
            (folder / f"{name}.png").write_bytes(file.getvalue())
            inlined[name] = base64.b64encode(file.getvalue()).decode("ascii")
        sections = [*probe_sections(results, inlined), ("How it was made", made)]
        html = page(title, summary, sections)
        (folder / "index.html").write_text(html, encoding="utf-8")
    return Path(output_folder) / "report" / "index.html"


def probe_figures(results):
    """Pictures of a probe's results.

    Arguments
    ---------
    results : dict
        Content of results.json; its ``probe`` may be missing.

    Returns
    -------
    dict
        Name -> matplotlib figure: for each label of at most 50 classes the confusions
        of the first source's layer that is best in validation.
    """
    figures = {}
    for label, probe in results.get("probe", {}).items():
        source, layer = next(iter(probe["best_layers"].items()))
        name, system = next(
            (name, found)
            for name, found in probe["systems"].items()
            if (found.get("source"), found.get("layer")) == (source, layer)
        )
        if system.get("confusion"):
            title = f"{label}: {name}"
            counts, classes = system["confusion"], probe["classes"]
            figure = confusion_figure(counts, classes, title)
            figures[f"confusion_{label}"] = figure
    return figures


def probe_sections(results, inlined):
    """Sections of a page about a probe's results.

    Arguments
    ---------
    results : dict
        Content of results.json; its ``probe`` may be missing.
    inlined : dict
        Name of a picture of ``probe_figures`` -> PNG in base64.

    Returns
    -------
    list of tuple
        Title and HTML.
    """
    sections = []
    for label, probe in results.get("probe", {}).items():
        body = _notes(probe) + _systems(probe)
        if probe["classes"]:
            body += _recalls(probe)
        sections.append((f"Probe: {label}", body))
        shown = picture(inlined, f"confusion_{label}", _CONFUSION)
        if shown:
            sections.append((f"Confusions: {label}", shown))
        folds = rows_table(_folds(probe))
        sections.append((f"Folds: {label}", folds))
    return sections


_CONFUSION = (
    "The layer that is best in validation, test utterances of all folds: shares of "
    "each class, counts below."
)


def _notes(probe):
    best = probe["best_in_validation"]
    of_best = probe["systems"][best]
    (parameter, values) = next(iter(probe["regularization"].items()))
    listed = ", ".join(f"{value:g}" for value in values)
    notes = [
        f"{probe['how']}.",
        f"Features standardized, {parameter} out of {listed} chosen "
        f"in validation by {probe['criterion'].replace('_', ' ')}.",
        f"Best in validation: {best}; best layers: "
        + ", ".join(f"{s}: {layer}" for s, layer in probe["best_layers"].items())
        + ".",
    ]
    if probe["left_out"]:
        notes.append(f"{probe['left_out']} utterances without this label left out.")
    if probe["speaker_norm"]:
        notes.append(
            "*: mean and deviation of each speaker taken off, which uses the identity "
            "of the test speakers."
        )
    if "intervals_over" in of_best:
        over = of_best["intervals_over"]
        notes.append(f"In brackets: 95 % intervals over draws of {over}.")
    if "deviation" in of_best:
        notes.append("Over folds: mean and standard deviation.")
    return f'<p class="caption">{" ".join(map(escape, notes))}</p>\n'


def _systems(probe):
    systems = probe["systems"]
    frame = figures_frame(systems)
    frame.insert(0, "dimensions", [s.get("dimensions", "-") for s in systems.values()])
    form = shown("uar" if probe["classes"] else "ccc")
    unit = " (%)" if probe["classes"] else ""
    frame[f"in validation{unit}"] = [
        form(s["validation"]) if "validation" in s else "-" for s in systems.values()
    ]
    return rows_table([("system", *frame.columns), *frame.itertuples(name=None)])


def _recalls(probe):
    form, lines = shown("uar"), [("recall (%)", *probe["classes"])]
    for name, figures in probe["systems"].items():
        if "recalls" not in figures:
            return ""
        of_classes = [form(figures["recalls"][c]) for c in probe["classes"]]
        lines.append((name, *of_classes))
    return rows_table(lines)


def _folds(probe):
    best = probe["systems"][probe["best_in_validation"]]
    keys = list(best["pooled"])
    figures = [figures_frame({"": {"pooled": fold}}).iloc[0] for fold in best["folds"]]
    few = len(probe["classes"]) <= 10
    lines = []
    for number, (name, parts) in enumerate(probe["folds"].items()):
        for part, counts in parts.items():
            counts = counts if few else {k: counts[k] for k in list(counts)[:2]}
            if not lines:
                best_of = [f"{title}, best" for title in figures[0].index]
                lines.append(("fold", "part", *counts, *best_of))
            own = figures[number] if part == "test" else [""] * len(keys)
            lines.append((name, part, *counts.values(), *own))
    return lines
