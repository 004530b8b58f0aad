"""Scores of trials and their figures."""

import numpy as np

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
    """Cosine of the angle between the two embeddings of each trial.

    Arguments
    ---------
    embeddings : array or torch.Tensor, shape (N, D)
        One embedding a row.
    enrol : array, shape (M,)
        Row numbers of the enrollment utterances.
    test : array, shape (M,)
        Row numbers of the test utterances.

    Returns
    -------
    numpy.ndarray, shape (M,)
        float32 scores in -1..1.

    Raises
    ------
    ValueError
        If an embedding of a trial is zero or not finite.

    Example
    -------
    >>> print(cosine_scores([[1.0, 0.0], [3.0, 4.0]], [0, 1], [1, 1]))
    [0.6 1. ]
    """
    used, (enrol, test) = compact(enrol, test)
    unit = unit_rows(embeddings, used, "embeddings")
    return row_products(unit, unit, enrol, test)


def as_norm(embeddings, cohort, enrol, test, top_n=300):
    """Cosine scores after adaptive symmetric score normalization (AS-norm).

    Each side of a trial is normalized by the mean and the (unbiased) standard
    deviation of its ``top_n`` highest cosines with the cohort; the score is the
    mean of the two. Every utterance meets the cohort once, in matrix products, no
    matter in how many trials it takes part. The cohort's rows may be utterances, or
    speakers: ``speechbrain_dino.embeddings.by_label.average_by_label``.

    Arguments
    ---------
    embeddings : array or torch.Tensor, shape (N, D)
        One embedding a row.
    cohort : array or torch.Tensor, shape (C, D)
        Embeddings of speakers who take no part in the trials, at least two.
    enrol : array, shape (M,)
        Row numbers of the enrollment utterances in ``embeddings``.
    test : array, shape (M,)
        Row numbers of the test utterances in ``embeddings``.
    top_n : int or None
        How many of the nearest cohort embeddings give the statistics, at least two;
        None, or a number larger than the cohort, for all of them (S-norm).

    Returns
    -------
    numpy.ndarray, shape (M,)
        float32 scores.

    Raises
    ------
    ValueError
        If an embedding of a trial or of the cohort is zero or not finite, the cohort
        or ``top_n`` is smaller than two, or the cohort scores of an utterance do not
        vary.

    Example
    -------
    >>> cohort = [[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]
    >>> print(as_norm([[1.0, 0.0], [3.0, 4.0]], cohort, [0], [1]).round(3))
    [0.52]
    """
    used, (enrol, test) = compact(enrol, test)
    unit = unit_rows(embeddings, used, "embeddings")
    cohort = unit_rows(cohort, slice(None), "cohort")
    return symmetric_norm(
        row_products(unit, unit, enrol, test),
        enrol,
        test,
        lambda rows: unit[rows] @ cohort.T,
        len(cohort),
        top_n,
    )


def summarize(labels, scores, calibrated=False):
    """The figures of one scored trial list.

    Arguments
    ---------
    labels : array, shape (M,)
        1 for trials of one speaker, 0 for trials of two.
    scores : array, shape (M,)
        Higher means more alike.
    calibrated : bool
        Whether the scores are log-likelihood ratios.

    Returns
    -------
    dict
        ``eer``, ``eer_threshold``, ``min_dcf_0.01``, ``min_dcf_0.01_threshold``,
        ``min_dcf_0.05``, ``min_dcf_0.05_threshold``, ``min_cllr``, ``trials``,
        ``targets``, and of calibrated scores also ``act_dcf_0.01``, ``act_dcf_0.05``,
        ``cllr``; plain Python numbers, fit for JSON and for checkpoint meta data.

    Raises
    ------
    ValueError
        If one kind of trial is missing or a score is not finite.

    Example
    -------
    >>> summarize([1, 0, 0], [0.9, 0.1, 0.3])["eer_threshold"]
    0.6
    """
    scores, is_target = np.asarray(scores), np.asarray(labels) == 1
    targets, nontargets = scores[is_target], scores[~is_target]
    points = operating_points(targets, nontargets)
    figures = {}
    figures["eer"], figures["eer_threshold"] = points.eer()
    for p in (0.01, 0.05):
        cost, threshold = points.min_dcf(p)
        figures[f"min_dcf_{p}"] = cost
        figures[f"min_dcf_{p}_threshold"] = threshold
        if calibrated:
            figures[f"act_dcf_{p}"] = act_dcf(targets, nontargets, p)
    figures["min_cllr"] = points.min_cllr()
    if calibrated:
        figures["cllr"] = cllr(targets, nontargets)
    figures["trials"], figures["targets"] = len(scores), int(is_target.sum())
    return figures


def score_trial_list(table, trials, scorer=cosine_scores):
    """Scores a trial list.

    Arguments
    ---------
    table : speechbrain_dino.embeddings.table.EmbeddingTable
        Embeddings of all utterances that the trials name.
    trials : Trials
        The trial list.
    scorer : callable
        Maps embeddings (N, D) and the row numbers (M,) of both sides to scores (M,).

    Returns
    -------
    figures : dict
        See ``summarize``; only ``trials`` where the list has no labels.
    scores : numpy.ndarray, shape (M,)
        In the order of the trials.

    Raises
    ------
    ValueError
        If a trial names an unknown utterance, an embedding or a score is not
        usable, or one kind of trial is missing; the message names the list.
    """
    enrol, test = trial_rows(table, trials)
    try:
        scores = scorer(table.vectors, enrol, test)
        if trials.labels is None:
            return {"trials": len(scores)}, scores
        return summarize(trials.labels, scores), scores
    except ValueError as error:
        raise ValueError(f"{trials.path}: {error}") from error
