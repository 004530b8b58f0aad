"""Scores of trials and their metrics."""

import numpy as np
import torch

from speechbrain_dino.data.trials import Trials, read_trials, trial_rows, write_scores
from speechbrain_dino.metrics.verification import act_dcf, cllr, operating_points
from speechbrain_dino.scoring.pairs import compact, row_products, unit_rows
from speechbrain_dino.scoring.score_norm import symmetric_norm

__all__ = [
    "Trials",
    "as_norm",
    "cosine_scores",
    "read_trials",
    "score_trial_list",
    "summarize",
    "write_scores",
]


def cosine_scores(embeddings, enrol, test):
    """Cosine of the angle between the two embeddings of each trial, float32 (M,).

    ``enrol`` and ``test`` (M,) are rows of ``embeddings`` (N, D). Raises ValueError if
    an embedding of a trial is zero or not finite.

    Example
    -------
    >>> print(cosine_scores([[1.0, 0.0], [3.0, 4.0]], [0, 1], [1, 1]))
    [0.6 1. ]
    """
    used, (enrol, test) = compact(enrol, test)
    unit = torch.from_numpy(unit_rows(embeddings, used, "embeddings"))
    return row_products(unit, unit, enrol, test)


def as_norm(embeddings, cohort, enrol, test, top_n=300):
    """Cosine scores after adaptive symmetric score normalization, float32 (M,).

    See `symmetric_norm`. Raises ValueError if an embedding of a trial or of the cohort
    is zero or not finite, the cohort or ``top_n`` is below two, or an utterance's
    cohort scores do not vary.

    Arguments
    ---------
    embeddings : array or torch.Tensor, shape (N, D)
    cohort : array or torch.Tensor, shape (C, D)
        Utterances or speakers (``average_by_label``) that take no part in the trials.
    enrol, test : array, shape (M,)
        Rows of ``embeddings``.
    top_n : int or None
        Number of nearest cohort embeddings used; None: all (S-norm).

    Example
    -------
    >>> cohort = [[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]
    >>> print(as_norm([[1.0, 0.0], [3.0, 4.0]], cohort, [0], [1]).round(3))
    [0.52]
    """
    used, (enrol, test) = compact(enrol, test)
    unit = torch.from_numpy(unit_rows(embeddings, used, "embeddings"))
    cohort = torch.from_numpy(unit_rows(cohort, name="cohort"))
    return symmetric_norm(
        row_products(unit, unit, enrol, test),
        enrol,
        test,
        lambda rows: unit[rows] @ cohort.T,
        len(cohort),
        top_n,
    )


def summarize(labels, scores, calibrated=False):
    """Metrics of trials with labels (M,), 1: target, and scores (M,), as plain numbers.

    ``eer``, ``min_dcf_0.01``, ``min_dcf_0.05``, the ``_threshold`` of each,
    ``min_cllr``, ``trials``, ``targets``; of calibrated scores, which are
    log-likelihood ratios, also ``act_dcf_0.01``, ``act_dcf_0.05`` and ``cllr``.
    Raises ValueError if one kind of trial is missing or a score is not finite.

    Example
    -------
    >>> summarize([1, 0, 0], [0.9, 0.1, 0.3])["eer_threshold"]
    0.6
    """
    scores, is_target = np.asarray(scores), np.asarray(labels) == 1
    targets, nontargets = scores[is_target], scores[~is_target]
    points = operating_points(targets, nontargets)
    metrics = {}
    metrics["eer"], metrics["eer_threshold"] = points.eer()
    for p in (0.01, 0.05):
        cost, threshold = points.min_dcf(p)
        metrics[f"min_dcf_{p}"] = cost
        metrics[f"min_dcf_{p}_threshold"] = threshold
        if calibrated:
            metrics[f"act_dcf_{p}"] = act_dcf(targets, nontargets, p)
    metrics["min_cllr"] = points.min_cllr()
    if calibrated:
        metrics["cllr"] = cllr(targets, nontargets)
    metrics["trials"], metrics["targets"] = len(scores), int(is_target.sum())
    return metrics


def score_trial_list(table, trials, scorer=cosine_scores):
    """Scores a trial list; returns what ``summarize`` gives, and the scores (M,).

    A list without labels has ``trials`` alone. ``scorer`` maps embeddings (N, D) and
    the rows (M,) of both sides to scores (M,). Raises ValueError, naming the list, if a
    trial names an utterance that the table lacks, an embedding or a score is not
    usable, or one kind of trial is missing.
    """
    enrol, test = trial_rows(table, trials)
    try:
        scores = scorer(table.vectors, enrol, test)
        if trials.labels is None:
            return {"trials": len(scores)}, scores
        return summarize(trials.labels, scores), scores
    except ValueError as error:
        raise ValueError(f"{trials.path}: {error}") from error
