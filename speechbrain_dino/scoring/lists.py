"""Trial lists scored in several ways."""

import logging
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd

from speechbrain_dino.data.trials import trial_rows, write_scores
from speechbrain_dino.metrics.bootstrap import bootstrap_intervals
from speechbrain_dino.scoring.conditions import trial_conditions
from speechbrain_dino.scoring.cosine import summarize

logger = logging.getLogger(__name__)


def score_lists(
    lists,
    table,
    scorings,
    cohort=None,
    output_folder=None,
    metrics_of=None,
    left_out=None,
):
    """Scores trial lists in several ways, each of which may fail alone.

    Returns way -> {"lists": {list: metrics}, "conditions": {list: lines}, "cohort",
    "cohort_by", "cohort_size"}; lists without labels have no metrics. A way that cannot
    be scored is left out, with a warning. Raises ValueError if no way is left.

    Arguments
    ---------
    lists : dict
        Name -> Trials.
    table : EmbeddingTable
        Embeddings of all utterances that the lists name.
    scorings : dict
        Name -> one of ``speechbrain_dino.scoring.backends``; the first is the raw one.
    cohort : Cohort, optional
        Without it, ways that need one are left out.
    output_folder : str or path, optional
        For ``scores/<list>.txt`` (first way) and ``scores/<way>/<list>.txt`` (others).
    metrics_of : ListMetrics, optional
        Of the same lists and table; plain metrics if not given.
    left_out : dict, optional
        Takes why a way is left out: way -> text.
    """
    metrics_of = metrics_of or ListMetrics(lists, table)
    scored, left_out = {}, {} if left_out is None else left_out
    for way, scoring in scorings.items():
        try:
            _check_cohort(scoring, cohort)
            scores = {}
            for name, trials in lists.items():
                with _naming(trials.path):
                    rows = metrics_of.rows[name]
                    scores[name] = scoring(table.vectors, *rows, cohort)
            about = _evaluated(way, scoring, scores, metrics_of)
        except ValueError as error:
            leave_out(way, error, left_out)
            continue
        scored[way] = about | scoring.about(cohort)
        if output_folder is not None:
            folder = score_folders(Path(output_folder) / "scores", scored)[way]
            for name, trials in lists.items():
                write_scores(folder / f"{name}.txt", trials, scores[name])
    if not scored:
        reasons = "; ".join(f"{way}: {why}" for way, why in left_out.items())
        raise ValueError(f"no way to score is left ({reasons})")
    return scored


def _check_cohort(scoring, cohort):
    if scoring.needs_cohort and cohort is None:
        raise ValueError("it needs a cohort and none is given")
    if scoring.needs_labels and cohort.labels is None:
        raise ValueError(
            f"it needs labels and the cohort {cohort.source} has no labels (name their "
            "column with cohort_label)"
        )


@contextmanager
def _naming(path):
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _evaluated(way, scoring, scores, metrics_of):
    """Metrics and conditions of the lists with labels."""
    metrics, conditions = {}, {}
    for name, values in scores.items():
        trials = metrics_of.lists[name]
        if trials.labels is None:
            continue
        with _naming(trials.path):
            calibrated = scoring.calibrated
            metrics[name], conditions[name] = metrics_of(name, values, calibrated)
        logger.info("%s, %s: EER %.2f %%", name, way, 100 * metrics[name]["eer"])
    return {"lists": metrics, "conditions": conditions}


def leave_out(way, error, left_out):
    """Notes why a way is left out, with a warning."""
    logger.warning("%s is left out: %s", way, error)
    left_out[way] = str(error)


def score_folders(scores, ways):
    """Way -> where its files lie: ``scores`` for the first."""
    return {way: scores / (way if number else "") for number, way in enumerate(ways)}


