"""Inputs of a probe: statistics of the training part, speakers, bad input."""

import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler

from speechbrain_dino.data.fold_makers import Fold
from speechbrain_dino.probing import inputs as probe_inputs
from speechbrain_dino.probing.inner_folds import inner_folds
from speechbrain_dino.probing.inputs import (
    check_targets,
    check_vectors,
    normalize_speakers,
    standardized,
    standardizer,
)


def fold(train, valid, test, name="a"):
    parts = (np.array(rows, dtype=np.int64) for rows in (train, valid, test))
    return Fold(name, *parts)


def test_standardization_is_that_of_scikit_learn(monkeypatch):
    rng = np.random.default_rng(0)
    vectors = (rng.standard_normal((50, 4)) * [1, 10, 0.1, 1] + 1e3).astype(np.float32)
    vectors[:, 3] = 7.0
    rows, others = np.arange(30), np.arange(30, 50)
    scaler = StandardScaler().fit(vectors[rows].astype(np.float64))
    expected = scaler.transform(vectors[others].astype(np.float64))
    for block in (1 << 14, 7):
        monkeypatch.setattr(probe_inputs, "_ROWS", block)
        result = standardized(standardizer(vectors, rows), vectors, others)
        assert result.dtype == np.float32
        np.testing.assert_allclose(result, expected, atol=2e-3)
    before = vectors.copy()
    standardized(standardizer(vectors, rows), vectors, slice(None))
    assert (vectors == before).all()


def test_rounding_of_single_precision_is_not_scaled_up():
    vectors = np.full((40, 2), 1e3, np.float32)
    vectors[::2, 0] = np.nextafter(np.float32(1e3), np.float32(2e3))
    vectors[::2, 1] += 1
    result = standardized(standardizer(vectors, np.arange(40)), vectors, slice(None))
    assert np.abs(result[:, 0]).max() < 1e-3
    np.testing.assert_allclose(np.abs(result[:, 1]), 1, atol=1e-3)


def test_speakers_are_normalized_one_by_one():
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((9, 2)).astype(np.float32) * 3 + 1
    speakers = np.array(list("abcabcabd"))
    normalized = normalize_speakers(vectors, speakers)
    for name in "ab":
        own = vectors[speakers == name]
        expected = (own - own.mean(0)) / own.std(0)
        np.testing.assert_allclose(normalized[speakers == name], expected, atol=1e-5)
    assert (normalized[speakers == "d"] == 0).all()  # a speaker of one utterance
    with pytest.raises(ValueError, match="column spk_id"):
        normalize_speakers(vectors, None)


def test_folds_that_mean_nothing_are_refused():
    targets = np.array([0, 1, 0, 1, 2, 0])
    for wrong, message in (
        (fold([0, 1], [], []), "'a': the test part is empty"),
        (fold([], [0], [1]), "'a': the train part is empty"),
        (fold([0, 1], [], [1]), "row 1 is there 2 times"),
        (fold([0, 1], [], [9]), "rows 0 to 9 of 6 utterances"),
        (fold([0, 2], [], [5]), "all 2 training utterances are of one class"),
        (fold([0, 1], [2], [3, 4]), "1 classes are tested .* such as 'sad'"),
    ):
        with pytest.raises(ValueError, match=message):
            check_targets(targets, [wrong], ["angry", "happy", "sad"])
    with pytest.raises(ValueError, match="there is no fold"):
        check_targets(targets, [])
    numbers = np.array([1.0, np.nan, 2.0, 3.0, np.inf, 0.0])
    check_targets(numbers, [fold([0, 2], [], [3])])
    with pytest.raises(ValueError, match="2 of 4 numbers to predict are not finite"):
        check_targets(numbers, [fold([0, 1, 2], [], [4])])


def test_embeddings_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"shape \(3, 2\) do not fit 4 labels"):
        check_vectors(np.zeros((3, 2)), 4)
    with pytest.raises(ValueError, match=r"shape \(4,\)"):
        check_vectors(np.zeros(4), 4)


@pytest.mark.parametrize("numbers", [False, True])
def test_inner_folds_hold_everyone_out_once_and_divide_no_group(numbers):
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 3, 90)
    targets = targets + 0.5 if numbers else targets
    groups = rng.integers(0, 10, 90)
    for given in (groups, None):
        parts = inner_folds(targets, given, number=4, seed=1)
        assert len(parts) == 4
        held_out = np.concatenate([held for _, held in parts])
        assert sorted(held_out) == list(range(90))
        for learned, held in parts:
            assert sorted([*learned, *held]) == list(range(90))
            if given is not None:
                assert not set(groups[learned]) & set(groups[held])
        if given is None and not numbers:
            shares = [np.bincount(targets[h]) / len(h) for _, h in parts]
            assert np.ptp(shares, axis=0).max() < 0.06
    assert len(inner_folds(targets, groups % 2, number=4)) == 2
    with pytest.raises(ValueError, match="all 90 training utterances are of '7'"):
        inner_folds(targets, np.full(90, 7))


def test_groups_of_one_class_are_spread_over_the_inner_folds():
    """Ten groups of one of two classes each: in every part both are held out."""
    groups = np.arange(60) % 10
    divisions = set()
    for seed in range(20):
        parts = inner_folds(groups % 2, groups, number=4, seed=seed)
        assert all(len(set(groups[held] % 2)) == 2 for _, held in parts)
        divisions.add(tuple(tuple(sorted(set(groups[held]))) for _, held in parts))
    assert len(divisions) > 1
