"""PLDA back-end, trained on speaker labels or pseudo labels.

The model of ``speechbrain.processing.PLDA_LDA`` (simplified PLDA: Garcia-Romero and
Espy-Wilson, Interspeech 2011) with speakers of full rank; parameters and scores are the
same. SpeechBrain's does not scale to VoxCeleb: its sums compare every label with each
speaker, and its scores are a matrix of all enrollment times all test utterances, up to
150 GB at VoxCeleb1-H's size.
"""

from typing import NamedTuple

import numpy as np
import torch
from scipy.linalg import eigh

from speechbrain_dino.embeddings.by_label import sum_by_label
from speechbrain_dino.scoring.lda import check_labels
from speechbrain_dino.scoring.pairs import compact, row_products
from speechbrain_dino.scoring.score_norm import symmetric_norm


class PLDA(NamedTuple):
    """Gaussian speakers and Gaussian utterances around them."""

    mean: np.ndarray
    """(D,): mean of the embeddings."""
    between: np.ndarray
    """(D, D): covariance of speakers."""
    within: np.ndarray
    """(D, D): covariance of a speaker's utterances."""

    def scores(self, embeddings, enrol, test):
        """Natural log-likelihood ratios of one speaker against two, float32 (M,).

        ``enrol`` and ``test`` (M,) are rows of ``embeddings`` (N, D), which are treated
        as those of the training.
        """
        used, (enrol, test) = compact(enrol, test)
        left, right, own = self.sides(np.asarray(embeddings)[used])
        own = own.numpy()
        return row_products(left, right, enrol, test) + own[enrol] + own[test]

    def as_norm(self, embeddings, cohort, enrol, test, top_n=300):
        """Scores after adaptive S-norm, float32 (M,); see ``cosine.as_norm``."""
        used, (enrol, test) = compact(enrol, test)
        left, right, own = self.sides(np.asarray(embeddings)[used])
        _, cohort, cohort_own = self.sides(np.asarray(cohort))
        scores = row_products(left, right, enrol, test)
        scores += own.numpy()[enrol] + own.numpy()[test]
        return symmetric_norm(
            scores,
            enrol,
            test,
            lambda rows: left[rows] @ cohort.T + own[rows, None] + cohort_own,
            len(cohort),
            top_n,
        )

    def sides(self, vectors):
        """Tensors (N, D), (N, D), (N,): factors, and what a side adds to a score."""
        # Of the pair's joint covariance [[total, between], [between, total]] only its
        # values in the directions of diagonalize matter, where it is diagonal.
        spread, directions = diagonalize(self.between, self.within)
        x = (np.asarray(vectors, dtype=np.float64) - self.mean) @ directions
        total = 1 + spread
        joint = total**2 - spread**2
        cross = spread / joint
        own = 0.5 * (x**2 @ (1 / total - total / joint))
        # Half of the constant to each side.
        own += 0.25 * np.sum(2 * np.log(total) - np.log(joint))
        sides = (x * cross, x, own)
        return [torch.from_numpy(side.astype(np.float32)) for side in sides]


def fit_plda(embeddings, labels, iterations=20):
    """Fits a PLDA by expectation maximization, which starts at the data's moments.

    Embeddings are (N, D), best length-normalized as ``LDA`` gives them: closer to
    Gaussian; labels (N,) speakers or pseudo speakers. Raises ValueError if there are
    fewer than two speakers, none has two utterances, or the embeddings do not vary in
    every dimension within speakers.

    Example
    -------
    >>> embeddings = [[0.0], [0.2], [3.0], [3.2], [-3.0], [-3.2]]
    >>> plda = fit_plda(embeddings, ["a", "a", "b", "b", "c", "c"])
    >>> same, other = plda.scores(embeddings, [0, 0], [1, 2])
    >>> bool(same > 0 > other)
    True
    """
    embeddings = np.asarray(embeddings)
    check_labels(embeddings, labels)
    mean = embeddings.mean(axis=0, dtype=np.float64)
    sums, _, counts = sum_by_label(embeddings, labels)
    sums -= counts[:, None] * mean
    scatter = _scatter(embeddings, mean)
    by_speaker = (sums / counts[:, None]).T @ sums
    within = (scatter - by_speaker) / (len(embeddings) - len(counts))
    between = (sums / counts[:, None]).T @ (sums / counts[:, None]) / len(counts)
    for _ in range(iterations):
        between, within = _em_step(between, within, scatter, sums, counts)
    return PLDA(mean, between, within)


def _em_step(between, within, scatter, sums, counts):
    """One step of EM, with the speakers' means as hidden variables."""
    # In the basis that makes within the identity and between diagonal, the posterior
    # of every speaker's mean is diagonal too, however many utterances there are.
    spread, basis = diagonalize(between, within)
    n = counts[:, None]
    means = (sums @ basis) * spread / (1 + n * spread)
    variances = spread / (1 + n * spread)
    second = (means * n).T @ means + np.diag((n * variances).sum(axis=0))
    cross = means.T @ (sums @ basis)
    rest = basis.T @ scatter @ basis - cross - cross.T + second
    speakers = means.T @ means + np.diag(variances.sum(axis=0))
    back = within @ basis  # the inverse of basis.T
    between = back @ (speakers / len(counts)) @ back.T
    return between, back @ (rest / counts.sum()) @ back.T


def diagonalize(between, within):
    """Spread and basis in which ``within`` is the identity and ``between`` diagonal."""
    try:
        spread, basis = eigh(between, within)
    except np.linalg.LinAlgError as error:
        raise ValueError(
            "PLDA failed: the embeddings do not vary in every dimension within "
            "speakers; reduce the dimension with fit_lda, or give more utterances per "
            "speaker"
        ) from error
    return np.maximum(spread, 0), basis


def _scatter(embeddings, mean):
    """Sum of the outer products of the centered rows, in double precision."""
    scatter = np.zeros((len(mean), len(mean)))
    for start in range(0, len(embeddings), 20_000):
        centered = embeddings[start : start + 20_000] - mean
        scatter += centered.T @ centered
    return scatter
