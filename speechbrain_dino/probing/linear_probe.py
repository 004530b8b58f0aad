"""Linear models of frozen embeddings over folds."""

from typing import Any, NamedTuple

import numpy as np

from speechbrain_dino.probing.inner_folds import inner_folds
from speechbrain_dino.probing.inputs import (
    check_targets,
    check_vectors,
    is_number,
    standardized,
    standardizer,
)


class FoldOutcome(NamedTuple):
    """The result of a probe in one fold."""

    fold: str
    """Name of the fold."""
    rows: np.ndarray
    """Tested rows of the embeddings (n,)."""
    predicted: np.ndarray
    """Predictions for them (n,)."""
    chosen: float
    """The regularization that was best in validation."""
    validation: float
    """The criterion in validation with this regularization."""
    scores: dict
    """Regularization -> the criterion in validation."""


class LinearProbe:
    """A linear model per fold, its regularization chosen without the test part.

    Features are standardized by the training part. The regularization is the one whose
    criterion is best on the fold's validation part; where a fold has none, on
    predictions of a cross-validation inside its training part in which no group, such
    as a speaker, is both learned from and predicted, each of whose models has a
    standardization of its own. Then the model is fitted to the whole training part.

    Arguments
    ---------
    model : callable
        Makes an estimator of scikit-learn's form, such as ``sklearn.svm.LinearSVC``;
        one with ``fit_path`` (``probing.linear_models``) fits all values at once.
    parameter : str
        Name of the argument that regularizes.
    values : sequence of float
        The strongest regularization first: the first of equally good ones is taken.
    criterion : callable
        ``criterion(true, predicted)``, higher is better; such as
        ``metrics.classification.unweighted_recall``.
    num_inner, seed : int
        Parts of the cross-validation, and the seed of their division.

    Example
    -------
    >>> from sklearn.linear_model import RidgeClassifier
    >>> from speechbrain_dino.metrics.classification import unweighted_recall
    >>> from speechbrain_dino.data.folds import Fold
    >>> probe = LinearProbe(RidgeClassifier, "alpha", [10.0, 1.0], unweighted_recall)
    >>> fold = Fold("a", np.arange(0, 8), np.arange(8, 10), np.arange(10, 12))
    >>> targets = np.arange(12) % 2
    >>> vectors = np.stack([targets, np.arange(12)], axis=1).astype(np.float32)
    >>> (outcome,) = probe.run(vectors, targets, [fold])
    >>> outcome.predicted.tolist(), outcome.chosen
    ([0, 1], 10.0)
    """

    def __init__(self, model, parameter, values, criterion, num_inner=3, seed=0):
        if not len(values):
            raise ValueError(f"no value of {parameter} to choose from was given")
        self.model, self.parameter = model, parameter
        self.values = [float(value) for value in values]
        self.criterion, self.num_inner, self.seed = criterion, num_inner, seed

    @property
    def criterion_name(self):
        """Name of the criterion's function."""
        return getattr(self.criterion, "func", self.criterion).__name__

    def run(self, vectors, targets, folds, groups=None):
        """Fits and tests a model per fold; returns a `FoldOutcome` each.

        Vectors are (N, D), targets (N,) classes (whole numbers) or floats, groups (N,)
        names that the cross-validation keeps together. Raises ValueError if something
        is not finite, a part is empty, a class of a test part is not in its training
        part, or all of a training part is one group.
        """
        targets = np.asarray(targets)
        check_targets(targets, folds)
        check_vectors(vectors, len(targets))
        outcomes = []
        for fold in folds:
            model, validation, scores = self.fit(vectors, targets, fold, groups)
            predicted = model.predict(vectors, fold.test)
            outcome = (fold.name, fold.test, predicted, model.value, validation, scores)
            outcomes.append(FoldOutcome(*outcome))
        return outcomes

    def fit(self, vectors, targets, fold, groups=None):
        """Fits a fold: `FittedProbe`, its criterion, regularization -> criterion."""
        if len(fold.valid):
            scaler, models = self._path(vectors, targets, fold.train)
            models, held_out = list(models), standardized(scaler, vectors, fold.valid)
            guesses = [model.predict(held_out) for model in models]
            scores = self._scores(targets[fold.valid], guesses)
            best = int(np.argmax(scores))
            model = models[best]
        else:
            scores = self._cross_validated(vectors, targets, fold.train, groups)
            best = int(np.argmax(scores))
            value = self.values[best : best + 1]
            scaler, models = self._path(vectors, targets, fold.train, value)
            (model,) = models
        fitted = FittedProbe(scaler, model, self.values[best])
        return fitted, scores[best], dict(zip(self.values, scores))

    def _scores(self, true, guesses):
        scores = [float(self.criterion(true, guess)) for guess in guesses]
        if not np.isfinite(scores).any():
            raise ValueError(
                "the criterion is not a number for any regularization: the validation "
                "part has a single value, take larger ones"
            )
        return [score if np.isfinite(score) else -np.inf for score in scores]

    def _cross_validated(self, vectors, targets, train, groups):
        guesses = [np.empty_like(targets[train]) for _ in self.values]
        groups = None if groups is None else np.asarray(groups)[train]
        parts = inner_folds(targets[train], groups, self.num_inner, self.seed)
        for learned, held_out in parts:
            scaler, models = self._path(vectors, targets, train[learned])
            tested = standardized(scaler, vectors, train[held_out])
            for guess, model in zip(guesses, models):
                guess[held_out] = model.predict(tested)
        return self._scores(targets[train], guesses)

    def _path(self, vectors, targets, rows, values=None):
        """The scaler, and the estimators fitted with each value in turn."""
        values = self.values if values is None else values
        scaler = standardizer(vectors, rows)
        X, y = standardized(scaler, vectors, rows), targets[rows]
        if not is_number(y) and (y == y[0]).all():
            raise ValueError(
                f"{len(y)} training utterances are of one class: divide again, so that "
                "each training part has two or more"
            )
        first = self.model()
        if getattr(first, "path_parameter", None) == self.parameter:
            return scaler, first.fit_path(X, y, values)
        make = self.model
        return scaler, (make(**{self.parameter: v}).fit(X, y) for v in values)


class FittedProbe(NamedTuple):
    """A fitted model with its standardization."""

    scaler: Any
    """StandardScaler of the training part."""
    model: Any
    """The estimator."""
    value: float
    """Its regularization."""

    def predict(self, vectors, rows):
        """Classes or numbers for some rows of embeddings (N, D)."""
        return self.model.predict(standardized(self.scaler, vectors, rows))
