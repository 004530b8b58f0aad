"""Linear models that fit a path of regularizations for little more than one.

The objectives and arguments of scikit-learn's LogisticRegression and Ridge.
``fit_path`` rotates the data onto the eigenvectors of their covariance once, where
ridge regression is a division, and where L-BFGS can be preconditioned.
"""

import warnings

import numpy as np
import torch
from scipy.optimize import minimize
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import Ridge
from sklearn.utils.class_weight import compute_class_weight

_BLOCK = 1 << 24  # logits in memory at a time
_DOUBLE = 1 << 22  # numbers up to which double precision is taken
_ROWS = 1 << 14  # examples of which a copy in double precision is made


class Multinomial(ClassifierMixin, BaseEstimator):
    """Multinomial logistic regression with an L2 penalty, by preconditioned L-BFGS.

    Minimizes sum_i w_i CE(y_i, W x_i + b) + |W|^2 / (2 C), as scikit-learn's
    LogisticRegression; in double precision up to four million numbers, where that costs
    nothing, in single precision above. The covariance of embeddings spans several
    orders of magnitude. On its eigenvectors the penalty stays the same and the Hessian
    is close to diagonal (bounded by the covariance: Boehning, 1992), so that scaling
    each direction takes a tenth of the iterations.

    Arguments
    ---------
    C : float
        Inverse of the regularization.
    class_weight : str or dict, optional
        ``balanced``: the same total weight for each class; or a weight for each.
    tol : float
        Largest preconditioned gradient of the mean loss at which to stop.
    max_iter : int
    device : str

    Example
    -------
    >>> X = np.array([[0.0], [1.0], [4.0], [5.0], [8.0], [9.0]])
    >>> model = Multinomial(C=10.0).fit(X, list("aabbcc"))
    >>> model.predict([[0.5], [4.4], [8.8]]).tolist()
    ['a', 'b', 'c']
    """

    path_parameter = "C"

    def __init__(self, C=1.0, class_weight=None, tol=1e-5, max_iter=1000, device="cpu"):
        self.C = C
        self.class_weight = class_weight
        self.tol = tol
        self.max_iter = max_iter
        self.device = device

    def fit(self, X, y):
        """Fits ``classes_`` (K,), ``coef_`` (K, D) and ``intercept_`` (K,), K >= 2."""
        (fitted,) = self.fit_path(X, y, [self.C])
        vars(self).update(vars(fitted))
        return self

    def fit_path(self, X, y, values):
        """Yields a fitted model per C, best rising, each started from the last one."""
        classes, target = np.unique(y, return_inverse=True)
        if len(classes) < 2:
            raise ValueError(
                f"all {len(target)} examples are of the class {classes.tolist()}: a "
                "classifier needs two or more"
            )
        weight = compute_class_weight(self.class_weight, classes=classes, y=y)[target]
        X = np.asarray(X)
        X = X.astype(np.float64 if X.size <= _DOUBLE else np.float32, copy=False)
        data = _Rotated(X, target, weight, self.device)
        coefficients = np.zeros((len(classes), data.width + 1))
        for value in values:
            # Two classes: scikit-learn has one row of weights, which is the difference
            # of two rows here, so that |W|^2 is half of its own.
            twice = 2.0 if len(classes) == 2 else 1.0
            penalty = twice / (value * weight.sum())
            coefficients = data.minimize(coefficients, penalty, self.tol, self.max_iter)
            model = clone(self).set_params(C=value)
            model.classes_ = classes
            model.coef_, model.intercept_ = data.back(coefficients)
            yield model

    def decision_function(self, X):
        """Logits ``(N, K)``."""
        coef, intercept = self.coef_.astype(np.float32), self.intercept_
        return np.asarray(X, np.float32) @ coef.T + intercept.astype(np.float32)

    def predict(self, X):
        """Classes ``(N,)``."""
        return self.classes_[self.decision_function(X).argmax(axis=1)]


