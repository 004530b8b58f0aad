"""Cohorts: mean subtraction, averages by speaker, symmetric score normalization."""

import numpy as np
import torch

from speechbrain_dino.scoring.pairs import BLOCK, compact


def symmetric_norm(scores, enrol, test, against_cohort, cohort_size, top_n=None):
    """Normalizes scores by each side's scores against a cohort (S-norm, AS-norm).

    ``((s - mean_e) / std_e + (s - mean_t) / std_t) / 2`` with the mean and the
    (unbiased) standard deviation of the ``top_n`` highest cohort scores of each side.
    Every utterance meets the cohort once, in blocks, no matter in how many trials it
    takes part.

    Arguments
    ---------
    scores : array, shape (M,)
        Scores of the trials.
    enrol : array, shape (M,)
        Numbers of the enrollment utterances.
    test : array, shape (M,)
        Numbers of the test utterances.
    against_cohort : callable
        Maps utterance numbers (B,) to a torch.Tensor of scores (B, cohort_size).
    cohort_size : int
        Number of cohort embeddings, at least two.
    top_n : int, optional
        How many of the nearest cohort embeddings give the statistics, at least two
        (AS-norm); the whole cohort if not given or larger than it (S-norm).

    Returns
    -------
    numpy.ndarray, shape (M,)
        float32.

    Raises
    ------
    ValueError
        If the cohort or ``top_n`` is smaller than two, or the cohort scores of an
        utterance do not vary.
    """
    top_n = cohort_size if top_n is None else min(top_n, cohort_size)
    if top_n < 2:
        raise ValueError(
            "score normalization needs top_n >= 2 and a cohort of at least two "
            f"embeddings, was given a cohort of {cohort_size} and uses {top_n} of it"
        )
    used, (enrol, test) = compact(enrol, test)
    mean, std = torch.empty(len(used)), torch.empty(len(used))
    block = max(1, BLOCK // cohort_size)
    for start in range(0, len(used), block):
        part = slice(start, start + block)
        nearest = against_cohort(used[part])
        if top_n < cohort_size:
            nearest = nearest.topk(top_n, dim=1, sorted=False).values
        std[part], mean[part] = torch.std_mean(nearest, dim=1)
    constant = int((std < 1e-6).sum())
    if constant:
        raise ValueError(
            f"{constant} of {len(used)} utterances score equally against all of "
            f"their {top_n} nearest cohort embeddings: the cohort holds copies of one "
            "embedding; take different utterances or speakers"
        )
    mean, std, scores = mean.numpy(), std.numpy(), np.asarray(scores, dtype=np.float32)
    by_enrol = (scores - mean[enrol]) / std[enrol]
    by_test = (scores - mean[test]) / std[test]
    return (by_enrol + by_test) / 2
