"""Trial lists scored in several ways, and by condition."""

import logging
from pathlib import Path

import numpy as np
import pandas as pd

from speechbrain_dino.metadata import trial_conditions
from speechbrain_dino.scoring import summarise
from speechbrain_dino.trials import trial_rows, write_scores

logger = logging.getLogger(__name__)


def score_lists(lists, table, scorings, cohort=None, output_folder=None, about=None):
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
    about : pandas.DataFrame, optional
        What is known of the utterances, a line per row of the table, with a column
        ``seconds``; see ``speechbrain_dino.metadata.describe``.

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
    rows = {name: trial_rows(table, trials) for name, trials in lists.items()}
    kinds = {}
    if about is not None:
        kinds = {name: trial_conditions(about, *pair) for name, pair in rows.items()}
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
                scores = scoring(table.vectors, *rows[name], cohort)
                if trials.labels is not None:
                    figures[name] = summarise(trials.labels, scores, scoring.calibrated)
                    conditions[name] = by_condition(
                        trials.labels, scores, kinds.get(name, {})
                    )
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


def by_condition(labels, scores, conditions):
    """Figures of the trials of each condition.

    Impostors of one session or gender may not exist in a list: where a condition has
    none of its own, its targets meet all impostors of the list. A condition without
    targets has no error rate and is left out.

    Arguments
    ---------
    labels : array, shape (M,)
        1 for trials of one speaker, 0 for trials of two.
    scores : array, shape (M,)
        Higher means more alike.
    conditions : dict
        See ``speechbrain_dino.metadata.trial_conditions``.

    Returns
    -------
    list of dict
        ``condition``, ``value``, ``eer``, ``min_dcf_0.01``, ``targets``, ``trials``
        and ``impostors`` ("own" or "all").

    Example
    -------
    >>> kinds = {"session": np.array(["same", "different", "different"])}
    >>> lines = by_condition([1, 1, 0], [0.9, 0.1, 0.3], kinds)
    >>> [(line["value"], line["eer"], line["impostors"]) for line in lines]
    [('different', 1.0, 'own'), ('same', 0.0, 'all')]
    """
    labels, scores = np.asarray(labels), np.asarray(scores)
    lines = []
    for name, values in conditions.items():
        for value in sorted(set(values.tolist()) - {""}):
            inside = values == value
            if not (labels[inside] == 1).any():
                continue
            own = bool((labels[inside] == 0).any())
            used = inside if own else inside | (labels == 0)
            figures = summarise(labels[used], scores[used])
            kept = ("eer", "min_dcf_0.01", "targets", "trials")
            line = {"condition": name, "value": value}
            line |= {key: figures[key] for key in kept}
            lines.append(line | {"impostors": "own" if own else "all"})
    return lines


def results_frame(scored):
    """Results as a table to print.

    Arguments
    ---------
    scored : dict
        What `score_lists` gives.

    Returns
    -------
    pandas.DataFrame
        A line per list and way: EER in %, costs, trials and the cohort.
    """
    lines = []
    names = dict.fromkeys(name for way in scored.values() for name in way["lists"])
    for name in names:
        for way, about in scored.items():
            figures = about["lists"][name]
            size = about.get("cohort_size")
            by, source = about.get("cohort_by"), about.get("cohort")
            lines.append(
                {
                    "list": name,
                    "scoring": way,
                    "EER %": round(100 * figures["eer"], 2),
                    "minDCF(0.01)": round(figures["min_dcf_0.01"], 4),
                    "minDCF(0.05)": round(figures["min_dcf_0.05"], 4),
                    "trials": figures["trials"],
                    "cohort": f"{size} {by}s: {source}" if size else "-",
                }
            )
    return pd.DataFrame(lines)
