"""Calibration and fusion against direct minimization."""

import numpy as np
import pytest
from scipy.optimize import minimize

from speechbrain_dino.metrics.verification import act_dcf, cllr, eer, min_cllr, min_dcf
from speechbrain_dino.scoring.calibration import (
    Calibration,
    fit_calibration,
    read_systems,
)


@pytest.fixture
def systems():
    """Labels (600,) and scores (600, 2) of two systems with errors of their own."""
    rng = np.random.default_rng(0)
    labels = (rng.random(600) < 0.3).astype(int)
    scores = 0.1 * rng.normal(size=(600, 2)) + 0.15 * labels[:, None] + [0.3, -5]
    return labels, scores


@pytest.mark.parametrize("p", [0.01, 0.5])
@pytest.mark.parametrize("columns", [[0], [0, 1]])
def test_fit_minimizes_the_prior_weighted_objective(systems, p, columns):
    labels, scores = systems
    scores = scores[:, columns]
    prior = np.log(p / (1 - p))

    def objective(parameters):
        llr = scores @ parameters[1:] + parameters[0] + prior
        miss = np.logaddexp(0, -llr[labels == 1]).mean()
        return p * miss + (1 - p) * np.logaddexp(0, llr[labels == 0]).mean()

    fitted = fit_calibration(scores, labels, p)
    least = minimize(objective, np.zeros(1 + len(columns)), method="BFGS", tol=1e-12)
    ours = objective([fitted.offset, *fitted.weights])
    assert ours == pytest.approx(least.fun, rel=1e-5)
    np.testing.assert_allclose(fitted.weights, least.x[1:], rtol=0.01)


def test_calibrated_scores_are_log_likelihood_ratios():
    # Gaussians of one width: the true ratio is 2 * score - 2.
    rng = np.random.default_rng(0)
    labels = np.repeat([1, 0], [20_000, 60_000])
    scores = rng.normal(size=80_000) + 2 * labels
    fitted = fit_calibration(scores, labels, 0.05)
    assert fitted.weights[0] == pytest.approx(2, abs=0.05)
    assert fitted.offset == pytest.approx(-2, abs=0.05)


def test_calibration_keeps_the_order_and_lowers_the_cost(systems):
    labels, scores = systems
    llr = fit_calibration(scores[:, 0], labels, 0.05)(scores[:, 0])
    raw, calibrated = [
        (values[labels == 1], values[labels == 0]) for values in (scores[:, 0], llr)
    ]
    assert eer(*raw)[0] == eer(*calibrated)[0]
    assert min_cllr(*raw) == pytest.approx(min_cllr(*calibrated), abs=1e-12)
    assert min_cllr(*raw) < cllr(*calibrated) < cllr(*raw)
    assert min_dcf(*raw, 0.05)[0] <= act_dcf(*calibrated, 0.05) <= act_dcf(*raw, 0.05)


def test_fusion_is_better_than_either_system(systems):
    labels, scores = systems
    fused = fit_calibration(scores, labels)(scores)
    rates = [eer(s[labels == 1], s[labels == 0])[0] for s in (*scores.T, fused)]
    assert rates[2] < min(rates[:2])


def test_the_share_of_targets_does_not_matter(systems):
    labels, scores = systems
    more = np.concatenate([np.arange(600), np.repeat(np.flatnonzero(labels), 9)])
    few, many = (
        fit_calibration(scores, labels),
        fit_calibration(scores[more], labels[more]),
    )
    # The scores are standardized over the list, so the ridge differs a little.
    np.testing.assert_allclose(few.weights, many.weights, rtol=1e-3)
    assert few.offset == pytest.approx(many.offset, rel=1e-3)


def test_scores_without_errors_get_a_finite_slope():
    fitted = fit_calibration([0.0, 0.1, 0.9, 1.0], [0, 0, 1, 1])
    assert np.isfinite(fitted.weights).all()
    assert np.sign(fitted([0.1, 0.9])).tolist() == [-1, 1]


def test_a_saved_calibration_comes_back(tmp_path):
    saved = Calibration(np.array([2.0, 1 / 3]), -0.1)
    saved.save(tmp_path / "new" / "calibration.json")
    loaded = Calibration.load(tmp_path / "new" / "calibration.json")
    scores = np.random.default_rng(0).normal(size=(5, 2))
    np.testing.assert_array_equal(loaded(scores), saved(scores))
    with pytest.raises(ValueError, match="of 2 systems was given scores of 1"):
        loaded(scores[:, 0])


def test_what_cannot_be_calibrated_is_named():
    with pytest.raises(ValueError, match="system 2 are equal"):
        fit_calibration([[0.0, 1.0], [1.0, 1.0]], [0, 1])
    with pytest.raises(ValueError, match="no non-target scores"):
        fit_calibration([0.0, 1.0], [1, 1])
    with pytest.raises(ValueError, match="1 of 1 target scores"):
        fit_calibration([0.0, np.nan], [0, 1])
    with pytest.raises(ValueError, match=r"2 trials, 1 labels and p_target=0\.01"):
        fit_calibration([0.0, 1.0], [1])


def write(path, lines):
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def test_systems_are_joined_by_the_names_of_the_trials(tmp_path):
    rng = np.random.default_rng(0)
    pairs = [f"e{i % 7} t{i % 5}" for i in range(60)]  # 35 pairs, some twice
    first = [f"{pair} {i}" for i, pair in enumerate(pairs)]
    second = [f"{i % 2} {pair} {-i}" for i, pair in enumerate(pairs[:35])]
    repeated = [f"{i % 2} {pairs[i]} {-35 - i}" for i in range(25)]
    order = rng.permutation(35)
    lines = [second[i] for i in order] + repeated
    files = [write(tmp_path / "a.txt", first), write(tmp_path / "b.txt", lines)]
    trials, scores = read_systems(files)
    assert scores[:, 0].tolist() == list(range(60))
    assert scores[:, 1].tolist() == [-float(i) for i in range(60)]
    assert trials.labels.tolist() == [i % 35 % 2 for i in range(60)]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["0 a c 1", "1 a d 1"], r"one\.txt:1: the trial a b is not in .*two\.txt"),
        (["0 a c 1", "1 a b 1", "0 x y 1"], r"two\.txt:3: the trial x y is not in"),
        (["0 a c 1", "1 a b 1", "1 a b 1"], r"one\.txt has 2 trials, .*two\.txt has 3"),
        (["1 a c 1", "1 a b 1"], r"one\.txt:2 and .*two\.txt:1 label the trial a c di"),
    ],
)
def test_other_trials_or_labels_are_named(tmp_path, lines, message):
    one = write(tmp_path / "one.txt", ["1 a b 0.5", "0 a c 0.1"])
    with pytest.raises(ValueError, match=message):
        read_systems([one, write(tmp_path / "two.txt", lines)])
