"""Scores against slow versions and SpeechBrain's arithmetic."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.metrics.pairwise import cosine_similarity

from speechbrain_dino.metrics import verification
from speechbrain_dino.scoring.cosine import (
    Trials,
    as_norm,
    cosine_scores,
    score_trial_list,
    summarize,
)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_cosine_scores_are_the_definition(rng):
    vectors = rng.normal(size=(20, 7))
    enrol, test = rng.integers(0, 20, (2, 50))
    expected = cosine_similarity(vectors)[enrol, test]
    np.testing.assert_allclose(cosine_scores(vectors, enrol, test), expected, atol=1e-6)
    np.testing.assert_allclose(
        cosine_scores(torch.tensor(vectors), enrol, test), expected, atol=1e-6
    )


def slow_as_norm(vectors, cohort, enrol, test, top_n):
    """One trial at a time, in the words of SpeechBrain's verification script."""
    similarity = torch.nn.CosineSimilarity(dim=-1, eps=1e-6)
    vectors, cohort = torch.tensor(vectors), torch.tensor(cohort)
    scores = []
    for e, t in zip(enrol, test):
        sides = []
        for row in (e, t):
            against = similarity(vectors[row].expand_as(cohort), cohort)
            against = torch.topk(against, k=min(top_n, len(cohort))).values
            sides.append((against.mean(), against.std()))
        score = similarity(vectors[e], vectors[t])
        scores.append(sum((score - m) / s for m, s in sides) / 2)
    return torch.stack(scores).numpy()


@pytest.mark.parametrize("top_n", [2, 10, 40, 1000])
def test_as_norm_equals_a_loop_over_trials(rng, top_n):
    vectors, cohort = rng.normal(size=(25, 8)), rng.normal(size=(40, 8))
    enrol, test = rng.integers(0, 25, (2, 60))
    expected = slow_as_norm(vectors, cohort, enrol, test, top_n)
    np.testing.assert_allclose(
        as_norm(vectors, cohort, enrol, test, top_n), expected, rtol=1e-4, atol=1e-4
    )


def test_as_norm_depends_on_the_trial_and_the_cohort_only(rng):
    vectors, cohort = rng.normal(size=(30, 8)), rng.normal(size=(50, 8))
    enrol, test = rng.integers(0, 30, (2, 40))
    together = as_norm(vectors, cohort, enrol, test, 10)
    alone = [as_norm(vectors, cohort, [e], [t], 10)[0] for e, t in zip(enrol, test)]
    np.testing.assert_allclose(together, alone, atol=1e-5)
    shuffled = as_norm(vectors, cohort[::-1], test, enrol, 10)
    np.testing.assert_allclose(together, shuffled, atol=1e-5)
    order = rng.permutation(30)  # other row numbers, loudness, and rows of no trial
    moved = np.concatenate([np.full((3, 8), np.nan), vectors[order] * 7])
    place = 3 + np.argsort(order)
    again = as_norm(moved, 2 * cohort, place[enrol], place[test], 10)
    np.testing.assert_allclose(together, again, atol=1e-5)


def test_as_norm_without_top_n_takes_the_whole_cohort(rng):
    vectors, cohort = rng.normal(size=(25, 8)), rng.normal(size=(40, 8))
    enrol, test = rng.integers(0, 25, (2, 60))
    expected = slow_as_norm(vectors, cohort, enrol, test, 40)
    s_norm = as_norm(vectors, cohort, enrol, test, None)
    np.testing.assert_allclose(s_norm, expected, rtol=1e-4, atol=1e-4)


def test_as_norm_goes_in_blocks(rng, monkeypatch):
    vectors, cohort = rng.normal(size=(30, 8)), rng.normal(size=(50, 8))
    enrol, test = rng.integers(0, 30, (2, 40))
    whole = as_norm(vectors, cohort, enrol, test, 10)
    monkeypatch.setattr("speechbrain_dino.scoring.score_norm.BLOCK", 150)
    np.testing.assert_allclose(
        as_norm(vectors, cohort, enrol, test, 10), whole, atol=1e-6
    )


