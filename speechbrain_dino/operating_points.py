"""The decisions that a threshold can make on scores, and the best of them."""

from typing import NamedTuple

import numpy as np
from scipy.optimize import isotonic_regression


class OperatingPoints(NamedTuple):
    """All distinct decisions of a threshold; a score greater than it is accepted."""

    thresholds: np.ndarray
    """float64 (R,), rising; a value between two neighbouring scores, so that a last
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
    """Weights of the miss and the false alarm rate in the normalised detection cost.

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
    # A stable sort merges two sorted halves; np.unique would sort anew, much slower.
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
    # Between neighbouring floats the middle rounds to one of them: take the lower.
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
