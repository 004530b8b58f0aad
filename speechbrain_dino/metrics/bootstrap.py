"""Confidence intervals of verification metrics, by redrawing speakers."""

import numpy as np

from speechbrain_dino.metrics.verification import OperatingPoints, between, cost_weights


def bootstrap_intervals(
    labels,
    scores,
    enrol_speakers,
    test_speakers,
    calibrated=False,
    level=0.95,
    replicates=1000,
    seed=0,
):
    """Intervals (low, high) of verification metrics when other speakers are drawn.

    Each replicate draws as many speakers as there are, with replacement. A trial of
    one speaker counts as often as the speaker was drawn, a trial of two speakers as
    often as both were, multiplied. Trials of one speaker depend on each other, so
    that drawing trials would promise too much.

    All arrays are (M,): labels are 1 for trials of one speaker, else 0; speakers are
    names or numbers. Scores that are ``calibrated``, log-likelihood ratios, also get
    ``act_dcf_0.01``, ``act_dcf_0.05`` and ``cllr``. Raises ValueError if a score is not
    finite, one kind of trial is missing, speakers contradict the labels, or the
    probability ``level`` is not between 0 and 1.

    Example
    -------
    >>> labels, scores = [1, 1, 0, 0], [0.9, 0.8, 0.1, 0.3]
    >>> bootstrap_intervals(labels, scores, list("abab"), list("abba"))["eer"]
    (0.0, 0.0)
    """
    labels, scores = np.asarray(labels) == 1, np.asarray(scores, dtype=np.float64)
    speakers, index = np.unique(
        np.concatenate([enrol_speakers, test_speakers]), return_inverse=True
    )
    enrol, test = index.reshape(2, -1)
    _check(labels, scores, enrol, test, level, replicates)
    order = np.argsort(scores, kind="stable")
    trials = _SortedTrials(scores[order], labels[order], enrol[order], test[order])
    rng = np.random.default_rng(seed)
    drawn_metrics = []
    while len(drawn_metrics) < replicates:
        drawn = rng.integers(0, len(speakers), len(speakers))
        drawn_metrics += trials.metrics(np.bincount(drawn, minlength=len(speakers)))
    names = [
        name for name in drawn_metrics[0] if calibrated or not name.startswith(_LLR)
    ]
    tails = [(1 - level) / 2, (1 + level) / 2]
    return {
        name: tuple(np.quantile([draw[name] for draw in drawn_metrics], tails).tolist())
        for name in names
    }


_LLR = ("act_dcf", "cllr")


class _SortedTrials:
    """Trials in the order of their scores, for metrics under many weights."""

    def __init__(self, scores, is_target, enrol, test):
        self.enrol, self.test, self.is_target = enrol, test, is_target
        # Natural logarithms of likelihood ratios, if that is what the scores are.
        self.bits = np.logaddexp(0, np.where(is_target, -scores, scores)) / np.log(4)
        prices = {p: cost_weights(p, 1, 1) for p in (0.01, 0.05)}
        bayes = [np.log(false_alarm / miss) for miss, false_alarm in prices.values()]
        self.ends = _corners(scores, is_target, bayes)
        self.thresholds = between(scores[self.ends])
        places = np.searchsorted(scores[self.ends], bayes, side="right")
        self.bayes = dict(zip(prices, zip(prices.values(), places)))

    def metrics(self, count_of):
        """[metrics] with speaker i count_of[i] times, [] without both kinds."""
        weight = count_of[self.enrol]
        targets = np.where(self.is_target, weight, 0)
        nontargets = np.where(self.is_target, 0, weight * count_of[self.test])
        rejected, misses = np.cumsum(nontargets), np.cumsum(targets)
        if not (misses[-1] and rejected[-1]):
            return []
        miss = np.append(0.0, misses[self.ends] / misses[-1])
        accepted = (rejected[-1] - rejected[self.ends]) / rejected[-1]
        points = OperatingPoints(self.thresholds, miss, np.append(1.0, accepted))
        metrics = {"eer": points.eer()[0]}
        for p, (weights, place) in self.bayes.items():
            metrics[f"min_dcf_{p}"] = points.min_dcf(p)[0]
            rates = points.miss[place], points.false_alarm[place]
            metrics[f"act_dcf_{p}"] = float(np.dot(weights, rates))
        metrics["min_cllr"] = points.min_cllr()
        own = targets @ self.bits / misses[-1] + nontargets @ self.bits / rejected[-1]
        metrics["cllr"] = float(own)
        return [metrics]


def _corners(scores, is_target, thresholds):
    """Trials after which the curve of both error rates may turn, whatever the weights.

    Tied scores are one step of both rates, and steps of one kind follow each other
    along a line, on which no metric has its place but those of given thresholds.
    """
    ends = np.flatnonzero(np.append(scores[1:] > scores[:-1], True))
    targets = np.diff(np.cumsum(is_target)[ends], prepend=0)
    size = np.diff(ends, prepend=-1)
    kind = np.where(targets == 0, 0, np.where(targets == size, 1, 2))
    keep = np.append((kind[1:] != kind[:-1]) | (kind[1:] == 2), True)
    places = np.searchsorted(scores[ends], thresholds, side="right")
    keep[places[places > 0] - 1] = True
    return ends[keep]


def _check(labels, scores, enrol, test, level, replicates):
    if not (len(labels) == len(scores) == len(enrol)):
        raise ValueError(
            f"{len(labels)} labels, {len(scores)} scores and speakers of {len(enrol)} "
            "trials were given: each trial needs one"
        )
    if not (0 < level < 1 and replicates > 0):
        raise ValueError(
            "a bootstrap needs 0 < level < 1 and a positive number of replicates, was "
            f"given level={level}, replicates={replicates}"
        )
    bad = len(scores) - int(np.isfinite(scores).sum())
    if bad or labels.all() or not labels.any():
        raise ValueError(
            "a bootstrap needs finite scores and both kinds of trial, was given "
            f"{labels.sum()} trials of one speaker, {(~labels).sum()} of two, and "
            f"{bad} scores that are NaN or infinite"
        )
    wrong = np.flatnonzero(labels != (enrol == test))
    if len(wrong):
        raise ValueError(
            f"{len(wrong)} of {len(labels)} trials have a label that contradicts their "
            f"speakers (first: trial {wrong[0] + 1}): check where the speakers' names "
            "come from"
        )
