"""Trial lists scored in several ways."""

import logging
from pathlib import Path

import numpy as np
import pandas as pd

from speechbrain_dino.data.trials import trial_rows, write_scores
from speechbrain_dino.metrics.bootstrap import bootstrap_intervals
from speechbrain_dino.scoring.conditions import trial_conditions
from speechbrain_dino.scoring.cosine import summarize

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
        Name -> how, see ``speechbrain_dino.scoring.backends``; the first is the raw
        one.
    cohort : Cohort, optional
        What normalization refers to. Without it, ways that need one are left out,
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


class ListFigures:
    """Figures of trial lists, with what is known of their utterances.

    Arguments
    ---------
    lists : dict
        Name -> Trials.
    table : EmbeddingTable
        Anything with ``ids`` that has all utterances of the lists.
    about : pandas.DataFrame, optional
        What is known of the utterances, a line per row of the table; see
        ``speechbrain_dino.scoring.conditions.describe``. Without it there are neither
        conditions nor intervals.
    bootstrap : int
        How often to draw speakers for the intervals; 0 for none. Where the speakers
        of ``about`` contradict a list's labels, that list gets none, with a warning.

    Raises
    ------
    ValueError
        If a trial names an unknown utterance, or ``bootstrap`` is no number of draws.

    Example
    -------
    >>> from speechbrain_dino.embeddings.table import EmbeddingTable
    >>> from speechbrain_dino.scoring.conditions import describe
    >>> from speechbrain_dino.data.trials import Trials
    >>> ids = ["a/1", "a/2", "b/1", "b/2"]
    >>> trials = Trials(np.array([1, 1, 0]), ["a/1", "b/1", "a/1"],
    ...     ["a/2", "b/2", "b/1"], "O.txt")
    >>> table = EmbeddingTable(ids, np.zeros((4, 2)))
    >>> figures_of = ListFigures({"O": trials}, table, describe(ids), bootstrap=10)
    >>> figures_of("O", np.array([0.9, 0.8, 0.1]))[0]["intervals"]["eer"]
    [0.0, 0.0]
    """

    def __init__(self, lists, table, about=None, bootstrap=0):
        if not (isinstance(bootstrap, int) and bootstrap >= 0):
            raise ValueError(
                f"bootstrap={bootstrap!r}: expected how often to draw speakers, such "
                "as 1000, or 0 for no intervals"
            )
        self.lists, self.bootstrap = lists, bootstrap
        self.rows = {name: trial_rows(table, trials) for name, trials in lists.items()}
        self._kinds, self._speakers = {}, {}
        if about is None:
            return
        speaker_of = pd.factorize(about["speaker"])[0]
        for name, trials in lists.items():
            self._kinds[name] = trial_conditions(about, *self.rows[name])
            sides = [speaker_of[rows] for rows in self.rows[name]]
            if bootstrap and trials.labels is not None and _agree(trials, *sides):
                self._speakers[name] = sides

    def __call__(self, name, scores, calibrated=False):
        """Figures of a list with labels.

        Arguments
        ---------
        name : str
            The list.
        scores : array, shape (M,)
            One a trial.
        calibrated : bool
            Whether the scores are log-likelihood ratios.

        Returns
        -------
        figures : dict
            See ``speechbrain_dino.scoring.cosine.summarize``, and ``intervals``: figure
            -> [low, high], which holds 95 % of the draws.
        conditions : list of dict
            See `by_condition`.

        Raises
        ------
        ValueError
            If one kind of trial is missing or a score is not finite.
        """
        labels = self.lists[name].labels
        figures = summarize(labels, scores, calibrated)
        if name in self._speakers:
            found = bootstrap_intervals(
                labels,
                scores,
                *self._speakers[name],
                calibrated=calibrated,
                replicates=self.bootstrap,
            )
            figures["intervals"] = {key: list(ends) for key, ends in found.items()}
        return figures, by_condition(labels, scores, self._kinds.get(name, {}))


def _agree(trials, enrol, test):
    """Whether the trials' labels say what their speakers' names say."""
    wrong = np.flatnonzero((trials.labels == 1) != (enrol == test))
    if len(wrong):
        logger.warning(
            "%s: %d of %d labels contradict the speakers (first: line %d, %s %s), so "
            "there are no intervals: the speaker is the first part of a name; where it "
            "is not, give --metadata with a line per utterance and a column 'speaker'",
            trials.path,
            len(wrong),
            len(enrol),
            wrong[0] + 1,
            trials.enrol[wrong[0]],
            trials.test[wrong[0]],
        )
    return not len(wrong)


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
        See ``speechbrain_dino.scoring.conditions.trial_conditions``.

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
            figures = summarize(labels[used], scores[used])
            kept = ("eer", "min_dcf_0.01", "targets", "trials")
            line = {"condition": name, "value": value}
            line |= {key: figures[key] for key in kept}
            lines.append(line | {"impostors": "own" if own else "all"})
    return lines
