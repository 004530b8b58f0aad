"""Cohorts against slow versions."""

import numpy as np
import pytest
import torch

from speechbrain_dino.embeddings.by_label import average_by_label, subtract_mean
from speechbrain_dino.scoring.score_norm import symmetric_norm


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_subtract_mean_centers_the_cohort_itself(rng):
    cohort = rng.normal(size=(50, 4)).astype(np.float32) + 3
    centered = subtract_mean(cohort, cohort)
    assert centered.dtype == np.float32
    np.testing.assert_allclose(centered.mean(axis=0), 0, atol=1e-6)
    one = subtract_mean(cohort[:1], cohort)
    np.testing.assert_allclose(one, cohort[:1] - cohort.mean(axis=0), atol=1e-5)


@pytest.mark.parametrize("shape", [(0, 4), (3, 5)])
def test_subtract_mean_rejects_what_does_not_fit(shape):
    with pytest.raises(ValueError, match=rf"cohort of shape \({shape[0]}, {shape[1]}"):
        subtract_mean(np.ones((2, 4)), np.ones(shape))


@pytest.mark.parametrize("kind", [str, int])
def test_average_by_label_equals_a_loop(rng, kind):
    embeddings = rng.normal(size=(60, 5)).astype(np.float32)
    labels = [kind(number) for number in rng.integers(0, 9, 60)]
    means, names = average_by_label(embeddings, labels)
    assert names.tolist() == sorted(set(labels))
    for mean, name in zip(means, names):
        own = [e for e, label in zip(embeddings, labels) if label == name]
        np.testing.assert_allclose(mean, np.mean(own, axis=0), atol=1e-6)
    with pytest.raises(ValueError, match="59 labels do not fit 60 embeddings"):
        average_by_label(embeddings, labels[1:])


def test_symmetric_norm_asks_for_used_rows_only_and_each_once(rng):
    cohort_scores = torch.randn(50, 30)
    asked = []

    def against_cohort(rows):
        asked.extend(rows.tolist())
        return cohort_scores[rows]

    enrol, test = rng.choice([4, 40, 11], (2, 100))
    scores = rng.normal(size=100)
    normed = symmetric_norm(scores, enrol, test, against_cohort, 30, 10)
    assert asked == [4, 11, 40]
    top = np.sort(cohort_scores.numpy(), axis=1)[:, -10:]
    mean, std = top.mean(axis=1), top.std(axis=1, ddof=1)
    expected = (scores - mean[enrol]) / std[enrol] + (scores - mean[test]) / std[test]
    np.testing.assert_allclose(normed, expected / 2, rtol=1e-5, atol=1e-5)
