"""Metrics of regressions, against their formulas."""

import numpy as np
import pytest
from scipy.stats import pearsonr

from speechbrain_dino.metrics.regression import Moments, ccc, regression_metrics


def lin(true, predicted):
    """Lin's coefficient as it is written."""
    difference = (true.mean() - predicted.mean()) ** 2
    covariance = np.mean((true - true.mean()) * (predicted - predicted.mean()))
    return 2 * covariance / (true.var() + predicted.var() + difference)


@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_values(offset):
    rng = np.random.default_rng(0)
    true = rng.standard_normal(50) + offset
    predicted = 0.5 * (true - offset) + 0.3 * rng.standard_normal(50) + 0.2 + offset
    metrics = Moments.of(true, predicted).metrics()
    assert metrics["ccc"] == pytest.approx(lin(true, predicted), abs=1e-8)
    assert ccc(true, predicted) == metrics["ccc"]
    assert metrics["pearson"] == pytest.approx(pearsonr(true, predicted)[0], abs=1e-8)
    rmse = np.sqrt(np.mean((true - predicted) ** 2))
    assert metrics["rmse"] == pytest.approx(rmse, rel=1e-6)


def test_constants():
    metrics = Moments.of([1.0, 2.0, 3.0], [2.0, 2.0, 2.0]).metrics()
    assert (metrics["ccc"], metrics["pearson"]) == (0, 0)
    metrics = Moments.of([2.0, 2.0], [1.0, 3.0]).metrics()
    assert np.isnan(metrics["ccc"]) and metrics["rmse"] == 1


def test_folds():
    rng = np.random.default_rng(0)
    folds = [(rng.standard_normal(30), rng.standard_normal(30)) for _ in range(2)]
    speakers = [np.repeat(list("abc"), 10), np.repeat(list("def"), 10)]
    metrics = regression_metrics(folds, speakers, replicates=100)
    true, predicted = (np.concatenate(part) for part in zip(*folds))
    assert metrics["pooled"]["ccc"] == pytest.approx(lin(true, predicted))
    expected = [lin(*fold) for fold in folds]
    assert metrics["mean"]["ccc"] == pytest.approx(np.mean(expected))
    assert metrics["deviation"]["ccc"] == pytest.approx(np.std(expected, ddof=1))
    assert metrics["intervals_over"] == "6 speakers"
