"""Metrics of verification scores.

Scores are those of the trials of one speaker (P,) and of two speakers (Q,); ValueError
is raised if there are none or one is not finite. A trial is accepted when its score is
greater than the threshold, as in SpeechBrain's ``SpeakerRecognition``. ``act_dcf`` and
``cllr`` read a score as the natural logarithm of a likelihood ratio, which
``speechbrain_dino.scoring.calibration`` makes; the others depend on its order only.
"""

from typing import NamedTuple

import numpy as np
from scipy.optimize import isotonic_regression

__all__ = ["act_dcf", "cllr", "eer", "min_cllr", "min_dcf", "operating_points"]


def eer(target_scores, nontarget_scores):
    """Equal error rate (0..1), and the threshold that comes closest to equal rates.

    Between the two neighboring operating points at which the sign of (miss rate -
    false alarm rate) changes, the rate is interpolated linearly. Tied scores are one
    step of both rates, so the value is the expectation over a random order of the
    ties. O(N log N).

    Example
    -------
    >>> eer([0.6, 0.7, 0.8, 0.2], [0.4, 0.3, 0.2, 0.1])
    (0.25, 0.35)
    """
    return operating_points(target_scores, nontarget_scores).eer()


def min_dcf(target_scores, nontarget_scores, p_target=0.01, c_miss=1, c_fa=1):
    """Smallest normalized detection cost (0..1), and the lowest threshold for it.

    ``cost = c_miss * miss * p_target + c_fa * false_alarm * (1 - p_target)``,
    divided by the cost of the better of the two systems that do not listen,
    ``min(c_miss * p_target, c_fa * (1 - p_target))``. O(N log N). Raises ValueError at
    a prior outside 0..1 and at costs that are not positive.

    Example
    -------
    >>> min_dcf([0.6, 0.7, 0.8, 0.2], [0.4, 0.3, 0.2, 0.1], p_target=0.5)[0]
    0.25
    """
    cost_weights(p_target, c_miss, c_fa)  # a wrong parameter before the long work
    points = operating_points(target_scores, nontarget_scores)
    return points.min_dcf(p_target, c_miss, c_fa)


def act_dcf(target_scores, nontarget_scores, p_target=0.01, c_miss=1, c_fa=1):
    """Cost of ``min_dcf`` at the threshold that theory gives for the prior.

    The threshold is ``log(c_fa * (1 - p_target) / (c_miss * p_target))``. What the cost
    lies above ``min_dcf`` is lost by calibration; above 1 the scores do harm.

    Example
    -------
    >>> act_dcf([3.0, -1.0], [-2.0, 4.0], p_target=0.5)
    1.0
    """
    weight_miss, weight_fa = cost_weights(p_target, c_miss, c_fa)
    threshold = np.log(weight_fa / weight_miss)
    miss = np.mean(finite_scores(target_scores, "target") <= threshold)
    false_alarm = np.mean(finite_scores(nontarget_scores, "non-target") > threshold)
    return float(weight_miss * miss + weight_fa * false_alarm)


def cllr(target_scores, nontarget_scores):
    """Cost of log-likelihood ratios over all priors, in bits (Bruemmer, 2006).

    The mean of ``log2(1 + exp(-score))`` over targets and of ``log2(1 + exp(score))``
    over non-targets, halved: 0 for a system that is always right and sure, 1 for one
    that carries no information (all scores 0).
    """
    targets = finite_scores(target_scores, "target")
    nontargets = finite_scores(nontarget_scores, "non-target")
    lost = np.mean(np.logaddexp(0, -targets), dtype=np.float64)
    lost += np.mean(np.logaddexp(0, nontargets), dtype=np.float64)
    return float(lost / np.log(4))


def min_cllr(target_scores, nontarget_scores):
    """Cllr (bits, 0..1) after the best rising map, by pooling adjacent violators."""
    return operating_points(target_scores, nontarget_scores).min_cllr()