def results_frame(scored, left_out=()):
    """What `score_lists` returned as a table to print, a row per list and way.

    Ways that were left out (names, or way -> why) have a row of their own. A column
    ``skipped`` counts trials without files, where a list's metrics have such a number.
    """
    lines = []
    names = dict.fromkeys(name for way in scored.values() for name in way["lists"])
    for name in names:
        for way, about in scored.items():
            if name in about["lists"]:
                line = {"list": name, "scoring": way}
                lines.append(line | _line(about["lists"][name], about))
    frame = pd.DataFrame(lines).dropna(axis=1, how="all").fillna("-")
    if "skipped" in frame and not frame["skipped"].any():
        frame = frame.drop(columns="skipped")
    empty = [
        {**dict.fromkeys(frame, "-"), "scoring": way, "EER %": "left out"}
        for way in left_out
    ]
    return pd.DataFrame([*frame.to_dict("records"), *empty]) if empty else frame


def _line(metrics, about):
    """Cells of the printed table; None for what is missing."""
    size = about.get("cohort_size")
    by, source = about.get("cohort_by"), about.get("cohort")
    low, high = metrics.get("intervals", {}).get("eer", (None, None))
    line = {
        "EER %": round(100 * metrics["eer"], 2),
        "95 %": None if low is None else f"{100 * low:.2f}-{100 * high:.2f}",
        "minDCF(0.01)": round(metrics["min_dcf_0.01"], 4),
        "minDCF(0.05)": round(metrics["min_dcf_0.05"], 4),
    }
    for title, key in _OF_RATIOS.items():
        line[title] = round(metrics[key], 4) if "cllr" in metrics else None
    line["trials"] = metrics["trials"]
    line["skipped"] = metrics.get("skipped", 0)
    line["cohort"] = f"{size} {by}s: {source}" if size else "-"
    return line


_OF_RATIOS = {
    "actDCF(0.01)": "act_dcf_0.01",
    "actDCF(0.05)": "act_dcf_0.05",
    "Cllr": "cllr",
    "minCllr": "min_cllr",
}


class ListMetrics:
    """Metrics of trial lists, by conditions and with confidence intervals.

    Raises ValueError if a trial names an unknown utterance, or ``bootstrap`` is no
    number of draws.

    Arguments
    ---------
    lists : dict
        Name -> Trials.
    table : EmbeddingTable
        Anything with ``ids`` that has all utterances of the lists.
    about : pandas.DataFrame, optional
        A row per row of the table, see ``scoring.conditions.describe``; without it
        there are neither conditions nor intervals.
    bootstrap : int
        Draws of speakers for the intervals; 0: none. Where the speakers of ``about``
        contradict a list's labels, that list gets none, with a warning.
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
        """Returns `summarize` of scores (M,) of a list with labels, and `by_condition`.

        The first has ``intervals``: metric -> [low, high], holding 95 % of the draws.
        """
        labels = self.lists[name].labels
        metrics = summarize(labels, scores, calibrated)
        if name in self._speakers:
            intervals = bootstrap_intervals(
                labels,
                scores,
                *self._speakers[name],
                calibrated=calibrated,
                replicates=self.bootstrap,
            )
            metrics["intervals"] = {key: list(ends) for key, ends in intervals.items()}
        return metrics, by_condition(labels, scores, self._kinds.get(name, {}))


def _agree(trials, enrol, test):
    """Whether the trials' labels agree with their speakers' names."""
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
    """Metrics of the trials of each condition (see ``conditions.trial_conditions``).

    A condition without impostors, such as one session, meets all impostors of the
    list; one without targets has no error rate and is left out. Returns dicts of
    ``condition``, ``value``, ``eer``, ``min_dcf_0.01``, ``targets``, ``trials`` and
    ``impostors`` ("own" or "all").
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
            metrics = summarize(labels[used], scores[used])
            kept = ("eer", "min_dcf_0.01", "targets", "trials")
            line = {"condition": name, "value": value}
            line |= {key: metrics[key] for key in kept}
            lines.append(line | {"impostors": "own" if own else "all"})
    return lines
