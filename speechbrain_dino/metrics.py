"""Figures of merit: error rates of verification, and label-free ones.

A trial is accepted when its score is greater than the threshold, as in
SpeechBrain's ``SpeakerRecognition``."""

import numpy as np
import torch


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
    thresholds, miss, false_alarm = operating_points(target_scores, nontarget_scores)
    gap = miss - false_alarm
    # gap rises from -1 to 1: the first point that is not negative, and the one before.
    after = int(np.searchsorted(gap, 0.0))
    before = after - 1
    share = -gap[before] / (gap[after] - gap[before])
    rate = miss[before] + share * (miss[after] - miss[before])
    nearest = after if gap[after] <= -gap[before] else before
    return float(rate), float(thresholds[nearest])


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
    if not (0 < p_target < 1 and c_miss > 0 and c_fa > 0):
        raise ValueError(
            "min_dcf needs 0 < p_target < 1 and positive costs, was given "
            f"p_target={p_target}, c_miss={c_miss}, c_fa={c_fa}"
        )
    thresholds, miss, false_alarm = operating_points(target_scores, nontarget_scores)
    weight_miss, weight_fa = c_miss * p_target, c_fa * (1 - p_target)
    cost = weight_miss * miss + weight_fa * false_alarm
    best = int(np.argmin(cost))
    return float(cost[best] / min(weight_miss, weight_fa)), float(thresholds[best])


def operating_points(target_scores, nontarget_scores):
    """All distinct decisions that a threshold can make on these scores.

    Arguments
    ---------
    target_scores : array or torch.Tensor, shape (P,)
        Scores of the trials of one speaker.
    nontarget_scores : array or torch.Tensor, shape (Q,)
        Scores of the trials of two speakers.

    Returns
    -------
    thresholds : numpy.ndarray, shape (R,)
        Rising; a value between two neighbouring scores, so that a last bit of
        difference in a score does not change the decision.
    miss : numpy.ndarray, shape (R,)
        Share of targets not greater than the threshold, from 0 to 1.
    false_alarm : numpy.ndarray, shape (R,)
        Share of non-targets greater than the threshold, from 1 to 0.

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
    targets = _sorted(target_scores, "target")
    nontargets = _sorted(nontarget_scores, "non-target")
    # A stable sort merges two sorted halves; np.unique would sort anew, much slower.
    values = np.sort(np.concatenate([targets, nontargets]), kind="stable")
    values = values[np.append(True, values[1:] > values[:-1])]
    miss = np.searchsorted(targets, values, side="right") / len(targets)
    accepted = len(nontargets) - np.searchsorted(nontargets, values, side="right")
    false_alarm = accepted / len(nontargets)
    middle = values[:-1] / 2 + values[1:] / 2
    # Between neighbouring floats the middle rounds to one of them: take the lower.
    middle = np.where(middle < values[1:], middle, values[:-1])
    below = np.nextafter(values[0], -np.inf)
    thresholds = np.concatenate([[below], middle, values[-1:]])
    return thresholds, np.append(0.0, miss), np.append(1.0, false_alarm)


def _sorted(scores, side):
    scores = np.asarray(scores, dtype=np.float64).ravel()
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
    return np.sort(scores)


def effective_rank(embeddings):
    """Number of directions that the embeddings use.

    The exponential of the entropy of the singular values of the mean-free
    embeddings, normalised to sum 1 (Roy and Vetterli, 2007): D where all
    directions vary alike, 1 where only one does.

    Arguments
    ---------
    embeddings : array or torch.Tensor, shape (N, D)
        One embedding a row, at least two.

    Returns
    -------
    float
        From 1 to min(N - 1, D); 0 where all embeddings are equal.

    Raises
    ------
    ValueError
        If there are fewer than two embeddings or a value is not finite.

    Example
    -------
    >>> round(effective_rank([[1.0, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0]]), 6)
    2.0
    """
    matrix = _embeddings(embeddings, "embeddings").double()
    centred = matrix - matrix.mean(dim=0)
    # What the subtraction leaves of equal rows is rounding, not a direction.
    if centred.norm() <= 1e-12 * matrix.norm():
        return 0.0
    values = torch.linalg.svdvals(centred)
    share = values / values.sum()
    return float(torch.special.entr(share).sum().exp())


def neighbour_agreement(first, second, k=1):
    """Share of utterances that find themselves again under another augmentation.

    Needs no labels: 1 where each utterance's embedding is nearest (cosine) to that
    of its own other version, about k/N where embeddings say nothing, and 0 where
    all are equal, since an equally near stranger counts against the utterance.

    Arguments
    ---------
    first : array or torch.Tensor, shape (N, D)
        Embeddings of N utterances, at least two.
    second : array or torch.Tensor, shape (N, D)
        Embeddings of other versions of the same utterances in the same order.
    k : int
        How many nearest neighbours in ``second`` may hold the utterance.

    Returns
    -------
    float
        In 0..1.

    Raises
    ------
    ValueError
        If shapes differ, there are fewer than two utterances, or a value is not
        finite.

    Example
    -------
    >>> neighbour_agreement([[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [1.0, -1.0]])
    0.5
    """
    first, second = _embeddings(first, "first"), _embeddings(second, "second")
    if first.shape != second.shape:
        raise ValueError(
            "neighbour_agreement needs two versions of the same utterances, was given "
            f"shapes {tuple(first.shape)} and {tuple(second.shape)}"
        )
    first = torch.nn.functional.normalize(first.float(), dim=1)
    second = torch.nn.functional.normalize(second.float(), dim=1)
    found, block = 0, max(1, 4_000_000 // len(second))
    for start in range(0, len(first), block):
        scores = first[start : start + block] @ second.T
        own = scores.diagonal(offset=start).unsqueeze(1)
        found += int(((scores >= own).sum(dim=1) <= k).sum())
    return found / len(first)


def _embeddings(values, name):
    values = torch.as_tensor(values)
    if values.ndim != 2 or len(values) < 2:
        raise ValueError(
            f"{name} must be a matrix of at least two embeddings (N, D), was given "
            f"shape {tuple(values.shape)}"
        )
    bad = len(values) - int(torch.isfinite(values).all(dim=1).sum())
    if bad:
        raise ValueError(f"{bad} of {len(values)} rows of {name} are not finite")
    return values