def test_as_norm_rejects_a_cohort_without_spread(rng):
    vectors = rng.normal(size=(4, 3))
    with pytest.raises(ValueError, match="cohort of 1"):
        as_norm(vectors, vectors[:1], [0], [1])
    with pytest.raises(ValueError, match="copies of one embedding"):
        as_norm(vectors, vectors[[0, 0, 0]], [0], [1])
    with pytest.raises(ValueError, match=r"1 of 2 rows of cohort .*row 1"):
        as_norm(vectors, [[1.0, 0, 0], [0, 0, 0]], [0], [1])


def test_unusable_embeddings_are_named():
    vectors = [[1.0, 1.0], [2.0, 2.0], [np.nan, 1.0], [0.0, 0.0]]
    with pytest.raises(ValueError, match=r"2 of 3 rows of embeddings .*row 2"):
        cosine_scores(vectors, [1, 3], [2, 3])
    assert cosine_scores(vectors, [0], [1])[0] == pytest.approx(1)


def test_score_trial_list_gives_plain_metrics():
    vectors = np.array([[1, 0], [1, 0.1], [0, 1], [0.1, 1]], dtype=np.float32)
    table = SimpleNamespace(ids=["a1", "a2", "b1", "b2"], vectors=vectors)
    labels = np.array([1, 1, 0, 0], dtype=np.int8)
    trials = Trials(labels, ["a1", "b1", "a1", "a2"], ["a2", "b2", "b1", "b2"], "x")
    metrics, scores = score_trial_list(table, trials)
    assert metrics["eer"] == metrics["min_dcf_0.01"] == metrics["min_dcf_0.05"] == 0.0
    assert (metrics["trials"], metrics["targets"]) == (4, 2)
    assert all(type(value) in (int, float) for value in metrics.values())
    high, low = scores[:2].min(), scores[2:].max()
    assert low < metrics["eer_threshold"] < high
    assert metrics == summarize(labels, scores)
    unlabeled = trials._replace(labels=None)
    assert score_trial_list(table, unlabeled)[0] == {"trials": 4}


def test_score_trial_list_takes_any_scorer():
    table = SimpleNamespace(ids=["a", "b"], vectors=np.ones((2, 2), dtype=np.float32))
    trials = Trials(np.array([1, 0]), ["a", "b"], ["b", "a"], "x")
    metrics, scores = score_trial_list(
        table, trials, lambda vectors, enrol, test: 3.0 * enrol - test
    )
    assert scores.tolist() == [-1.0, 3.0]
    assert metrics["eer"] == 1.0


def test_summarize_gives_each_metric(rng):
    labels = rng.integers(0, 2, 300)
    scores = rng.normal(size=300) + 2 * labels
    metrics = summarize(labels, scores, calibrated=True)
    sides = scores[labels == 1], scores[labels == 0]
    expected = {"trials": 300, "targets": labels.sum()}
    expected["eer"], expected["eer_threshold"] = verification.eer(*sides)
    expected["min_cllr"] = verification.min_cllr(*sides)
    expected["cllr"] = verification.cllr(*sides)
    for p in (0.01, 0.05):
        cost, threshold = verification.min_dcf(*sides, p_target=p)
        expected |= {f"min_dcf_{p}": cost, f"min_dcf_{p}_threshold": threshold}
        expected[f"act_dcf_{p}"] = verification.act_dcf(*sides, p_target=p)
    assert metrics == expected
    assert metrics.keys() - summarize(labels, scores).keys() == {
        "cllr",
        "act_dcf_0.01",
        "act_dcf_0.05",
    }


def test_a_list_of_one_kind_is_named():
    table = SimpleNamespace(ids=["a"], vectors=np.ones((1, 2), dtype=np.float32))
    trials = Trials(np.array([1]), ["a"], ["a"], "lists/o.txt")
    with pytest.raises(ValueError, match=r"lists/o\.txt: no non-target scores"):
        score_trial_list(table, trials)
