"""The table of rounds of pseudo-labeling: in the log, as data, as a page."""

import logging
from pathlib import Path

import pandas as pd

from speechbrain_dino.clustering.labels import load_labels
from speechbrain_dino.reports.page import write_page
from speechbrain_dino.reports.plots.clusters import clusters_figure
from speechbrain_dino.reports.plots.rounds import rounds_figure

logger = logging.getLogger(__name__)

_HEALTH = ("gated", "corrected", "accuracy")
_HEALTH += ("kept_precision", "gated_precision", "corrected_precision")


def rounds_table(lines):
    """A row per round.

    Arguments
    ---------
    lines : list of dict
        What ``RoundsState.lines`` gives; round 0 is the model at the start.

    Returns
    -------
    pandas.DataFrame
        ``round``, ``clusters``, ``kept``, ``label_change``, ``nmi`` and ``purity``
        with true speakers, shares of the last epoch, ``eer/<list>``, ``minutes``;
        missing values are NaN, columns that no round has are left out.

    Example
    -------
    >>> lists = {"verification": {"O": {"eer": 0.1}}}
    >>> rounds_table([{"round": 0, **lists}, {"round": 1, **lists}]).shape
    (2, 2)
    """
    rows = []
    for line in lines:
        cluster = line.get("cluster") or {}
        truth = cluster.get("against_truth") or {}
        health = line.get("health") or {}
        row = {
            "round": line["round"],
            "clusters": cluster.get("clusters"),
            "kept": cluster.get("kept"),
            "label_change": cluster.get("label_change"),
            "nmi": truth.get("nmi"),
            "purity": truth.get("purity"),
            **{name: health.get(name) for name in _HEALTH},
        }
        for name, metrics in (line.get("verification") or {}).items():
            row[f"eer/{name}"] = metrics["eer"]
        seconds = line.get("seconds")
        row["minutes"] = None if seconds is None else seconds / 60
        rows.append(row)
    return pd.DataFrame(rows).dropna(axis="columns", how="all")


def shown_table(lines):
    """The table as people read it: shares in per cent, nothing where missing."""
    table = rounds_table(lines)
    shown = {}
    for column in table:
        name, scale, form = column, 1, "{:.0f}"
        if column.startswith("eer/"):
            name, scale, form = f"EER {column[4:]} [%]", 100, "{:.2f}"
        elif column in ("label_change", "nmi", "purity", *_HEALTH):
            name, scale, form = f"{column.replace('_', ' ')} [%]", 100, "{:.1f}"
        elif column == "minutes":
            form = "{:.1f}"
        shown[name] = [
            "" if pd.isna(value) else form.format(scale * value)
            for value in table[column]
        ]
    return pd.DataFrame(shown)


def log_table(lines):
    """Writes the table into the log."""
    logger.info("Rounds so far:\n%s", shown_table(lines).to_string(index=False))


def write_rounds_report(output_folder, lines):
    """Writes ``report/index.html`` of all rounds; each has a report of its own too.

    Arguments
    ---------
    output_folder : str or path
        Folder of the rounds.
    lines : list of dict
        What ``RoundsState.lines`` gives.

    Returns
    -------
    pathlib.Path
        The page.

    Example
    -------
    >>> lines = [{"round": 0, "verification": {"O": {"eer": 0.1}}}]
    >>> write_rounds_report(getfixture("tmp_path"), lines).name
    'index.html'
    """
    output = Path(output_folder)
    table = shown_table(lines)
    settings = output / "hyperparams.yaml"
    return write_page(
        output,
        "rounds.html",
        {"rounds": rounds_figure(rounds_table(lines)), **_clusters(output, lines)},
        title=output.resolve().name,
        summary="Iterative pseudo-labeling",
        rows=[tuple(table), *table.itertuples(index=False)],
        lines=lines,
        reported=[
            line["round"]
            for line in lines
            if (output / f"round{line['round']}" / "report" / "index.html").is_file()
        ],
        clusterings={
            f"round {line['round']}: {name}": value
            for line in lines
            for name, value in (line.get("cluster") or {}).items()
            if not isinstance(value, dict | list)
        },
        settings=settings.read_text("utf-8") if settings.is_file() else "",
    )


def _clusters(output, lines):
    """Pictures of sizes and, where the number was chosen, its curve."""
    pictures = {}
    for line in lines:
        file = output / f"round{line['round']}" / "clusters" / "labels.csv"
        if line.get("cluster") and file.is_file():
            figure = clusters_figure(load_labels(file), line["cluster"].get("curve"))
            pictures[f"clusters_{line['round']}"] = figure
    return pictures
