"""Figures of merit of verification scores.

A trial is accepted when its score is greater than the threshold, as in
SpeechBrain's ``SpeakerRecognition``. ``eer``, ``min_dcf`` and ``min_cllr`` ask for the
order of the scores only; ``act_dcf`` and ``cllr`` read a score as the natural logarithm
of a likelihood ratio, which ``speechbrain_dino.calibration`` makes of it."""

import numpy as np

from speechbrain_dino.operating_points import (
    cost_weights,
    finite_scores,
    operating_points,
)

__all__ = ["act_dcf", "cllr", "eer", "min_cllr", "min_dcf", "operating_points"]


def eer(target_scores, nontarget_scores):
    """Equal error rate: where misses and false alarms are equally frequent.

    The operating points are all distinct decisions that a threshold can make.
    Where no point has both rates equal, the rate is interpolated linearly
    between the two neighbouring points at which the sign of (miss rate - false
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
    """Smallest normalised detection cost over all thresholds.

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
    """Normalised detection cost at the threshold that theory gives for the prior.

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
    that says nothing (all scores 0).

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
