"""Metrics of regressions, as functions of sums; see ``ClassCounts``."""

from typing import NamedTuple

import numpy as np

from speechbrain_dino.metrics.classification import share
from speechbrain_dino.metrics.over_folds import fold_metrics


class Moments(NamedTuple):
    """Sums ``(...)`` of true t, predicted p, less any constant, and products."""

    n: np.ndarray
    t: np.ndarray
    p: np.ndarray
    tt: np.ndarray
    pp: np.ndarray
    tp: np.ndarray

    @classmethod
    def of(cls, true, predicted, groups=None):
        """Sums ``()`` over utterances (N,), by groups (N,) ``(G,)``."""
        t = np.asarray(true, np.float64)
        # Variances are differences of sums of squares, which lose digits far from 0.
        p, t = np.asarray(predicted, np.float64) - t.mean(), t - t.mean()
        row = np.zeros(len(t), np.int64) if groups is None else groups
        products = (np.ones_like(t), t, p, t * t, p * p, t * p)
        sums = [np.bincount(row, values) for values in products]
        return cls(*(part if groups is not None else part[0] for part in sums))

    def metrics(self):
        """Concordance and Pearson correlation, root mean square error, each ``(...)``.

        The concordance correlation coefficient (Lin, 1989) is
        2 cov(t, p) / (var t + var p + (mean t - mean p)^2); where t does not vary,
        neither is defined, and a constant p has a correlation of 0.

        Example
        -------
        >>> metrics = Moments.of([1.0, 2.0, 3.0], [1.0, 2.0, 6.0]).metrics()
        >>> {name: round(float(value), 3) for name, value in metrics.items()}
        {'ccc': 0.526, 'pearson': 0.945, 'rmse': 1.732}
        """
        t, p = self.t / self.n, self.p / self.n
        var_t, var_p = self.tt / self.n - t * t, self.pp / self.n - p * p
        covariance = self.tp / self.n - t * p
        varies = var_t > 0
        spread = np.sqrt(np.clip(var_t * var_p, 0, None))
        pearson = np.where(spread > 0, share(covariance, spread), 0.0)
        ccc = share(2 * covariance, var_t + var_p + (t - p) ** 2)
        error = (self.tt + self.pp - 2 * self.tp) / self.n
        return {
            "ccc": np.where(varies, ccc, np.nan),
            "pearson": np.where(varies, pearson, np.nan),
            "rmse": np.sqrt(np.clip(error, 0, None)),
        }


def ccc(true, predicted):
    """Concordance correlation coefficient of numbers (N,), see `Moments.metrics`."""
    return float(Moments.of(true, predicted).metrics()["ccc"])


def regression_metrics(folds, speakers=None, replicates=1000, seed=0):
    """Metrics of a regression over folds, see `over_folds.fold_metrics`."""
    return fold_metrics(Moments.of, folds, speakers, replicates, seed)
