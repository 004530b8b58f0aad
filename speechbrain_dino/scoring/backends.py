"""Ways to score trials, as the verification recipe's YAML names them."""

from typing import NamedTuple

import numpy as np

from speechbrain_dino.embeddings.by_label import average_by_label, subtract_mean
from speechbrain_dino.scoring.cosine import cosine_scores
from speechbrain_dino.scoring.lda import fit_lda
from speechbrain_dino.scoring.pairs import unit_rows
from speechbrain_dino.scoring.plda import fit_plda


class Cohort(NamedTuple):
    """Utterances that take no part in the trials, for means and normalization."""

    vectors: np.ndarray
    """Embeddings (C, D)."""
    labels: np.ndarray | None
    """Speaker or pseudo speaker of each (C,); None serves utterances alone."""
    source: str
    """Where they came from, for the report."""

    def members(self, by):
        """Returns members (M, D), float32: utterances, or means of speakers' unit rows.

        Raises ValueError if ``by`` is neither ``utterance`` nor ``speaker``, there are
        no labels, or an embedding is zero.
        """
        if by == "utterance":
            return np.asarray(self.vectors, dtype=np.float32)
        if by != "speaker":
            raise ValueError(f"cohort_by={by!r}: expected 'utterance' or 'speaker'")
        if self.labels is None:
            raise ValueError(
                f"the cohort {self.source} has no labels, so no mean by speaker: name "
                "their column with cohort_label, or take cohort_by: utterance"
            )
        unit = unit_rows(self.vectors, name="cohort")
        return average_by_label(unit, self.labels)[0]


class Cosine:
    """Cosine scores, optionally after mean subtraction and score normalization.

    Arguments
    ---------
    subtract_mean : bool
        Whether to subtract the cohort's mean from all embeddings, its own included.
    normalize : callable, optional
        ``(embeddings, cohort, enrol, test) -> scores``, such as ``as_norm``.
    cohort_by : str
        Members of the cohort for ``normalize``: ``utterance`` or ``speaker``.

    Example
    -------
    >>> print(Cosine()(np.array([[1.0, 0.0], [3.0, 4.0]]), [0], [1], None))
    [0.6]
    """

    def __init__(self, subtract_mean=False, normalize=None, cohort_by="utterance"):
        self.subtract_mean = subtract_mean
        self.normalize = normalize
        self.cohort_by = cohort_by

    calibrated = False
    """Whether scores are log-likelihood ratios."""

    @property
    def needs_labels(self):
        """Whether the cohort's labels are needed."""
        return self.normalize is not None and self.cohort_by == "speaker"

    @property
    def needs_cohort(self):
        """Whether scores depend on a cohort."""
        return self.subtract_mean or self.normalize is not None

    def __call__(self, vectors, enrol, test, cohort):
        """Scores (M,), float32, of rows of vectors (N, D); see ``needs_cohort``."""
        if self.subtract_mean:
            vectors = subtract_mean(vectors, cohort.vectors)
            centered = subtract_mean(cohort.vectors, cohort.vectors)
            cohort = cohort._replace(vectors=centered)
        if self.normalize is None:
            return cosine_scores(vectors, enrol, test)
        return self.normalize(vectors, cohort.members(self.cohort_by), enrol, test)

    def about(self, cohort):
        """Source, kind (``cohort_by``) and size of the cohort, if one is used."""
        if not self.needs_cohort:
            return {}
        by = self.cohort_by if self.normalize is not None else "utterance"
        size = len(np.unique(cohort.labels)) if by == "speaker" else len(cohort.vectors)
        return {"cohort": cohort.source, "cohort_by": by, "cohort_size": size}


class LDACosine(Cosine):
    """Cosine scores in the cohort's LDA directions: ``dim``, or all it allows."""

    needs_cohort = needs_labels = True

    def __init__(self, dim=None, normalize=None, cohort_by="utterance"):
        super().__init__(False, normalize, cohort_by)
        self.dim = dim
        self._fitted = (None, None)

    def __call__(self, vectors, enrol, test, cohort):
        """Scores trials; see `Cosine`. The cohort's labels are needed."""
        lda = self._fit(cohort)
        cohort = cohort._replace(vectors=lda(cohort.vectors))
        return super().__call__(lda(vectors), enrol, test, cohort)

    def _fit(self, cohort):
        if self._fitted[0] is not cohort:
            most = min(cohort.vectors.shape[1], len(np.unique(cohort.labels)) - 1)
            lda = fit_lda(cohort.vectors, cohort.labels, self.dim or most)
            self._fitted = (cohort, lda)
        return self._fitted[1]


class PLDA:
    """Log-likelihood ratios of an LDA and a PLDA trained on the cohort and its labels.

    ``lda_dim`` directions (as many as the cohort allows if not given), ``iterations``
    of EM; ``normalize``: adaptive S-norm with the ``top_n`` nearest cohort utterances.
    """

    needs_cohort = needs_labels = True

    def __init__(self, lda_dim=None, iterations=20, normalize=False, top_n=300):
        self.lda = LDACosine(lda_dim)
        self.iterations, self.normalize, self.top_n = iterations, normalize, top_n
        self._fitted = (None, None)

    @property
    def calibrated(self):
        """Whether scores are log-likelihood ratios."""
        return not self.normalize

    def __call__(self, vectors, enrol, test, cohort):
        """Scores trials; see `Cosine`. The cohort's labels are needed."""
        lda = self.lda._fit(cohort)
        projected = lda(cohort.vectors)
        if self._fitted[0] is not cohort:
            plda = fit_plda(projected, cohort.labels, self.iterations)
            self._fitted = (cohort, plda)
        plda = self._fitted[1]
        if self.normalize:
            return plda.as_norm(lda(vectors), projected, enrol, test, self.top_n)
        return plda.scores(lda(vectors), enrol, test)

    def about(self, cohort):
        """What the scores depend on beside the trial; see `Cosine`."""
        return Cosine(subtract_mean=True).about(cohort)
