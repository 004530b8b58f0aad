"""Figures of merit of verification scores.

A trial is accepted when its score is greater than the threshold, as in
SpeechBrain's ``SpeakerRecognition``. ``eer``, ``min_dcf`` and ``min_cllr`` ask for the
order of the scores only; ``act_dcf`` and ``cllr`` read a score as the natural logarithm
of a likelihood ratio, which ``speechbrain_dino.scoring.calibration`` makes of it."""

from typing import NamedTuple

import numpy as np
from scipy.optimize import isotonic_regression

__all__ = ["act_dcf", "cllr", "eer", "min_cllr", "min_dcf", "operating_points"]


def eer(target_scores, nontarget_scores):
    """Equal error rate: where misses and false alarms are equally frequent.

    The operating points are all distinct decisions that a threshold can make.
    Where no point has both rates equal, the rate is interpolated linearly
    between the two neighboring points at which the sign of (miss rate - false
    alarm rate) changes. Tied scores are one step of both rates, so the value is
    the expectation over a random order of the ties. O(N log N).

    Arguments
    ---------
    target_scores : array or torch.Tensor, shape (P,)
        Scores of the trials of one speaker.
    nontarget_scores : array or torch.Tensor, shape (Q,)
        Scores of the trials of two speakers.

    Returns
    -------
    eer : float
        In 0..1.
    threshold : float
        Accept scores greater than this to come closest to equal rates.

    Raises
    ------
    ValueError
        If a side is empty or holds NaN or infinity.

    Example
    -------
    >>> eer([0.6, 0.7, 0.8, 0.2], [0.4, 0.3, 0.2, 0.1])
    (0.25, 0.35)
    """
    return operating_points(target_scores, nontarget_scores).eer()


def min_dcf(target_scores, nontarget_scores, p_target=0.01, c_miss=1, c_fa=1):
    """Smallest normalized detection cost over all thresholds.

    ``cost = c_miss * miss * p_target + c_fa * false_alarm * (1 - p_target)``,
    divided by the cost of the better of the two systems that do not listen,
    ``min(c_miss * p_target, c_fa * (1 - p_target))``. O(N log N).

    Arguments
    ---------
    target_scores : array or torch.Tensor, shape (P,)
        Scores of the trials of one speaker.
    nontarget_scores : array or torch.Tensor, shape (Q,)
        Scores of the trials of two speakers.
    p_target : float
        Prior probability of a trial of one speaker, between 0 and 1.
    c_miss : float
        Cost of a rejected target, positive.
    c_fa : float
        Cost of an accepted non-target, positive.

    Returns
    -------
    min_dcf : float
        In 0..1.
    threshold : float
        Accept scores greater than this to reach it; the lowest where several do.

    Raises
    ------
    ValueError
        If a side is empty or holds NaN or infinity, or a parameter is out of range.

    Example
    -------
    >>> min_dcf([0.6, 0.7, 0.8, 0.2], [0.4, 0.3, 0.2, 0.1], p_target=0.5)[0]
    0.25
    """
    cost_weights(p_target, c_miss, c_fa)  # a wrong parameter before the long work
    points = operating_points(target_scores, nontarget_scores)
    return points.min_dcf(p_target, c_miss, c_fa)


def act_dcf(target_scores, nontarget_scores, p_target=0.01, c_miss=1, c_fa=1):
    """Normalized detection cost at the threshold that theory gives for the prior.

    The threshold is ``log(c_fa * (1 - p_target) / (c_miss * p_target))``; the cost
    that of ``min_dcf``. What it lies above ``min_dcf`` is lost by calibration.

    Arguments
    ---------
    target_scores : array or torch.Tensor, shape (P,)
        Log-likelihood ratios (natural logarithm) of the trials of one speaker.
    nontarget_scores : array or torch.Tensor, shape (Q,)
        Those of the trials of two speakers.
    p_target : float
        Prior probability of a trial of one speaker, between 0 and 1.
    c_miss : float
        Cost of a rejected target, positive.
    c_fa : float
        Cost of an accepted non-target, positive.

    Returns
    -------
    float
        0 or more; above 1 the scores do harm.

    Raises
    ------
    ValueError
        If a side is empty or holds NaN or infinity, or a parameter is out of range.

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

    Arguments
    ---------
    target_scores : array or torch.Tensor, shape (P,)
        Log-likelihood ratios (natural logarithm) of the trials of one speaker.
    nontarget_scores : array or torch.Tensor, shape (Q,)
        Those of the trials of two speakers.

    Returns
    -------
    float
        0 or more.

    Raises
    ------
    ValueError
        If a side is empty or holds NaN or infinity.

    Example
    -------
    >>> cllr([0.0], [0.0])
    1.0
    """
    targets = finite_scores(target_scores, "target")
    nontargets = finite_scores(nontarget_scores, "non-target")
    lost = np.mean(np.logaddexp(0, -targets), dtype=np.float64)
    lost += np.mean(np.logaddexp(0, nontargets), dtype=np.float64)
    return float(lost / np.log(4))


