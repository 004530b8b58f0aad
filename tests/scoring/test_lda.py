"""LDA against the ratio of scatters that it is to maximize."""

import warnings

import numpy as np
import pytest

from speechbrain_dino.scoring.cosine import as_norm, cosine_scores, summarize
from speechbrain_dino.scoring.lda import fit_lda


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_lda_keeps_the_directions_of_speakers(rng):
    means = np.repeat(rng.normal(size=(50, 8)) * ([3] * 2 + [0] * 6), 20, axis=0)
    noise = rng.normal(size=(1000, 8)) * ([1] * 2 + [20] * 6)
    labels = np.repeat(range(50), 20)
    lda = fit_lda(means + noise, labels, dim=2)
    means = means[::20]
    noisy = [means + rng.normal(size=(50, 8)) * ([1] * 2 + [20] * 6) for _ in range(2)]
    everything = np.concatenate(noisy)
    projected = lda(everything)
    assert projected.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(projected, axis=1), 1, atol=1e-6)
    rows, columns = np.indices((50, 50)).reshape(2, -1)
    same = rows == columns
    with_lda = summarize(same, cosine_scores(projected, rows, 50 + columns))["eer"]
    plain = summarize(same, cosine_scores(everything, rows, 50 + columns))["eer"]
    assert with_lda < 0.25 < 0.35 < plain
    assert len(as_norm(projected, projected[:50], [50], [51], 20)) == 1


def test_lda_maximizes_the_ratio_of_scatters(rng):
    labels = np.repeat(range(60), rng.integers(1, 10, 60))
    embeddings = rng.normal(size=(60, 4))[labels] + rng.normal(size=(len(labels), 4))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # speakers of one utterance are allowed
        lda = fit_lda(embeddings, labels, dim=4)
    group = np.stack([embeddings[labels == x].mean(axis=0) for x in labels])
    ratios = [
        np.var(group @ direction) / np.var((embeddings - group) @ direction)
        for direction in lda.matrix.T
    ]
    assert ratios == sorted(ratios, reverse=True)
    best = np.linalg.eigvals(
        np.linalg.solve(np.cov((embeddings - group).T), np.cov(group.T))
    )
    np.testing.assert_allclose(ratios, np.sort(best.real)[::-1], rtol=1e-6)
