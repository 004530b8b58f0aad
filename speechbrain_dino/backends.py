"""Ways to score trials, as the verification recipe's YAML names them."""

from typing import NamedTuple

import numpy as np

from speechbrain_dino.normalisation import average_by_label, subtract_mean
from speechbrain_dino.scoring import cosine_scores


class Cohort(NamedTuple):
    """Utterances that take no part in the trials, for means and normalisation.

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
                "its column with cohort_label, or take cohort_by: utterance"
            )
        vectors = np.asarray(self.vectors, dtype=np.float32)
        unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return average_by_label(unit, self.labels)[0]


class Cosine:
    """Cosine scores, perhaps after subtracting a mean and normalising.

    Arguments
    ---------
    subtract_mean : bool
        Whether to subtract the cohort's mean embedding from all embeddings, the
        cohort's own as well.
    normalise : callable, optional
        ``(embeddings, cohort, enrol, test) -> scores`` in the place of plain cosine,
        such as ``speechbrain_dino.scoring.as_norm``.
    cohort_by : str
        What the members of the cohort are for ``normalise``: ``utterance`` or
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

    def __init__(self, subtract_mean=False, normalise=None, cohort_by="utterance"):
        self.subtract_mean = subtract_mean
        self.normalise = normalise
        self.cohort_by = cohort_by

    @property
    def needs_cohort(self):
        """Whether scores depend on a cohort."""
        return self.subtract_mean or self.normalise is not None

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
            centred = subtract_mean(cohort.vectors, cohort.vectors)
            cohort = cohort._replace(vectors=centred)
        if self.normalise is None:
            return cosine_scores(vectors, enrol, test)
        return self.normalise(vectors, cohort.members(self.cohort_by), enrol, test)

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
        by = self.cohort_by if self.normalise is not None else "utterance"
        size = len(np.unique(cohort.labels)) if by == "speaker" else len(cohort.vectors)
        return {"cohort": cohort.source, "cohort_by": by, "cohort_size": size}
