"""Linear models, against scikit-learn's."""

import numpy as np
import pytest
from scipy.special import logsumexp
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.utils.class_weight import compute_sample_weight

from speechbrain_dino.probing import linear_models
from speechbrain_dino.probing.linear_models import Multinomial, RidgePath


def examples(number=400, dim=20, classes=4, seed=0):
    """Overlapping classes in features of very different, correlated spread."""
    rng = np.random.default_rng(seed)
    share = np.arange(1, classes + 1)
    y = rng.choice(classes, number, p=share / share.sum())
    centers = 0.8 * rng.standard_normal((classes, dim))
    spread = 1 / (1 + np.arange(dim)) ** 0.8
    mixed = np.linalg.qr(rng.standard_normal((dim, dim)))[0]
    X = ((centers[y] + rng.standard_normal((number, dim))) * spread) @ mixed
    return ((X - X.mean(0)) / X.std(0)).astype(np.float32), y


def assert_near(fitted, expected, share):
    """Coefficients apart by at most a share of their norm."""
    assert np.linalg.norm(fitted - expected) <= share * np.linalg.norm(expected)


def objective(coef, intercept, X, y, weight, C):
    """What both minimize, in float64; two classes as one row of weights."""
    logits = X.astype(np.float64) @ coef.T + intercept
    if len(coef) == 1:
        logits = np.hstack([np.zeros_like(logits), logits])
    losses = logsumexp(logits, axis=1) - logits[np.arange(len(y)), y]
    return C * (weight * losses).sum() + 0.5 * (coef**2).sum()


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("class_weight", [None, "balanced"])
def test_coefficients_are_those_of_scikit_learn(classes, class_weight):
    X, y = examples(classes=classes)
    values = [1e-4, 1e-2, 1.0, 10.0]
    model = Multinomial(class_weight=class_weight, tol=1e-8)
    for value, fitted in zip(values, model.fit_path(X, y, values)):
        theirs = LogisticRegression(
            C=value, class_weight=class_weight, tol=1e-9, max_iter=5000
        ).fit(X.astype(np.float64), y)
        coef, intercept = fitted.coef_, fitted.intercept_
        if classes == 2:
            coef, intercept = coef[1:] - coef[:1], intercept[1:] - intercept[:1]
        np.testing.assert_allclose(coef, theirs.coef_, atol=1e-5)
        shift = intercept.mean() - theirs.intercept_.mean() if classes > 2 else 0.0
        np.testing.assert_allclose(intercept - shift, theirs.intercept_, atol=1e-4)
        assert (fitted.predict(X) == theirs.predict(X)).all()


@pytest.mark.parametrize("classes", [2, 4])
def test_the_default_tolerance_ends_at_the_least_objective(classes):
    X, y = examples(classes=classes)
    weight = compute_sample_weight("balanced", y)
    values = [1e-4, 1e-2, 1.0, 10.0]
    for value, fitted in zip(
        values, Multinomial(class_weight="balanced").fit_path(X, y, values)
    ):
        theirs = LogisticRegression(
            C=value, class_weight="balanced", tol=1e-9, max_iter=5000
        ).fit(X.astype(np.float64), y)
        coef, intercept = fitted.coef_, fitted.intercept_
        if classes == 2:
            coef, intercept = coef[1:] - coef[:1], intercept[1:] - intercept[:1]
        least = objective(theirs.coef_, theirs.intercept_, X, y, weight, value)
        ours = objective(coef, intercept, X, y, weight, value)
        assert least * (1 - 1e-7) <= ours <= least * (1 + 1e-5)
        assert (fitted.predict(X) == theirs.predict(X)).all()


def test_single_precision_is_close(monkeypatch):
    X, y = examples()
    monkeypatch.setattr(linear_models, "_DOUBLE", 0)
    for value, fitted in zip([1e-4, 1e-2], Multinomial().fit_path(X, y, [1e-4, 1e-2])):
        theirs = LogisticRegression(C=value, tol=1e-9, max_iter=5000).fit(X, y)
        np.testing.assert_allclose(fitted.coef_, theirs.coef_, atol=1e-4)


def test_a_path_ends_where_a_single_fit_does():
    X, y = examples()
    names = np.array(list("abcd"))[y]
    *_, last = Multinomial().fit_path(X, names, [1e-4, 1e-2, 1.0])
    alone = Multinomial(C=1.0).fit(X, names)
    assert_near(last.coef_, alone.coef_, 2e-3)
    assert alone.classes_.tolist() == list("abcd") and last.C == 1.0


def test_blocks_of_rows_change_nothing(monkeypatch):
    X, y = examples()
    whole = Multinomial().fit(X, y)
    monkeypatch.setattr(linear_models, "_BLOCK", 300)
    blocks = Multinomial().fit(X, y)
    np.testing.assert_allclose(blocks.coef_, whole.coef_, atol=1e-5)


def test_features_that_do_not_vary_and_more_features_than_examples():
    X, y = examples(number=30, dim=50)
    X[:, 7] = 3.0
    theirs = LogisticRegression(C=0.1, tol=1e-9, max_iter=5000).fit(X.astype(float), y)
    fitted = Multinomial(C=0.1).fit(X, y)
    np.testing.assert_allclose(fitted.coef_, theirs.coef_, atol=1e-4)
    np.testing.assert_allclose(fitted.coef_[:, 7], 0, atol=1e-6)


def test_one_class_and_too_few_iterations():
    X, y = examples()
    with pytest.raises(ValueError, match=r"of the class \[0\]"):
        Multinomial().fit(X, np.zeros_like(y))
    with pytest.warns(ConvergenceWarning, match="raise max_iter"):
        Multinomial(C=100.0, max_iter=2).fit(X, y)


def test_ridge_is_that_of_scikit_learn():
    X, y = examples(number=200, dim=30)
    y = X @ np.linspace(-1, 1, 30) + y + 40.0
    values = [1e4, 100.0, 1.0]
    for value, fitted in zip(values, RidgePath().fit_path(X, y, values)):
        theirs = Ridge(alpha=value).fit(X.astype(np.float64), y)
        np.testing.assert_allclose(fitted.coef_, theirs.coef_, atol=1e-4)
        np.testing.assert_allclose(fitted.predict(X), theirs.predict(X), atol=1e-3)
        assert fitted.alpha == value
    X, y = examples(number=20, dim=30)
    (fitted,) = RidgePath().fit_path(X, y, [1.0])
    theirs = Ridge(alpha=1.0).fit(X.astype(np.float64), y)
    np.testing.assert_allclose(fitted.coef_, theirs.coef_, atol=1e-4)
