"""Calibration of scores, and fusion of several systems' scores."""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
from sklearn.linear_model import LogisticRegression

from speechbrain_dino.data.trials import read_scores
from speechbrain_dino.metrics.verification import finite_scores
from speechbrain_dino.utils.checked_json import read_json
from speechbrain_dino.utils.files import replacing

# Weight of the squared coefficients of standardized scores against the loss per
# trial: too small to matter, but scores without any error get a finite slope.
_RIDGE = 1e-6


class Calibration(NamedTuple):
    """An affine map of the scores of K systems to one log-likelihood ratio."""

    weights: np.ndarray
    """(K,): factor of each system."""
    offset: float
    """Added to the sum."""

    def __call__(self, scores):
        """Maps scores (M,) or (M, K) to natural log-likelihood ratios, float64 (M,).

        Raises ValueError if K is not that of the training.
        """
        columns = _columns(scores)
        if columns.shape[1] != len(self.weights):
            raise ValueError(
                f"a calibration of {len(self.weights)} systems was given scores of "
                f"{columns.shape[1]}"
            )
        return columns @ self.weights + self.offset

    def save(self, path):
        """Writes the calibration as JSON."""
        content = {"weights": list(map(float, self.weights)), "offset": self.offset}
        with replacing(path) as draft:
            Path(draft).write_text(json.dumps(content, indent=2) + "\n", "utf-8")

    @classmethod
    def load(cls, path):
        """Reads what ``save`` wrote; ValueError at anything else."""
        try:
            content = read_json(path)
            weights = np.array(content["weights"], dtype=np.float64)
            return cls(weights.reshape(len(weights)), float(content["offset"]))
        except (ValueError, TypeError, KeyError, OverflowError) as error:
            raise ValueError(f"{path} holds no calibration ({error})") from error


def fit_calibration(scores, labels, p_target=0.01):
    """Learns to map scores to log-likelihood ratios by logistic regression.

    Minimizes ``p_target * mean over targets of log(1 + exp(-(llr + prior)))`` plus
    ``(1 - p_target) * mean over non-targets of log(1 + exp(llr + prior))``, ``prior``
    being the log odds of ``p_target``: the list's share of targets does not matter
    (FoCal; Bruemmer et al., 2007). Learn from another list than the one to be scored.
    Raises ValueError if one kind of trial is missing, a score is not finite, a system's
    scores do not vary, or ``p_target`` is out of range.

    Arguments
    ---------
    scores : array, shape (M,) or (M, K)
        Of one system, or of K systems, which are fused.
    labels : array, shape (M,)
        1: target, 0: non-target.
    p_target : float
        Prior of the costs that matter, between 0 and 1.

    Example
    -------
    >>> calibration = fit_calibration([0.1, 0.6, 0.4, 0.9], [0, 0, 1, 1], p_target=0.5)
    >>> bool(abs(calibration([0.5])[0]) < 1e-5)
    True
    """
    columns, is_target = _columns(scores), np.asarray(labels) == 1
    if len(columns) != len(is_target) or not 0 < p_target < 1:
        raise ValueError(
            "fit_calibration needs one label a trial and 0 < p_target < 1, was given "
            f"{len(columns)} trials, {len(is_target)} labels and p_target={p_target}"
        )
    for side, chosen in (("target", is_target), ("non-target", ~is_target)):
        finite_scores(columns[chosen], side)
    center, scale = columns.mean(axis=0), columns.std(axis=0)
    if not scale.all():
        raise ValueError(
            f"all scores of system {int(np.argmin(scale)) + 1} are equal: they carry "
            "no information, leave it out"
        )
    # The weights of the trials sum to their number.
    trials, targets = len(is_target), is_target.sum()
    share = np.where(is_target, p_target / targets, (1 - p_target) / (trials - targets))
    regression = LogisticRegression(C=1 / (_RIDGE * trials), tol=1e-8, max_iter=1000)
    regression.fit((columns - center) / scale, is_target, sample_weight=share * trials)
    weights = regression.coef_[0] / scale
    prior = np.log(p_target / (1 - p_target))
    offset = regression.intercept_[0] - weights @ center - prior
    return Calibration(weights, float(offset))


def _columns(scores):
    scores = np.asarray(scores, dtype=np.float64)
    return scores[:, None] if scores.ndim == 1 else scores


def read_systems(paths):
    """Reads K systems' score files of one trial list, whose order may differ.

    Returns the first file's trials, with the labels of the first file that has any,
    and scores, float64 (M, K). Raises ValueError, naming file and line, if a file is
    malformed, or two files differ in a trial or its label.
    """
    if not paths:
        raise ValueError("no score file was given: name at least one")
    trials, scores = read_scores(paths[0])
    columns = [scores]
    for path in paths[1:]:
        other, scores = read_scores(path)
        order = _order(trials, other)
        columns.append(scores[order])
        labels = None if other.labels is None else other.labels[order]
        if trials.labels is None:
            trials = trials._replace(labels=labels)
        elif labels is not None and (labels != trials.labels).any():
            line = int(np.argmax(labels != trials.labels))
            raise ValueError(
                f"{trials.path}:{line + 1} and {path}:{order[line] + 1} label the "
                f"trial {trials.enrol[line]} {trials.test[line]} differently"
            )
    return trials, np.stack(columns, axis=1)


def _order(trials, other):
    """For each trial its position in another list of the same trials."""
    if (trials.enrol, trials.test) == (other.enrol, other.test):
        return np.arange(len(trials.enrol))
    # A trial may stand in a list twice: the n-th goes with the n-th.
    orders = [_sorted_rows(listed) for listed in (trials, other)]
    for mine, theirs in zip(*orders):
        pair = trials.enrol[mine], trials.test[mine]
        if pair != (other.enrol[theirs], other.test[theirs]):
            break
    else:
        if len(orders[0]) == len(orders[1]):
            row_of = np.empty(len(orders[0]), dtype=np.int64)
            row_of[orders[0]] = orders[1]
            return row_of
    raise ValueError(_difference(trials, other))


def _sorted_rows(trials):
    pairs = list(zip(trials.enrol, trials.test))
    return sorted(range(len(pairs)), key=pairs.__getitem__)


def _difference(trials, other):
    for one, two in ((trials, other), (other, trials)):
        pairs = set(zip(two.enrol, two.test))
        for line, pair in enumerate(zip(one.enrol, one.test), 1):
            if pair not in pairs:
                return (
                    f"{one.path}:{line}: the trial {' '.join(pair)} is not in "
                    f"{two.path}: give score files of one trial list"
                )
    return (
        f"{trials.path} has {len(trials.enrol)} trials, {other.path} has "
        f"{len(other.enrol)}, with other repetitions: give files of one trial list"
    )
