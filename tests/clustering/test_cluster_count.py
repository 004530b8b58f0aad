"""The number of clusters: the silhouette beside a slow version, the choice on data."""

import numpy as np
import pytest

from speechbrain_dino.clustering.count import (
    choose_number,
    default_candidates,
    silhouettes,
    spread,
)
from speechbrain_dino.clustering.linkage import average_linkage, cut_tree
from speechbrain_dino.clustering.neighbors import sum_rows
from speechbrain_dino.scoring.pairs import unit_rows


def speakers(number, utterances, seed, dim=48, sessions=0.5):
    """Unit embeddings of speakers of unequal numbers of utterances, four a session."""
    rng = np.random.default_rng(seed)
    counts = 2 + rng.poisson(utterances * rng.lognormal(-0.1, 0.5, number))
    truth = np.repeat(np.arange(number), counts)
    session = np.concatenate([np.arange(n) // 4 for n in counts]) + 1000 * truth
    places = np.unique(session, return_inverse=True)[1]
    vectors = rng.standard_normal((number, dim))[truth]
    vectors += sessions * rng.standard_normal((places.max() + 1, dim))[places]
    vectors += 0.8 * rng.standard_normal((len(truth), dim))
    return unit_rows(vectors)


def slow_silhouettes(points, labels):
    """Of each point, with the directions of means."""
    values = np.zeros(len(points))
    directions = unit_rows(np.stack([points[labels == k].sum(0) for k in range(8)]))
    for row, label in enumerate(labels):
        others = points[labels == label].sum(axis=0) - points[row]
        if (labels == label).sum() > 1:
            a = 1 - points[row] @ others / np.linalg.norm(others)
            b = min(1 - points[row] @ directions[k] for k in range(8) if k != label)
            values[row] = (b - a) / max(a, b)
    return values


def test_silhouettes_beside_the_slow_version():
    rng = np.random.default_rng(0)
    points = unit_rows(rng.standard_normal((80, 5)))
    labels = np.append(rng.integers(0, 7, 79), 7)  # the last cluster has one point
    sums, sizes = sum_rows(points, labels, 8), np.bincount(labels)
    by_utterance, by_cluster = silhouettes(points, labels, sums, sizes)
    slow = slow_silhouettes(points, labels)
    assert by_utterance == pytest.approx(slow.mean(), abs=1e-5)
    expected = np.mean([slow[labels == k].mean() for k in range(8)])
    assert by_cluster == pytest.approx(expected, abs=1e-5)


def test_a_sample_is_of_the_same_clusters():
    points = speakers(20, 15, 0)
    tree = average_linkage(points)
    whole = choose_number(points, np.arange(len(points)), tree, [10, 20, 40])[1]
    part = choose_number(points, np.arange(len(points)), tree, [10, 20, 40], 0, 200)[1]
    for one, other in zip(whole, part):
        assert one["clusters"] == other["clusters"]
        assert one["criterion"] == pytest.approx(other["criterion"], abs=0.05)
        assert one["criterion"] != other["criterion"]


@pytest.mark.parametrize(
    ("number", "utterances", "sessions"),
    [(20, 20, 0.5), (20, 60, 0.0), (150, 12, 0.5), (150, 12, 0.0), (600, 8, 0.5)],
)
def test_the_truth_is_near(number, utterances, sessions):
    points = speakers(number, utterances, number, sessions=sessions)
    tree, leaves = average_linkage(points), np.arange(len(points))
    candidates = default_candidates(len(points), len(points))
    best, curve = choose_number(points, leaves, tree, candidates)
    assert 0.75 * number <= best <= 1.35 * number
    assert [line["clusters"] for line in curve] == candidates
    cut = cut_tree(tree, best)
    both = silhouettes(points, cut, sum_rows(points, cut, best), np.bincount(cut))
    at_best = max(line["criterion"] for line in curve)
    assert at_best == pytest.approx(np.mean(both), abs=1e-6)


def test_candidates():
    candidates = default_candidates(1_092_009, 50_000)
    assert candidates[0] == 2184 and candidates[-1] == 50_000
    assert candidates == sorted(set(candidates))
    ratios = np.array(candidates[1:]) / candidates[:-1]
    assert ratios.max() < 1.15
    assert spread(2, 4, 40, 3) == [2, 3]
