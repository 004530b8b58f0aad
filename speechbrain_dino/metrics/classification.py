"""Metrics of classifiers: micro-F1, macro-F1, UAR, recalls, confusions, intervals."""

import logging
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd
from sklearn.metrics import confusion_matrix

from speechbrain_dino.metrics.over_folds import fold_metrics

logger = logging.getLogger(__name__)

MOST_CLASSES = 50
"""With more classes neither recalls nor confusions are listed."""


def unweighted_recall(true, predicted):
    """Unweighted average recall (UAR): the mean over the classes in ``true`` (N,).

    Example
    -------
    >>> unweighted_recall([0, 0, 0, 1], [0, 0, 0, 0])
    0.5
    """
    return _metric(true, predicted, "uar")


def micro_f1(true, predicted):
    """Micro-averaged F1 (N,): the accuracy, with one class per utterance."""
    return _metric(true, predicted, "micro_f1")


def macro_f1(true, predicted):
    """The mean F1 of the classes (N,) that occur or were predicted."""
    return _metric(true, predicted, "macro_f1")


def _metric(true, predicted, name):
    true, predicted = np.asarray(true), np.asarray(predicted)
    if not len(true) or true.shape != predicted.shape:
        raise ValueError(
            f"{name} needs a prediction per label and at least one of them, was given "
            f"{true.shape} labels and {predicted.shape} predictions"
        )
    classes, both = np.unique(np.concatenate([true, predicted]), return_inverse=True)
    counts = ClassCounts.of(*np.split(both, 2), len(classes))
    return float(counts.metrics()[name])


def classification_metrics(folds, classes, speakers=None, replicates=1000, seed=0):
    """All metrics of a classifier over folds, as `over_folds.fold_metrics`.

    Of up to 50 classes also ``recalls`` (class -> recall over all test utterances, None
    where it does not occur) and ``confusion``, counts summed over the folds: a row for
    each class, a column for what it was taken for, in the order of ``classes``. Folds
    hold names (n,). Raises ValueError at a name that is none of ``classes``, and if
    there is no utterance.

    Example
    -------
    >>> fold = ["sad", "sad", "angry"], ["sad", "angry", "angry"]
    >>> metrics = classification_metrics([fold], ["angry", "sad"], replicates=0)
    >>> metrics["pooled"]["uar"], metrics["recalls"], metrics["confusion"]
    (0.75, {'angry': 1.0, 'sad': 0.5}, [[1, 0], [1, 1]])
    """
    classes = [str(name) for name in classes]
    numbered = [tuple(_numbers(part, classes) for part in fold) for fold in folds]
    number = len(classes)
    if not any(len(true) for true, _ in numbered):
        raise ValueError("no test utterance was given: there is nothing to measure")
    sums_of = partial(_counts, number)
    metrics = fold_metrics(sums_of, numbered, speakers, replicates, seed)
    if number <= MOST_CLASSES:
        true, predicted = (np.concatenate(parts) for parts in zip(*numbered))
        recalls = ClassCounts.of(true, predicted, number).recalls()
        metrics["recalls"] = {
            name: None if np.isnan(recall) else float(recall)
            for name, recall in zip(classes, recalls)
        }
        counts = confusion_matrix(true, predicted, labels=range(number))
        metrics["confusion"] = counts.tolist()
    return metrics


def _counts(number, true, predicted, groups=None):
    return ClassCounts.of(true, predicted, number, groups)


def _numbers(names, classes):
    number_of = {name: number for number, name in enumerate(classes)}
    try:
        return np.array([number_of[str(name)] for name in names], dtype=np.int64)
    except KeyError as error:
        raise ValueError(
            f"the class {error.args[0]!r} is none of {', '.join(classes)}"
        ) from None


def log_metrics(systems, classes=()):
    """Logs the `metrics_frame` of systems, and the recalls of ``classes``."""
    logger.info("%s", metrics_frame(systems).to_string())
    recalls = {n: f["recalls"] for n, f in systems.items() if f.get("recalls")}
    if recalls and len(classes):
        lines = {
            name: [_percent(of.get(str(c))) for c in classes]
            for name, of in recalls.items()
        }
        table = pd.DataFrame.from_dict(lines, "index", columns=list(map(str, classes)))
        logger.info("Recall (%%)\n%s", table.to_string())


TITLES = {
    "uar": "UAR (%)",
    "micro_f1": "micro-F1 (%)",
    "macro_f1": "macro-F1 (%)",
    "ccc": "CCC",
    "pearson": "Pearson",
    "rmse": "RMSE",
}
"""Titles of the metrics, and their order in tables."""


def metrics_frame(systems):
    """Table (text) of system name -> metrics, a row per system.

    Every pooled metric with its interval, and mean and deviation over several folds.
    """
    rows = {}
    for name, metrics in systems.items():
        row = {}
        for key in TITLES:
            if key in metrics["pooled"]:
                title, form = TITLES[key], shown(key)
                row[title] = form(metrics["pooled"][key])
                if key in metrics.get("intervals", ()):
                    low, high = map(form, metrics["intervals"][key])
                    row[title] += f" [{low}, {high}]"
                if "deviation" in metrics:
                    mean, spread = metrics["mean"][key], metrics["deviation"][key]
                    row[f"{title}, folds"] = f"{form(mean)} +- {form(spread)}"
        rows[name] = row
    return pd.DataFrame.from_dict(rows, "index").fillna("-")


def shown(key):
    """How a metric is written: a function float -> str; rates in per cent."""
    return _percent if TITLES[key].endswith("(%)") else _number


def _percent(value):
    return "-" if value is None or np.isnan(value) else f"{100 * value:.1f}"


def _number(value):
    return "-" if value is None or np.isnan(value) else f"{value:.3f}"


class ClassCounts(NamedTuple):
    """Counts (..., K): recognized, of the class, taken for the class."""

    hits: np.ndarray
    support: np.ndarray
    predicted: np.ndarray

    @classmethod
    def of(cls, true, predicted, number, groups=None):
        """Counts of classes (N,) from 0: (K,), by groups (N,) (G, K)."""
        true, predicted = np.asarray(true), np.asarray(predicted)
        row = np.zeros(len(true), np.int64) if groups is None else np.asarray(groups)
        rows = 1 + int(row.max(initial=0))

        def count(classes, chosen):
            place = (row * number + classes)[chosen]
            return np.bincount(place, minlength=rows * number).reshape(rows, number)

        every = slice(None)
        parts = (true, true == predicted), (true, every), (predicted, every)
        counts = [count(*part) for part in parts]
        return cls(*(part if groups is not None else part[0] for part in counts))

    def metrics(self):
        """Micro-F1 (the accuracy), macro-F1 and UAR, each (...), as in scikit-learn.

        The macro-F1 is the mean over classes that occur or were predicted, the UAR over
        classes that occur.
        """
        f1 = share(2 * self.hits, self.support + self.predicted)
        return {
            "micro_f1": share(self.hits.sum(-1), self.support.sum(-1)),
            "macro_f1": np.nanmean(f1, axis=-1),
            "uar": np.nanmean(self.recalls(), axis=-1),
        }

    def recalls(self):
        """Recall of each class ``(..., K)``, NaN where a class does not occur."""
        return share(self.hits, self.support)


def share(part, whole):
    """Part by whole, NaN where the whole is 0."""
    part, whole = np.asarray(part, np.float64), np.asarray(whole)
    return np.divide(part, whole, out=np.full_like(part, np.nan), where=whole != 0)
