"""Ways to score trials, as the verification recipe's YAML names them."""

from typing import NamedTuple

import numpy as np

from speechbrain_dino.embeddings.by_label import average_by_label, subtract_mean
from speechbrain_dino.scoring.cosine import cosine_scores
from speechbrain_dino.scoring.lda import fit_lda
from speechbrain_dino.scoring.plda import fit_plda


class Cohort(NamedTuple):
    """Utterances that take no part in the trials, for means and normalization.

    Arguments
    ---------
    vectors : array, shape (C, D)
        Their embeddings.
    labels : array of str, shape (C,), or None
        Speaker or pseudo speaker of each; not needed for a cohort of utterances.
    source : str
        Where they came from, for the report.
    """

    vectors: np.ndarray
    labels: np.ndarray | None
    source: str

    def members(self, by):
        """The cohort's members: utterances, or the mean of each speaker.

        Arguments
        ---------
        by : str
            ``utterance`` or ``speaker``; the latter is the mean of the speaker's
            embeddings, each scaled to length 1.

        Returns
        -------
        numpy.ndarray, shape (members, D)
            float32.

        Raises
        ------
        ValueError
            If ``by`` is neither, or speakers are not known.

        Example
        -------
        >>> vectors = np.array([[2.0, 0.0], [0.0, 1.0], [3.0, 0.0]])
        >>> Cohort(vectors, np.array(["a", "a", "b"]), "").members("speaker").tolist()
        [[0.5, 0.5], [1.0, 0.0]]
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
        vectors = np.asarray(self.vectors, dtype=np.float32)
        unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return average_by_label(unit, self.labels)[0]


class Cosine:
    """Cosine scores, perhaps after subtracting a mean and normalizing.

    Arguments
    ---------
    subtract_mean : bool
        Whether to subtract the cohort's mean embedding from all embeddings, the
        cohort's own as well.
    normalize : callable, optional
        ``(embeddings, cohort, enrol, test) -> scores`` in the place of plain cosine,
        such as ``speechbrain_dino.scoring.cosine.as_norm``.
    cohort_by : str
        What the members of the cohort are for ``normalize``: ``utterance`` or
        ``speaker``.

    Example
    -------
    >>> vectors = np.array([[1.0, 0.0], [3.0, 4.0]])
    >>> print(Cosine()(vectors, [0], [1], None))
    [0.6]
    >>> cohort = Cohort(np.array([[1.0, 4.0]]), None, "one")
    >>> print(Cosine(subtract_mean=True)(vectors, [0], [1], cohort))
    [0.]
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
        """Scores trials.

        Arguments
        ---------
        vectors : array, shape (N, D)
            One embedding a row.
        enrol, test : array, shape (M,)
            Row numbers.
        cohort : Cohort or None
            Needed if ``needs_cohort``.

        Returns
        -------
        numpy.ndarray, shape (M,)
            float32 scores.
        """
        if self.subtract_mean:
            vectors = subtract_mean(vectors, cohort.vectors)
            centered = subtract_mean(cohort.vectors, cohort.vectors)
            cohort = cohort._replace(vectors=centered)
        if self.normalize is None:
            return cosine_scores(vectors, enrol, test)
        return self.normalize(vectors, cohort.members(self.cohort_by), enrol, test)

    def about(self, cohort):
        """What the scores depend on beside the trial, for tables.

        Arguments
        ---------
        cohort : Cohort or None
            The cohort.

        Returns
        -------
        dict
            ``cohort`` (source), ``cohort_by`` and ``cohort_size``; empty without.
        """
        if not self.needs_cohort:
            return {}
        by = self.cohort_by if self.normalize is not None else "utterance"
        size = len(np.unique(cohort.labels)) if by == "speaker" else len(cohort.vectors)
        return {"cohort": cohort.source, "cohort_by": by, "cohort_size": size}


class LDACosine(Cosine):
    """Cosine scores in the directions that tell the cohort's speakers apart.

    Arguments
    ---------
    dim : int, optional
        Number of directions; as many as the cohort allows if not given.
    normalize : callable, optional
        See `Cosine`.
    cohort_by : str
        See `Cosine`.
    """

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
    """Log-likelihood ratios of a PLDA trained on the cohort and its labels.

    Arguments
    ---------
    lda_dim : int, optional
        Directions of the LDA before it; as many as the cohort allows if not given.
    iterations : int
        Passes of the EM algorithm.
    normalize : bool
        Whether to apply adaptive S-norm with the cohort's utterances.
    top_n : int
        How many of the cohort's nearest utterances normalize.
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
