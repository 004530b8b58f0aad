"""Figures of scored trial lists: whole, by condition, with intervals."""

import logging

import numpy as np
import pandas as pd

from speechbrain_dino.bootstrap import bootstrap_intervals
from speechbrain_dino.metadata import trial_conditions
from speechbrain_dino.scoring import summarise
from speechbrain_dino.trials import trial_rows

logger = logging.getLogger(__name__)


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
        ``speechbrain_dino.metadata.describe``. Without it there are neither conditions
        nor intervals.
    bootstrap : int
        How often to draw speakers for the intervals; 0 for none. Where the speakers
        of ``about`` contradict a list's labels, that list gets none, with a warning.

    Raises
    ------
    ValueError
        If a trial names an unknown utterance, or ``bootstrap`` is no number of draws.

    Example
    -------
    >>> from speechbrain_dino.embedding_table import EmbeddingTable
    >>> from speechbrain_dino.metadata import describe
    >>> from speechbrain_dino.trials import Trials
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
            See ``speechbrain_dino.scoring.summarise``, and ``intervals``: figure ->
            [low, high], which holds 95 % of the draws.
        conditions : list of dict
            See `by_condition`.

        Raises
        ------
        ValueError
            If one kind of trial is missing or a score is not finite.
        """
        labels = self.lists[name].labels
        figures = summarise(labels, scores, calibrated)
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