class OperatingPoints(NamedTuple):
    """All distinct decisions of a threshold; a greater score is accepted."""

    thresholds: np.ndarray
    """float64 (R,), rising; a value between two neighboring scores, so that a last
    bit of difference in a score does not change the decision."""
    miss: np.ndarray
    """float64 (R,): share of targets not greater than the threshold, from 0 to 1."""
    false_alarm: np.ndarray
    """float64 (R,): share of non-targets greater than it, from 1 to 0."""

    def eer(self):
        """See ``metrics.eer``."""
        gap = self.miss - self.false_alarm
        # gap rises from -1 to 1: the first point that is not negative, and the one
        # before.
        after = int(np.searchsorted(gap, 0.0))
        before = after - 1
        share = -gap[before] / (gap[after] - gap[before])
        rate = self.miss[before] + share * (self.miss[after] - self.miss[before])
        nearest = after if gap[after] <= -gap[before] else before
        return float(rate), float(self.thresholds[nearest])

    def min_dcf(self, p_target=0.01, c_miss=1, c_fa=1):
        """See ``metrics.min_dcf``."""
        weight_miss, weight_fa = cost_weights(p_target, c_miss, c_fa)
        cost = weight_miss * self.miss + weight_fa * self.false_alarm
        best = int(np.argmin(cost))
        return float(cost[best]), float(self.thresholds[best])

    def min_cllr(self):
        """See ``metrics.verification.min_cllr``."""
        targets, nontargets = np.diff(self.miss), -np.diff(self.false_alarm)
        mass = targets + nontargets
        # A resampled list may leave a score without a trial.
        present = mass > 0
        targets, nontargets, mass = targets[present], nontargets[present], mass[present]
        pooled = isotonic_regression(targets / mass, weights=mass)
        starts = pooled.blocks[:-1]
        targets = np.add.reduceat(targets, starts)
        nontargets = np.add.reduceat(nontargets, starts)
        return float(_bits(targets, nontargets) + _bits(nontargets, targets)) / 2


def _bits(own, other):
    """Sum of own * log2(1 + other / own), 0 where own is 0."""
    own, other = own[own > 0], other[own > 0]
    return np.sum(own * np.log1p(other / own)) / np.log(2)


def cost_weights(p_target, c_miss, c_fa):
    """Weights of miss and false alarm rate in the cost; the smaller is 1."""
    if not (0 < p_target < 1 and c_miss > 0 and c_fa > 0):
        raise ValueError(
            "a detection cost needs 0 < p_target < 1 and positive costs, was given "
            f"p_target={p_target}, c_miss={c_miss}, c_fa={c_fa}"
        )
    miss, false_alarm = c_miss * p_target, c_fa * (1 - p_target)
    return miss / min(miss, false_alarm), false_alarm / min(miss, false_alarm)


def operating_points(target_scores, nontarget_scores):
    """All `OperatingPoints` of these scores; one sort serves all metrics.

    Example
    -------
    >>> thresholds, miss, false_alarm = operating_points([3.0, 5.0], [1.0, 3.0])
    >>> thresholds.tolist()[1:], miss.tolist(), false_alarm.tolist()
    ([2.0, 4.0, 5.0], [0.0, 0.0, 0.5, 1.0], [1.0, 0.5, 0.0, 0.0])
    """
    targets = np.sort(finite_scores(target_scores, "target"))
    nontargets = np.sort(finite_scores(nontarget_scores, "non-target"))
    # A stable sort merges two sorted halves; np.unique would sort again, much slower.
    values = np.sort(np.concatenate([targets, nontargets]), kind="stable")
    values = values[np.append(True, values[1:] > values[:-1])]
    miss = np.searchsorted(targets, values, side="right") / len(targets)
    accepted = len(nontargets) - np.searchsorted(nontargets, values, side="right")
    false_alarm = accepted / len(nontargets)
    return OperatingPoints(
        between(values), np.append(0.0, miss), np.append(1.0, false_alarm)
    )


def between(values):
    """Thresholds (R + 1,) below, between and at the end of rising scores (R,)."""
    values = np.asarray(values, dtype=np.float64)
    middle = values[:-1] / 2 + values[1:] / 2
    # Between neighboring floats the middle rounds to one of them: take the lower.
    middle = np.where(middle < values[1:], middle, values[:-1])
    below = np.nextafter(values[0], -np.inf)
    return np.concatenate([[below], middle, values[-1:]])


def finite_scores(scores, side):
    """Checked scores (N,), float32 if given so, else float64."""
    scores = np.asarray(scores).ravel()
    if scores.dtype != np.float32:
        scores = scores.astype(np.float64)
    if scores.size == 0:
        raise ValueError(
            f"no {side} scores were given: error rates need at least one trial of "
            "one speaker and one of two speakers; check the labels of the trial list"
        )
    bad = scores.size - int(np.isfinite(scores).sum())
    if bad:
        raise ValueError(
            f"{bad} of {scores.size} {side} scores are NaN or infinite: check the "
            "embeddings that they come from"
        )
    return scores
