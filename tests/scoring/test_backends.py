"""Ways to score: a trial's score depends on the trial and the cohort alone."""

import functools

import numpy as np
import pytest

from speechbrain_dino.scoring.backends import Cohort, Cosine
from speechbrain_dino.scoring.cosine import as_norm, cosine_scores


@pytest.fixture
def vectors():
    return np.random.default_rng(0).normal(size=(20, 8)).astype(np.float32)


@pytest.fixture
def cohort():
    rng = np.random.default_rng(1)
    labels = np.array([f"s{number % 7}" for number in range(30)])
    return Cohort(rng.normal(1, 1, size=(30, 8)).astype(np.float32), labels, "others")


ENROL, TEST = np.array([0, 3, 5, 9]), np.array([1, 3, 2, 19])


def test_mean_and_normalization_are_the_formulas(vectors, cohort):
    mean = cohort.vectors.mean(axis=0)
    scores = Cosine(subtract_mean=True)(vectors, ENROL, TEST, cohort)
    np.testing.assert_allclose(
        scores, cosine_scores(vectors - mean, ENROL, TEST), atol=1e-5
    )
    both = Cosine(True, functools.partial(as_norm, top_n=5))
    expected = as_norm(vectors - mean, cohort.vectors - mean, ENROL, TEST, top_n=5)
    np.testing.assert_allclose(both(vectors, ENROL, TEST, cohort), expected, atol=1e-4)


def test_a_cohort_of_speakers_holds_their_mean_directions(vectors, cohort):
    unit = cohort.vectors / np.linalg.norm(cohort.vectors, axis=1, keepdims=True)
    means = np.stack([unit[cohort.labels == f"s{n}"].mean(axis=0) for n in range(7)])
    np.testing.assert_allclose(cohort.members("speaker"), means, atol=1e-6)
    way = Cosine(normalize=functools.partial(as_norm, top_n=3), cohort_by="speaker")
    expected = as_norm(vectors, means, ENROL, TEST, top_n=3)
    np.testing.assert_allclose(way(vectors, ENROL, TEST, cohort), expected, atol=1e-4)
    about = {"cohort": "others", "cohort_by": "speaker", "cohort_size": 7}
    assert way.about(cohort) == about
    assert Cosine().about(cohort) == {}


@pytest.mark.parametrize("way", [Cosine(), Cosine(True), Cosine(True, as_norm)])
def test_other_trials_and_utterances_change_no_score(vectors, cohort, way):
    alone = way(vectors[[3, 7]], np.array([0]), np.array([1]), cohort)
    among = way(vectors, np.array([0, 3, 5]), np.array([2, 7, 5]), cohort)[1]
    assert among == pytest.approx(alone[0], abs=1e-5)


def test_a_cohort_without_labels_has_no_speakers(cohort):
    with pytest.raises(ValueError, match="others has no labels"):
        cohort._replace(labels=None).members("speaker")
    with pytest.raises(ValueError, match="expected 'utterance' or 'speaker'"):
        cohort.members("session")


def test_a_cohort_embedding_without_direction_is_named(cohort):
    cohort.vectors[4] = 0
    with pytest.raises(ValueError, match=r"1 of 30 rows of cohort .*row 4"):
        cohort.members("speaker")