class _Rotated:
    """Examples on the eigenvectors of their covariance, and the loss there."""

    def __init__(self, X, target, weight, device):
        total = weight.sum()
        self.mean = (weight.astype(X.dtype) @ X / total).astype(X.dtype)
        x = torch.from_numpy(X - self.mean).to(device)
        self.weight = torch.from_numpy((weight / total).astype(X.dtype)).to(device)
        covariance = (x * self.weight[:, None]).T @ x
        self.spread, basis = np.linalg.eigh(covariance.double().cpu().numpy())
        self.spread = self.spread.clip(min=0)
        self.basis = basis.astype(X.dtype)
        self.x = x @ torch.from_numpy(self.basis).to(device)
        self.target = torch.from_numpy(target).to(device)
        self.width = X.shape[1]

    def minimize(self, start, penalty, tol, max_iter):
        """Coefficients (K, D + 1), the last column the intercepts."""
        # The bound of the Hessian: with it a step of 1 never overshoots.
        scale = np.append(self.spread / 2 + penalty, 0.5) ** -0.5

        def scaled(flat):
            value, gradient = self.loss(flat.reshape(start.shape) * scale, penalty)
            return value, (gradient * scale).ravel()

        # In float32 smaller gains than these are rounding, and searches for them long.
        options = {"gtol": tol, "ftol": tol**2 / 10, "maxls": 8, "maxcor": 20}
        options["maxiter"] = max_iter
        first = (start / scale).ravel()
        result = minimize(scaled, first, jac=True, method="L-BFGS-B", options=options)
        if np.abs(result.jac).max() > max(100 * tol, 1e-4):
            warnings.warn(
                f"logistic regression stopped after {result.nit} iterations before it "
                f"converged ({result.message}): raise max_iter, or regularize more",
                ConvergenceWarning,
                stacklevel=3,
            )
        return result.x.reshape(start.shape) * scale

    def loss(self, coefficients, penalty):
        """Mean loss with the penalty, and its gradient (K, D + 1)."""
        inner = torch.from_numpy(coefficients).to(self.x)
        value, gradient = 0.0, torch.zeros_like(inner, dtype=torch.float64)
        # (K, block) rather than (block, K): the products are several times as fast.
        for lo in range(0, len(self.x), max(_BLOCK // len(inner), 1)):
            part = slice(lo, lo + max(_BLOCK // len(inner), 1))
            x, weight, target = self.x[part], self.weight[part], self.target[part]
            logits = torch.addmm(inner[:, -1:], inner[:, :-1], x.T)
            log_p = logits.log_softmax(dim=0)
            column = torch.arange(len(target), device=x.device)
            value -= (log_p[target, column] * weight).sum(dtype=torch.float64).item()
            error = log_p.exp_()
            error[target, column] -= 1
            error *= weight
            gradient[:, :-1] += error @ x
            gradient[:, -1] += error.sum(dim=1, dtype=torch.float64)
        weights = coefficients[:, :-1]
        gradient = gradient.cpu().numpy()
        gradient[:, :-1] += penalty * weights
        return value + 0.5 * penalty * np.sum(weights**2), gradient

    def back(self, coefficients):
        """Weights (K, D) and intercepts (K,) for the features as they were given."""
        weights = coefficients[:, :-1] @ self.basis.T.astype(np.float64)
        return weights, coefficients[:, -1] - weights @ self.mean


class RidgePath(Ridge):
    """scikit-learn's Ridge, with an intercept, that fits a path of alphas at once.

    Example
    -------
    >>> X, y = np.array([[0.0], [1.0], [2.0]]), np.array([0.0, 1.0, 2.0])
    >>> [round(float(m.coef_[0]), 2) for m in RidgePath().fit_path(X, y, [0.0, 2.0])]
    [1.0, 0.5]
    """

    path_parameter = "alpha"

    def fit_path(self, X, y, values):
        """Yields a fitted model per value of alpha, for X (N, D) and y (N,)."""
        X, y = np.asarray(X), np.asarray(y, np.float64)
        x_mean, y_mean = X.mean(axis=0, dtype=np.float64), y.mean()
        gram, along = np.zeros((X.shape[1], X.shape[1])), np.zeros(X.shape[1])
        for lo in range(0, len(X), _ROWS):
            centered = X[lo : lo + _ROWS] - x_mean
            gram += centered.T @ centered
            along += centered.T @ (y[lo : lo + _ROWS] - y_mean)
        spread, basis = np.linalg.eigh(gram)
        spread, along = spread.clip(min=0), basis.T @ along
        # Directions whose spread is rounding carry no information.
        flat = spread <= spread.max(initial=0) * 1e-12
        for value in values:
            model = clone(self).set_params(alpha=value)
            shrunk = spread + value
            parts = np.divide(along, shrunk, out=np.zeros_like(along), where=~flat)
            model.coef_ = basis @ parts
            model.intercept_ = y_mean - x_mean @ model.coef_
            model.n_features_in_ = X.shape[1]
            yield model