def min_cllr(target_scores, nontarget_scores):
    """Cllr after the best rising map of the scores, by pooling adjacent violators.

    Arguments
    ---------
    target_scores : array or torch.Tensor, shape (P,)
        Scores of the trials of one speaker.
    nontarget_scores : array or torch.Tensor, shape (Q,)
        Scores of the trials of two speakers.

    Returns
    -------
    float
        In 0..1, in bits.

    Raises
    ------
    ValueError
        If a side is empty or holds NaN or infinity.

    Example
    -------
    >>> min_cllr([2.0, 3.0], [0.0, 1.0]), min_cllr([1.0], [1.0])
    (0.0, 1.0)
    """
    return operating_points(target_scores, nontarget_scores).min_cllr()


class OperatingPoints(NamedTuple):
    """All distinct decisions of a threshold; a score greater than it is accepted."""

    thresholds: np.ndarray
    """float64 (R,), rising; a value between two neighboring scores, so that a last
    bit of difference in a score does not change the decision."""
    miss: np.ndarray
    """float64 (R,): share of targets not greater than the threshold, from 0 to 1."""
    false_alarm: np.ndarray
    """float64 (R,): share of non-targets greater than it, from 1 to 0."""

    def eer(self):
        """Equal error rate and its threshold; see ``metrics.eer``."""
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
        """Minimum detection cost and its threshold; see ``metrics.min_dcf``."""
        weight_miss, weight_fa = cost_weights(p_target, c_miss, c_fa)
        cost = weight_miss * self.miss + weight_fa * self.false_alarm
        best = int(np.argmin(cost))
        return float(cost[best]), float(self.thresholds[best])

    def min_cllr(self):
        """Smallest Cllr of any rising map of the scores; see ``metrics.min_cllr``."""
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
    """Weights of the miss and the false alarm rate in the normalized detection cost.

    Arguments
    ---------
    p_target : float
        Prior probability of a trial of one speaker, between 0 and 1.
    c_miss : float
        Cost of a rejected target, positive.
    c_fa : float
        Cost of an accepted non-target, positive.

    Returns
    -------
    weight_miss : float
        At least 1; the smaller of the two weights is 1.
    weight_fa : float
        At least 1.

    Raises
    ------
    ValueError
        If a parameter is out of range.

    Example
    -------
    >>> cost_weights(0.25, 1, 1)
    (1.0, 3.0)
    """
    if not (0 < p_target < 1 and c_miss > 0 and c_fa > 0):
        raise ValueError(
            "a detection cost needs 0 < p_target < 1 and positive costs, was given "
            f"p_target={p_target}, c_miss={c_miss}, c_fa={c_fa}"
        )
    miss, false_alarm = c_miss * p_target, c_fa * (1 - p_target)
    return miss / min(miss, false_alarm), false_alarm / min(miss, false_alarm)


def operating_points(target_scores, nontarget_scores):
    """All distinct decisions that a threshold can make on these scores.

    One sort serves all figures: ``points.eer()``, ``points.min_dcf(0.05)`` ...

    Arguments
    ---------
    target_scores : array or torch.Tensor, shape (P,)
        Scores of the trials of one speaker.
    nontarget_scores : array or torch.Tensor, shape (Q,)
        Scores of the trials of two speakers.

    Returns
    -------
    OperatingPoints
        ``thresholds, miss, false_alarm``.

    Raises
    ------
    ValueError
        If a side is empty or holds NaN or infinity.

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
    """Thresholds that tell rising scores from each other.

    Arguments
    ---------
    values : array, shape (R,)
        Distinct scores, rising.

    Returns
    -------
    numpy.ndarray, shape (R + 1,)
        float64: one below all scores, one between any two, and the last score.

    Example
    -------
    >>> between([1.0, 3.0]).tolist()[1:]
    [2.0, 3.0]
    """
    values = np.asarray(values, dtype=np.float64)
    middle = values[:-1] / 2 + values[1:] / 2
    # Between neighboring floats the middle rounds to one of them: take the lower.
    middle = np.where(middle < values[1:], middle, values[:-1])
    below = np.nextafter(values[0], -np.inf)
    return np.concatenate([[below], middle, values[-1:]])


def finite_scores(scores, side):
    """Scores as floats, checked.

    Arguments
    ---------
    scores : array or torch.Tensor
        Any shape.
    side : str
        "target" or "non-target", for the message.

    Returns
    -------
    numpy.ndarray, shape (N,)
        float32 if they were given so, else float64.

    Raises
    ------
    ValueError
        If there are none or one is NaN or infinite.
    """
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
