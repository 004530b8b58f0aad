"""The page of a probe's run: table, confusions, folds."""

import base64
import io
from pathlib import Path

from speechbrain_dino.class_metrics import MOST_CLASSES, figures_frame
from speechbrain_dino.files import replacing
from speechbrain_dino.page import page, picture, rows_table
from speechbrain_dino.plots.confusion import confusion_figure


def write_probe_report(output_folder, results):
    """Writes ``report/index.html``.

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
    probe = results["probe"]
    systems, best = probe["systems"], probe["best_in_validation"]
    sections = [("Systems", _table(systems))]
    if len(probe["classes"]) <= MOST_CLASSES:
        sections.append((f"Confusions of {best}", _confusion(systems, probe, best)))
    sections.append(("Folds", rows_table(_folds(probe["folds"]))))
    made = {name: results[name] for name in ("command", "seed", "git", "seconds")}
    made |= {"hardware": results["hardware"], "versions": results["versions"]}
    made = {name: value for name, value in made.items() if value is not None}
    sections.append(("How it was made", rows_table(made)))
    summary = (
        f"{probe['label']} of {systems[best]['utterances']} test utterances, "
        f"{len(probe['classes'])} classes; {probe['how']}; best in validation: {best}"
    )
    path = Path(output_folder) / "report" / "index.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    title = f"Linear probe of {results['model']}"
    with replacing(path) as draft:
        draft.write_text(page(title, summary, sections), encoding="utf-8")
    return path


def _table(systems):
    frame = figures_frame(systems)
    frame.insert(0, "dimensions", [s.get("dimensions", "-") for s in systems.values()])
    frame["UAR in validation (%)"] = [
        f"{100 * s['validation']:.1f}" if "validation" in s else "-"
        for s in systems.values()
    ]
    lines = [("system", *frame.columns), *frame.itertuples(name=None)]
    over = next(iter(systems.values())).get("intervals_over")
    note = f"In brackets: 95 % intervals over {over}. " if over else ""
    note += "Over folds: mean and standard deviation."
    return f'<p class="caption">{note}</p>\n' + rows_table(lines)


def _confusion(systems, probe, best):
    figure = confusion_figure(systems[best]["confusion"], probe["classes"], best)
    file = io.BytesIO()
    figure.savefig(file, format="png", facecolor="white")
    inlined = {"confusion": base64.b64encode(file.getvalue()).decode("ascii")}
    text = "Test utterances of all folds: shares of each class, counts below."
    return picture(inlined, "confusion", text)


def _folds(folds):
    lines = []
    for name, parts in folds.items():
        for part, counts in parts.items():
            if not lines:
                lines.append(("fold", "part", *counts))
            lines.append((name, part, *counts.values()))
    return lines
