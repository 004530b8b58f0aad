"""Clustering by PLDA: its space, its posteriors, what it finds that cosine does not."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal
from sklearn.metrics import normalized_mutual_info_score

from speechbrain_dino.clustering.clusterers import KMeansAHC
from speechbrain_dino.clustering.plda_clusterer import PLDAClustering, PLDASpace
from speechbrain_dino.scoring.plda import PLDA, fit_plda


def speakers(number=60, dim=24, seed=0):
    """Speakers in half of the directions, sessions of four utterances in the others."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(20, 60, number)
    truth = rng.permutation(np.repeat(np.arange(number), counts))
    tilt = np.linspace(1.5, 0.3, dim)
    vectors = (rng.standard_normal((number, dim)) * tilt)[truth]
    vectors += rng.standard_normal((len(truth), dim)) * tilt[::-1] * 0.8
    return vectors.astype(np.float32), truth


@pytest.fixture(scope="module")
def space():
    vectors, truth = speakers(30, 6)
    plda = fit_plda(vectors, truth)
    return plda, vectors, truth, PLDASpace(plda, vectors)


def test_products_and_shares_are_the_plda_scores(space):
    plda, vectors, _, space = space
    one, other = np.random.default_rng(0).integers(0, len(vectors), (2, 50))
    scores = (space.factors[one] * space.factors[other]).sum(axis=1)
    scores += space.bias[one] + space.bias[other]
    np.testing.assert_allclose(scores, plda.scores(vectors, one, other), atol=1e-3)


def test_posteriors_are_those_of_predictions(space):
    plda, vectors, labels, space = space
    precision = np.linalg.inv(plda.within)
    logs = []
    for label in range(labels.max() + 1):
        own = vectors[labels == label] - plda.mean
        # The speaker's mean given these utterances, Gaussian.
        covariance = np.linalg.inv(np.linalg.inv(plda.between) + len(own) * precision)
        mean = plda.mean + covariance @ precision @ own.sum(axis=0)
        density = multivariate_normal(mean, covariance + plda.within)
        logs.append(density.logpdf(vectors))
    logs = np.stack(logs, axis=1)
    odds = np.exp(logs - logs.max(axis=1, keepdims=True))
    expected = odds[np.arange(len(vectors)), labels] / odds.sum(axis=1)
    np.testing.assert_allclose(space.posteriors(labels), expected, atol=2e-3)


def test_a_score_that_is_nothing_but_noise():
    plda = PLDA(np.zeros(2), np.zeros((2, 2)), np.eye(2))
    space = PLDASpace(plda, np.array([[1.0, 2.0], [3.0, -4.0], [0.5, 0.1]]))
    np.testing.assert_allclose(space.factors, 0, atol=1e-6)
    np.testing.assert_allclose(space.posteriors(np.array([0, 1, 2])), 1 / 3, atol=1e-6)


def clusterer(**options):
    bounds = {"train_size": [4, 60], "max_size": None}
    return PLDAClustering(**{"threshold": 0.5, "lda_dim": 20} | bounds | options)


def test_it_finds_speakers_where_sessions_hide_them_from_cosine():
    vectors, truth = speakers()
    clustering = clusterer(min_posterior=0.5)(vectors)
    labels, summary = clustering.labels, clustering.summary
    kept = labels >= 0
    assert kept.mean() > 0.75
    own = normalized_mutual_info_score(truth[kept], labels[kept])
    cosine = KMeansAHC(0.25, num_clusters=60)(vectors).labels
    assert own > 0.95
    assert own > normalized_mutual_info_score(truth, cosine) + 0.03
    assert abs(summary["clusters"] - 60) <= 6
    assert summary["kept"] + sum(summary["left_out"].values()) == len(vectors)
    assert summary["train_clusters"] <= summary["first_clusters"]
    assert np.bincount(labels[kept]).min() >= 10
    assert summary["last_union"] >= 0 > summary["next_union"]
    assert (clusterer(min_posterior=0.5)(vectors).labels == labels).all()


def test_numbers_of_clusters():
    vectors, truth = speakers()
    everything = {"min_posterior": None, "min_size": None, "plda_threshold": None}
    given = clusterer(num_clusters=60, **everything)(vectors)
    assert given.summary["clusters"] == 60 and given.labels.min() == 0
    assert normalized_mutual_info_score(truth, given.labels) > 0.9
    chosen = clusterer(num_clusters="auto", weighted=True, **everything)(vectors)
    assert 45 <= chosen.summary["clusters"] <= 75


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_clusters": 5}, "num_clusters is 5 and plda_threshold is 0.0: give one"),
        ({"plda_threshold": None}, "num_clusters is None and plda_threshold is None"),
        ({"threshold": 1.0}, "threshold is 1.0: a number between -1 and 1"),
        ({"train_size": [900, 999]}, "first clusters 0 have 900 to 999 utterances"),
        ({"num_means": 1e6}, "1000000.0 clusters were asked for"),
        ({"min_size": 10_000}, "0 clusters are left"),
    ],
)
def test_what_cannot_be_is_named(options, message):
    vectors, _ = speakers()
    with pytest.raises(ValueError, match=message):
        clusterer(**options)(vectors)


def test_the_number_is_chosen_whatever_the_scale_of_the_scores():
    """First clusters that split speakers move the scores of one speaker's pairs."""
    vectors, _ = speakers()
    everything = {"min_posterior": None, "min_size": None, "plda_threshold": None}
    for threshold in (0.5, 0.8):
        split = {"threshold": threshold, "train_size": [4, 60]} | everything
        given = clusterer(num_clusters=60, **split)(vectors)
        assert given.summary["last_union"] < -1
        chosen = clusterer(num_clusters="auto", **split)(vectors)
        # 0.65 to 1.3 times the truth is what the criterion promises.
        assert 39 <= chosen.summary["clusters"] <= 78
