"""Intervals: draws of speakers, not of utterances."""

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score

from speechbrain_dino.metrics.classification import ClassCounts, classification_metrics
from speechbrain_dino.metrics.over_folds import group_intervals
from speechbrain_dino.metrics.regression import Moments, ccc


def test_intervals_are_quantiles_over_speakers_drawn_with_replacement():
    rng = np.random.default_rng(1)
    true, predicted = rng.integers(0, 3, (2, 120))
    predicted = np.where(rng.random(120) < 0.5, true, predicted)
    speakers = rng.integers(0, 12, 120)
    counts = ClassCounts.of(true, predicted, 3, speakers)
    intervals = group_intervals(counts, replicates=150, seed=3)
    draws = np.random.default_rng(3)
    recalls = []
    for _ in range(150):
        rows = [np.flatnonzero(speakers == s) for s in draws.integers(0, 12, 12)]
        rows = np.concatenate(rows)
        recalls.append(balanced_accuracy_score(true[rows], predicted[rows]))
    np.testing.assert_allclose(intervals["uar"], np.quantile(recalls, [0.025, 0.975]))


def test_moments_of_drawn_speakers():
    rng = np.random.default_rng(1)
    true = rng.standard_normal(60) + 5
    predicted, speakers = true + rng.standard_normal(60), rng.integers(0, 6, 60)
    intervals = group_intervals(Moments.of(true, predicted, speakers), seed=3)
    draws, concordances = np.random.default_rng(3), []
    for _ in range(1000):
        rows = [np.flatnonzero(speakers == s) for s in draws.integers(0, 6, 6)]
        rows = np.concatenate(rows)
        concordances.append(ccc(true[rows], predicted[rows]))
    np.testing.assert_allclose(
        intervals["ccc"], np.quantile(concordances, [0.025, 0.975])
    )


def test_alike_speakers_make_wider_intervals_than_utterances():
    right = np.repeat([True, False] * 6, 50)
    true = np.tile(["a", "b"], 300)
    predicted = np.where(right, true, np.where(true == "a", "b", "a"))
    fold, speakers = [(true, predicted)], [np.repeat(np.arange(12), 50)]
    wide = classification_metrics(fold, "ab", speakers)["intervals"]["micro_f1"]
    summary = classification_metrics(fold, "ab")
    narrow = summary["intervals"]["micro_f1"]
    assert summary["intervals_over"] == "600 utterances"
    # 12 coins that are right or wrong: 1.96 x 0.5 / sqrt(12) = 0.28; 600: 0.04.
    assert wide[1] - wide[0] == pytest.approx(0.57, abs=0.1)
    assert narrow[1] - narrow[0] == pytest.approx(0.08, abs=0.02)
