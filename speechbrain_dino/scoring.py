"""Scores of trials and their figures."""

import numpy as np
import torch

from speechbrain_dino.metrics import eer, min_dcf
from speechbrain_dino.trials import Trials, read_trials, trial_rows, write_scores

__all__ = [
    "Trials",
    "as_norm",
    "cosine_scores",
    "read_trials",
    "score_trial_list",
    "summarise",
    "write_scores",
]

# Floats in one intermediate matrix: small enough to stay in cache-sized pieces
# and below the size at which the C library hands memory back after every use.
_BLOCK = 4_000_000


def cosine_scores(embeddings, enrol, test):
    """Cosine of the angle between the two embeddings of each trial.

    Arguments
    ---------
    embeddings : array or torch.Tensor, shape (N, D)
        One embedding a row.
    enrol : array, shape (M,)
        Row numbers of the enrolment utterances.
    test : array, shape (M,)
        Row numbers of the test utterances.

    Returns
    -------
    numpy.ndarray, shape (M,)
        float32 scores in -1..1.

    Raises
    ------
    ValueError
        If an embedding is zero or not finite.

    Example
    -------
    >>> print(cosine_scores([[1.0, 0.0], [3.0, 4.0]], [0, 1], [1, 1]))
    [0.6 1. ]
    """
    return _row_products(_unit_rows(embeddings, "embeddings"), enrol, test)


def as_norm(embeddings, cohort, enrol, test, top_n=300):
    """Cosine scores after adaptive symmetric score normalisation (AS-norm).

    Each side of a trial is normalised by the mean and the (unbiased) standard
    deviation of its ``top_n`` highest cosines with the cohort; the score is the
    mean of the two. Every utterance meets the cohort once, in matrix products, no
    matter in how many trials it takes part. A ``top_n`` of the cohort's size or
    more uses the whole cohort (S-norm).

    Arguments
    ---------
    embeddings : array or torch.Tensor, shape (N, D)
        One embedding a row.
    cohort : array or torch.Tensor, shape (C, D)
        Embeddings of speakers who take no part in the trials, at least two.
    enrol : array, shape (M,)
        Row numbers of the enrolment utterances in ``embeddings``.
    test : array, shape (M,)
        Row numbers of the test utterances in ``embeddings``.
    top_n : int
        How many of the nearest cohort embeddings give the statistics, at least two.

    Returns
    -------
    numpy.ndarray, shape (M,)
        float32 scores.

    Raises
    ------
    ValueError
        If an embedding is zero or not finite, the cohort or ``top_n`` is smaller
        than two, or the cohort scores of an utterance do not vary.

    Example
    -------
    >>> cohort = [[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]
    >>> print(as_norm([[1.0, 0.0], [3.0, 4.0]], cohort, [0], [1]).round(3))
    [0.52]
    """
    unit = _unit_rows(embeddings, "embeddings")
    cohort = _unit_rows(cohort, "cohort")
    top_n = min(top_n, len(cohort))
    if top_n < 2:
        raise ValueError(
            "as_norm needs top_n >= 2 and a cohort of at least two embeddings, was "
            f"given a cohort of {len(cohort)} and uses {top_n} of it"
        )
    enrol, test = np.asarray(enrol), np.asarray(test)
    used = np.unique(np.concatenate([enrol, test]))
    mean = torch.full((len(unit),), torch.nan)
    std = torch.full((len(unit),), torch.nan)
    block = max(1, _BLOCK // len(cohort))
    for start in range(0, len(used), block):
        rows = torch.from_numpy(used[start : start + block])
        nearest = (unit[rows] @ cohort.T).topk(top_n, dim=1, sorted=False).values
        std[rows], mean[rows] = torch.std_mean(nearest, dim=1)
    constant = int((std < 1e-6).sum())
    if constant:
        raise ValueError(
            f"{constant} of {len(used)} utterances score equally against all of "
            f"their {top_n} nearest cohort embeddings: the cohort holds copies of one "
            "embedding; take different utterances or speakers"
        )
    scores = _row_products(unit, enrol, test)
    mean, std = mean.numpy(), std.numpy()
    by_enrol = (scores - mean[enrol]) / std[enrol]
    by_test = (scores - mean[test]) / std[test]
    return (by_enrol + by_test) / 2


def _unit_rows(vectors, name):
    """float32 tensor of the rows scaled to length 1."""
    vectors = np.asarray(vectors, dtype=np.float32)
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    bad = np.flatnonzero(~(np.isfinite(length) & (length > 0)))
    if len(bad):
        raise ValueError(
            f"{len(bad)} of {len(vectors)} rows of {name} are zero or not finite "
            f"(first: row {bad[0]}), their cosine is not defined"
        )
    return torch.from_numpy(vectors / length)


def _row_products(unit, enrol, test):
    enrol, test = torch.as_tensor(enrol), torch.as_tensor(test)
    block = max(1, _BLOCK // unit.shape[1])
    parts = [
        (unit[left] * unit[right]).sum(dim=1)
        for left, right in zip(enrol.split(block), test.split(block))
    ]
    return torch.cat(parts).numpy()


def summarise(labels, scores):
    """The figures of one scored trial list.

    Arguments
    ---------
    labels : array, shape (M,)
        1 for trials of one speaker, 0 for trials of two.
    scores : array, shape (M,)
        Higher means more alike.

    Returns
    -------
    dict
        ``eer``, ``eer_threshold``, ``min_dcf_0.01``, ``min_dcf_0.01_threshold``,
        ``min_dcf_0.05``, ``min_dcf_0.05_threshold``, ``trials``, ``targets``; plain
        Python numbers, fit for JSON and for checkpoint meta data.

    Raises
    ------
    ValueError
        If one kind of trial is missing or a score is not finite.

    Example
    -------
    >>> summarise([1, 0, 0], [0.9, 0.1, 0.3])["eer_threshold"]
    0.6
    """
    scores, is_target = np.asarray(scores), np.asarray(labels) == 1
    targets, nontargets = scores[is_target], scores[~is_target]
    figures = {}
    figures["eer"], figures["eer_threshold"] = eer(targets, nontargets)
    for p in (0.01, 0.05):
        cost, threshold = min_dcf(targets, nontargets, p_target=p)
        figures[f"min_dcf_{p}"] = cost
        figures[f"min_dcf_{p}_threshold"] = threshold
    figures["trials"], figures["targets"] = len(scores), int(is_target.sum())
    return figures


def score_trial_list(table, trials):
    """Scores a trial list with cosine.

    Arguments
    ---------
    table : speechbrain_dino.embeddings.EmbeddingTable
        Embeddings of all utterances that the trials name.
    trials : Trials
        The trial list.

    Returns
    -------
    figures : dict
        See ``summarise``.
    scores : numpy.ndarray, shape (M,)
        float32, in the order of the trials.

    Raises
    ------
    ValueError
        If a trial names an unknown utterance, an embedding or a score is not
        usable, or one kind of trial is missing; the message names the list.
    """
    enrol, test = trial_rows(table, trials)
    try:
        scores = cosine_scores(table.vectors, enrol, test)
        return summarise(trials.labels, scores), scores
    except ValueError as error:
        raise ValueError(f"{trials.path}: {error}") from error
