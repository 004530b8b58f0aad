"""Intervals against a bootstrap that repeats trials."""

import numpy as np
import pytest

from speechbrain_dino.metrics.bootstrap import bootstrap_intervals
from speechbrain_dino.scoring.cosine import summarize


@pytest.fixture(params=[1, 9])
def trials(request):
    """Labels, scores (of 1 decimal, so tied), speakers of 300 trials of 8 speakers."""
    rng = np.random.default_rng(0)
    enrol, test = rng.integers(0, 8, (2, 300))
    test[:80] = enrol[:80]
    labels = (enrol == test).astype(int)
    of_speaker = rng.normal(size=8)
    scores = 2 * labels + of_speaker[enrol] + rng.normal(size=300)
    return labels, scores.round(request.param), enrol, test


def test_intervals_equal_a_bootstrap_that_repeats_trials(trials):
    labels, scores, enrol, test = trials
    rng = np.random.default_rng(3)
    slow = []
    for _ in range(40):
        count_of = np.bincount(rng.integers(0, 8, 8), minlength=8)
        times = np.where(labels == 1, count_of[enrol], count_of[enrol] * count_of[test])
        rows = np.repeat(np.arange(300), times)
        slow.append(summarize(labels[rows], scores[rows], calibrated=True))
    intervals = bootstrap_intervals(
        *trials, calibrated=True, level=0.8, replicates=40, seed=3
    )
    assert list(intervals) == [
        "eer",
        "min_dcf_0.01",
        "act_dcf_0.01",
        "min_dcf_0.05",
        "act_dcf_0.05",
        "min_cllr",
        "cllr",
    ]
    for name, interval in intervals.items():
        expected = np.quantile([metrics[name] for metrics in slow], [0.1, 0.9])
        assert interval == pytest.approx(tuple(expected), abs=1e-9)


def test_names_of_speakers_and_order_of_trials_do_not_matter(trials):
    labels, scores, enrol, test = trials
    whole = bootstrap_intervals(*trials, replicates=30)
    assert whole.keys() == {"eer", "min_dcf_0.01", "min_dcf_0.05", "min_cllr"}
    order = np.random.default_rng(1).permutation(300)
    names = np.array([f"id{i}" for i in range(8)])
    moved = labels[order], scores[order], names[enrol][order], names[test][order]
    for name, interval in bootstrap_intervals(*moved, replicates=30).items():
        assert interval == pytest.approx(whole[name], abs=1e-12)
    assert whole != bootstrap_intervals(*trials, replicates=30, seed=1)


def test_the_interval_holds_the_eer_and_grows_with_the_level(trials):
    labels, scores, *_ = trials
    value = summarize(labels, scores)["eer"]
    low, high = bootstrap_intervals(*trials, level=0.95, replicates=300)["eer"]
    inner = bootstrap_intervals(*trials, level=0.5, replicates=300)["eer"]
    assert low < inner[0] < value < inner[1] < high


def test_draws_without_one_kind_of_trial_are_redrawn():
    # Drawing a alone, or b alone, leaves no trial of two speakers.
    trials = [1, 1, 0], [0.9, 0.4, 0.5], ["a", "b", "a"], ["a", "b", "b"]
    assert bootstrap_intervals(*trials, replicates=50)["eer"] == pytest.approx(
        (0.5, 0.5)
    )


def test_input_that_contradicts_itself_is_named(trials):
    labels, scores, enrol, test = trials
    with pytest.raises(ValueError, match=r"300 of 300 trials .*first: trial 1\)"):
        bootstrap_intervals(1 - labels, scores, enrol, test)
    with pytest.raises(ValueError, match="1 scores that are NaN"):
        bootstrap_intervals(labels, [np.nan, *scores[1:]], enrol, test)
    with pytest.raises(ValueError, match="0 of two"):
        bootstrap_intervals([1, 1], [0.0, 1.0], ["a", "b"], ["a", "b"])
    with pytest.raises(ValueError, match="level=2"):
        bootstrap_intervals(*trials, level=2)
    with pytest.raises(ValueError, match="300 labels, 2 scores"):
        bootstrap_intervals(labels, scores[:2], enrol, test)
