"""Trial lists scored in several ways."""

import logging
from pathlib import Path

import pandas as pd

from speechbrain_dino.list_figures import ListFigures
from speechbrain_dino.trials import write_scores

logger = logging.getLogger(__name__)


def score_lists(
    lists, table, scorings, cohort=None, output_folder=None, figures_of=None
):
    """Scores trial lists in several ways.

    Arguments
    ---------
    lists : dict
        Name -> Trials.
    table : EmbeddingTable
        Embeddings of all utterances that the lists name.
    scorings : dict
        Name -> how, see ``speechbrain_dino.backends``; the first is the raw one.
    cohort : Cohort, optional
        What normalisation refers to. Without it, ways that need one are left out,
        with a warning.
    output_folder : str or path, optional
        Gets ``scores/<list>.txt`` of the first way and
        ``scores/<way>/<list>.txt`` of the others.
    figures_of : ListFigures, optional
        Of the same lists and table; plain figures if not given.

    Returns
    -------
    dict
        way -> {"lists": {list: figures}, "conditions": {list: lines}, "cohort",
        "cohort_by", "cohort_size"}; lists without labels have no figures.

    Raises
    ------
    ValueError
        If no way is left, or scores cannot be computed; names the list.
    """
    figures_of = figures_of or ListFigures(lists, table)
    scored = {}
    for way, scoring in scorings.items():
        if scoring.needs_cohort and cohort is None:
            logger.warning("%s needs a cohort and none is given: left out", way)
            continue
        if scoring.needs_labels and cohort.labels is None:
            logger.warning(
                "%s needs labels, which the cohort %s has not: left out (their column "
                "is named by cohort_label)",
                way,
                cohort.source,
            )
            continue
        figures, conditions = {}, {}
        for name, trials in lists.items():
            try:
                scores = scoring(table.vectors, *figures_of.rows[name], cohort)
                if trials.labels is not None:
                    figures[name], conditions[name] = figures_of(
                        name, scores, scoring.calibrated
                    )
                    rate = 100 * figures[name]["eer"]
                    logger.info("%s, %s: EER %.2f %%", name, way, rate)
            except ValueError as error:
                raise ValueError(f"{trials.path}, {way}: {error}") from error
            if output_folder is not None:
                folder = Path(output_folder) / "scores" / (way if scored else "")
                write_scores(folder / f"{name}.txt", trials, scores)
        scored[way] = {"lists": figures, "conditions": conditions}
        scored[way] |= scoring.about(cohort)
    if not scored:
        raise ValueError("no way to score is left: give a cohort, or add cosine")
    return scored


def results_frame(scored):
    """Results as a table to print.

    Arguments
    ---------
    scored : dict
        What `score_lists` gives.

    Returns
    -------
    pandas.DataFrame
        A line per list and way: EER in %, costs, trials and the cohort; where there
        are any, the interval of the EER and figures of calibrated scores.
    """
    lines = []
    names = dict.fromkeys(name for way in scored.values() for name in way["lists"])
    for name in names:
        for way, about in scored.items():
            if name in about["lists"]:
                line = {"list": name, "scoring": way}
                lines.append(line | _line(about["lists"][name], about))
    return pd.DataFrame(lines).dropna(axis=1, how="all").fillna("-")


def _line(figures, about):
    """Cells of the printed table; None for what there is not."""
    size = about.get("cohort_size")
    by, source = about.get("cohort_by"), about.get("cohort")
    low, high = figures.get("intervals", {}).get("eer", (None, None))
    line = {
        "EER %": round(100 * figures["eer"], 2),
        "95 %": None if low is None else f"{100 * low:.2f}-{100 * high:.2f}",
        "minDCF(0.01)": round(figures["min_dcf_0.01"], 4),
        "minDCF(0.05)": round(figures["min_dcf_0.05"], 4),
    }
    for title, key in _OF_RATIOS.items():
        line[title] = round(figures[key], 4) if "cllr" in figures else None
    line["trials"] = figures["trials"]
    line["cohort"] = f"{size} {by}s: {source}" if size else "-"
    return line


_OF_RATIOS = {
    "actDCF(0.01)": "act_dcf_0.01",
    "actDCF(0.05)": "act_dcf_0.05",
    "Cllr": "cllr",
    "minCllr": "min_cllr",
}
