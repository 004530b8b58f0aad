"""LDA, trained on speaker labels or pseudo labels; the arithmetic is scikit-learn's."""

import warnings
from typing import NamedTuple

import numpy as np
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from speechbrain_dino.scoring.pairs import unit_rows


class LDA(NamedTuple):
    """A projection onto the directions that tell speakers apart."""

    mean: np.ndarray
    """(D,): mean of the training embeddings."""
    matrix: np.ndarray
    """(D, dim): the directions, best first."""

    def __call__(self, embeddings):
        """Centers, projects (N, D) to float32 (N, dim), and scales rows to length 1."""
        matrix = self.matrix.astype(np.float32)
        shift = (self.mean @ self.matrix).astype(np.float32)
        projected = np.asarray(embeddings, dtype=np.float32) @ matrix - shift
        return unit_rows(projected, name="the LDA's projections")


def fit_lda(embeddings, labels, dim=150):
    """Fits the LDA whose rows serve ``cosine_scores``, ``as_norm`` and ``fit_plda``.

    Embeddings are (N, D), labels (N,) speakers or pseudo speakers. Raises ValueError if
    ``dim``, the number of directions, exceeds D or the number of speakers less one, or
    the embeddings do not vary in every dimension within speakers.

    Example
    -------
    >>> embeddings = [[0, 1], [1, -1], [1, 1], [5, 1], [6, -1], [6, 1]]
    >>> lda = fit_lda(embeddings, ["a", "a", "a", "b", "b", "b"], dim=1)
    >>> first, other = lda([[0.0, 9.0], [9.0, 9.0]])
    >>> float(first[0] * other[0])
    -1.0
    """
    embeddings = np.asarray(embeddings)
    speakers = check_labels(embeddings, labels)
    largest = min(embeddings.shape[1], len(speakers) - 1)
    if not 1 <= dim <= largest:
        raise ValueError(
            f"dim={dim} is out of range: {len(speakers)} speakers and embeddings of "
            f"{embeddings.shape[1]} dimensions allow 1 to {largest}"
        )
    analysis = LinearDiscriminantAnalysis(solver="eigen", n_components=dim)
    try:
        with warnings.catch_warnings():
            # Of a speaker with one utterance only the mean is learned from.
            warnings.filterwarnings("ignore", "Only one sample available")
            analysis.fit(embeddings.astype(np.float64), labels)
    except np.linalg.LinAlgError as error:
        raise ValueError(
            f"LDA of {len(embeddings)} embeddings of {embeddings.shape[1]} dimensions "
            "failed: they do not vary in every dimension within speakers; give more "
            "utterances per speaker"
        ) from error
    mean = embeddings.mean(axis=0, dtype=np.float64)
    return LDA(mean, analysis.scalings_[:, :dim])


def check_labels(embeddings, labels):
    """Returns the distinct labels (S,) of embeddings (N, D).

    Raises ValueError if there is not a label per row, there are fewer than two
    speakers, or none has two utterances.
    """
    speakers = np.unique(labels)
    if len(labels) != len(embeddings) or not 2 <= len(speakers) < len(labels):
        raise ValueError(
            f"{len(labels)} labels of {len(speakers)} speakers for {len(embeddings)} "
            "embeddings: LDA and PLDA need a label per row, at least two speakers and "
            "at least one speaker with two utterances"
        )
    return speakers
