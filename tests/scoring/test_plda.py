"""PLDA against direct likelihoods and SpeechBrain's."""

import numpy as np
import pytest
from scipy.linalg import block_diag
from scipy.stats import multivariate_normal
from speechbrain.processing import PLDA_LDA

from speechbrain_dino.scoring.lda import fit_lda
from speechbrain_dino.scoring.plda import PLDA, fit_plda


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def speakers(rng):
    """Embeddings (N, 4) of 60 speakers of 1 to 9 utterances, drawn from a PLDA."""
    between = np.diag([4.0, 2.0, 1.0, 0.3])
    mix = rng.normal(size=(4, 4))
    within = mix @ mix.T / 4 + 0.2 * np.eye(4)
    counts = rng.integers(1, 10, 60)
    labels = np.repeat([f"id{i:03}" for i in range(60)], counts)
    means = rng.multivariate_normal(np.ones(4), between, 60)
    noise = rng.multivariate_normal(np.zeros(4), within, counts.sum())
    return np.repeat(means, counts, axis=0) + noise, labels


def log_likelihood(plda, embeddings, labels):
    """Of all speakers, each one Gaussian over all of its utterances at once."""
    total = 0
    for label in np.unique(labels):
        own = embeddings[labels == label]
        n = len(own)
        covariance = block_diag(*[plda.within] * n)
        covariance += np.kron(np.ones((n, n)), plda.between)
        mean = np.tile(plda.mean, n)
        total += multivariate_normal.logpdf(own.ravel(), mean, covariance)
    return total


def test_scores_are_log_likelihood_ratios(speakers):
    embeddings, labels = speakers
    plda = fit_plda(embeddings, labels)
    enrol, test = np.arange(30), np.arange(30)[::-1]
    total = plda.between + plda.within
    joint = np.block([[total, plda.between], [plda.between, total]])
    expected = [
        multivariate_normal.logpdf(np.concatenate([x, y]), np.tile(plda.mean, 2), joint)
        - multivariate_normal.logpdf(x, plda.mean, total)
        - multivariate_normal.logpdf(y, plda.mean, total)
        for x, y in zip(embeddings[enrol], embeddings[test])
    ]
    scores = plda.scores(embeddings, enrol, test)
    np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(scores, plda.scores(embeddings, test, enrol), atol=1e-4)


def stat_object(embeddings, labels):
    n = len(embeddings)
    names = np.array([f"utterance{i:04}" for i in range(n)], dtype="|O")
    none = np.array([None] * n)
    labels = names if labels is None else np.array(labels, dtype="|O")
    ones = np.ones((n, 1))
    return PLDA_LDA.StatObject_SB(labels, names, none, none, ones, embeddings)


def test_scores_equal_speechbrains(speakers):
    embeddings, labels = speakers
    theirs = PLDA_LDA.PLDA(rank_f=3)
    theirs.plda(stat_object(embeddings, labels))
    stats = stat_object(embeddings[:20], None)
    ndx = PLDA_LDA.Ndx(models=stats.modelset, testsegs=stats.segset)
    expected = PLDA_LDA.fast_PLDA_scoring(
        stats, stats, ndx, theirs.mean, theirs.F, theirs.Sigma
    ).scoremat
    ours = PLDA(theirs.mean, theirs.F @ theirs.F.T, theirs.Sigma)
    enrol, test = np.indices((20, 20)).reshape(2, -1)
    scores = ours.scores(embeddings, enrol, test).reshape(20, 20)
    np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-4)


def test_every_iteration_raises_the_likelihood(speakers):
    embeddings, labels = speakers
    values = [
        log_likelihood(fit_plda(embeddings, labels, n), embeddings, labels)
        for n in (0, 1, 2, 5, 20)
    ]
    assert values == sorted(values)
    assert values[0] < values[1] - 1


def test_training_ends_where_speechbrains_does(speakers):
    embeddings, labels = speakers
    theirs = PLDA_LDA.PLDA(rank_f=4, nb_iter=300)
    theirs.plda(stat_object(embeddings, labels))
    plda = fit_plda(embeddings, labels, 300)
    np.testing.assert_allclose(plda.mean, theirs.mean, atol=1e-9)
    np.testing.assert_allclose(plda.between, theirs.F @ theirs.F.T, atol=1e-6)
    np.testing.assert_allclose(plda.within, theirs.Sigma, atol=1e-6)


def test_fit_finds_the_truth(rng):
    between, within = np.diag([3.0, 1.0]), np.array([[1.0, 0.5], [0.5, 2.0]])
    means = rng.multivariate_normal([1, -2], between, 8000)
    noise = rng.multivariate_normal([0, 0], within, 32000)
    plda = fit_plda(np.repeat(means, 4, axis=0) + noise, np.repeat(range(8000), 4))
    np.testing.assert_allclose(plda.mean, [1, -2], atol=0.1)
    np.testing.assert_allclose(plda.between, between, atol=0.15)
    np.testing.assert_allclose(plda.within, within, atol=0.05)


def test_plda_as_norm_equals_a_loop(speakers, rng):
    embeddings, labels = speakers
    plda = fit_plda(embeddings, labels)
    cohort = rng.normal(size=(30, 4))
    enrol, test = rng.integers(0, 40, (2, 25))
    everything = np.concatenate([embeddings, cohort])
    cohort_rows = len(embeddings) + np.arange(30)
    expected = []
    for e, t in zip(enrol, test):
        sides = []
        for row in (e, t):
            scores = plda.scores(everything, np.full(30, row), cohort_rows)
            top = np.sort(scores)[-10:]
            sides.append((top.mean(), top.std(ddof=1)))
        score = plda.scores(embeddings, [e], [t])[0]
        expected.append(sum((score - m) / s for m, s in sides) / 2)
    scores = plda.as_norm(embeddings, cohort, enrol, test, top_n=10)
    np.testing.assert_allclose(scores, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("fit", [fit_lda, fit_plda])
def test_labels_without_information_are_named(fit, rng):
    embeddings = rng.normal(size=(6, 2))
    for labels in (["a"] * 6, list("abcdef"), ["a", "b"]):
        with pytest.raises(ValueError, match=f"{len(labels)} labels of"):
            fit(embeddings, labels)


def test_unusable_dimensions_are_named(rng):
    embeddings = rng.normal(size=(6, 4))
    labels = list("aabbcc")
    with pytest.raises(ValueError, match="dim=3 is out of range: 3 speakers"):
        fit_lda(embeddings, labels, dim=3)
    with pytest.raises(ValueError, match="LDA of 6 embeddings of 4 dimensions"):
        fit_lda(np.ones((6, 4)), labels, dim=2)
    with pytest.raises(ValueError, match="reduce the dimension with fit_lda"):
        fit_plda(np.ones((6, 4)), labels)
