"""Symmetric score normalization."""

import numpy as np
import torch

from speechbrain_dino.scoring.pairs import BLOCK, compact


def symmetric_norm(scores, enrol, test, against_cohort, cohort_size, top_n=None):
    """Normalizes scores by each side's scores against a cohort, float32 (M,).

    ``((s - mean_e) / std_e + (s - mean_t) / std_t) / 2`` with the mean and the
    (unbiased) standard deviation of the ``top_n`` highest cohort scores of each side.
    Every utterance meets the cohort once, in blocks, however many trials it has.
    Raises ValueError if the cohort or ``top_n`` is below two, or an utterance's cohort
    scores do not vary.

    Arguments
    ---------
    scores, enrol, test : array, shape (M,)
        Scores of the trials and numbers of their utterances.
    against_cohort : callable
        Maps utterance numbers (B,) to a torch.Tensor of scores (B, cohort_size).
    top_n : int, optional
        AS-norm; the whole cohort if not given or larger (S-norm).
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
