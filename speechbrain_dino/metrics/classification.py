"""Figures of classifiers: micro-F1, macro-F1, UAR, recalls, confusions, intervals."""

import logging
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd

from speechbrain_dino.metrics.over_folds import fold_figures

logger = logging.getLogger(__name__)

MOST_CLASSES = 50
"""With more classes recalls and confusions are not written down one by one."""


def unweighted_recall(true, predicted):
    """Unweighted average recall (UAR): the mean of the recalls of the classes.

    Arguments
    ---------
    true, predicted : array, shape (N,)
        Classes, names or numbers. Classes that do not occur in ``true`` do not count.

    Returns
    -------
    float
        Between 0 and 1.

    Example
    -------
    >>> unweighted_recall([0, 0, 0, 1], [0, 0, 0, 0])
    0.5
    """
    return _figure(true, predicted, "uar")


def micro_f1(true, predicted):
    """The micro-averaged F1, which is the accuracy where each utterance has one class.

    Arguments
    ---------
    true, predicted : array, shape (N,)
        Classes, names or numbers.

    Returns
    -------
    float
        Between 0 and 1.

    Example
    -------
    >>> micro_f1(["sad", "sad", "angry"], ["sad", "angry", "angry"])
    0.6666666666666666
    """
    return _figure(true, predicted, "micro_f1")


def macro_f1(true, predicted):
    """The mean of the F1 of the classes that occur or were predicted.

    Arguments
    ---------
    true, predicted : array, shape (N,)
        Classes, names or numbers.

    Returns
    -------
    float
        Between 0 and 1.

    Example
    -------
    >>> round(macro_f1([0, 0, 1, 1], [0, 1, 1, 1]), 4)
    0.7333
    """
    return _figure(true, predicted, "macro_f1")


def _figure(true, predicted, name):
    true, predicted = np.asarray(true), np.asarray(predicted)
    if not len(true) or true.shape != predicted.shape:
        raise ValueError(
            f"{name} needs a prediction per label and at least one of them, was given "
            f"{true.shape} labels and {predicted.shape} predictions"
        )
    classes, both = np.unique(np.concatenate([true, predicted]), return_inverse=True)
    counts = ClassCounts.of(*np.split(both, 2), len(classes))
    return float(counts.figures()[name])


def classification_figures(folds, classes, speakers=None, replicates=1000, seed=0):
    """All figures of a classifier over folds.

    Arguments
    ---------
    folds : sequence of tuple
        True and predicted classes, two arrays of names (n,) for the test utterances
        of each fold.
    classes : sequence of str
        The names of the classes.
    speakers : sequence, optional
        Their speakers, an array (n,) a fold; without, intervals draw utterances.
    replicates : int
        How often to draw speakers for the intervals; 0: no intervals.
    seed : int
        Of these draws.

    Returns
    -------
    dict
        As `speechbrain_dino.metrics.over_folds.fold_figures`: ``utterances``,
        ``pooled`` (``micro_f1``, ``macro_f1``, ``uar``), ``intervals``,
        ``intervals_over``, ``folds``, ``mean``, ``deviation``. And, of up to 50
        classes, ``recalls`` (class -> recall over all test utterances, None where it
        does not occur) and ``confusion``, counts summed over the folds: a row a class,
        a column what it was taken for, in the order of ``classes``.

    Raises
    ------
    ValueError
        If a class is none of ``classes``, or there is no utterance.

    Example
    -------
    >>> fold = ["sad", "sad", "angry"], ["sad", "angry", "angry"]
    >>> found = classification_figures([fold], ["angry", "sad"], replicates=0)
    >>> found["pooled"]["uar"], found["recalls"], found["confusion"]
    (0.75, {'angry': 1.0, 'sad': 0.5}, [[1, 0], [1, 1]])
    """
    classes = [str(name) for name in classes]
    numbered = [tuple(_numbers(part, classes) for part in fold) for fold in folds]
    number = len(classes)
    if not any(len(true) for true, _ in numbered):
        raise ValueError("no test utterance was given: there is nothing to measure")
    sums_of = partial(_counts, number)
    found = fold_figures(sums_of, numbered, speakers, replicates, seed)
    if number <= MOST_CLASSES:
        true, predicted = (np.concatenate(parts) for parts in zip(*numbered))
        recalls = ClassCounts.of(true, predicted, number).recalls()
        found["recalls"] = {
            name: None if np.isnan(recall) else float(recall)
            for name, recall in zip(classes, recalls)
        }
        found["confusion"] = confusion(true, predicted, number).tolist()
    return found


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


def log_figures(systems, classes=()):
    """Writes a table of systems, and one of their recalls, to the log.

    Arguments
    ---------
    systems : dict
        Name -> what `classification_figures` (or ``number_figures``) returned.
    classes : sequence of str
        Classes whose recalls are wanted.
    """
    logger.info("%s", figures_frame(systems).to_string())
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
"""Names of the figures, and their order in tables."""


def figures_frame(systems):
    """A table with a row per system.

    Arguments
    ---------
    systems : dict
        Name -> what `classification_figures` (or ``number_figures``) returned.

    Returns
    -------
    pandas.DataFrame
        Text: every figure over all test utterances with its interval, and its mean
        and deviation over folds where there are several.
    """
    rows = {}
    for name, figures in systems.items():
        row = {}
        for key in TITLES:
            if key in figures["pooled"]:
                title, form = TITLES[key], shown(key)
                row[title] = form(figures["pooled"][key])
                if key in figures.get("intervals", ()):
                    low, high = map(form, figures["intervals"][key])
                    row[title] += f" [{low}, {high}]"
                if "deviation" in figures:
                    mean, spread = figures["mean"][key], figures["deviation"][key]
                    row[f"{title}, folds"] = f"{form(mean)} +- {form(spread)}"
        rows[name] = row
    return pd.DataFrame.from_dict(rows, "index").fillna("-")


def shown(key):
    """How a figure is written: a function float -> str; rates in per cent."""
    return _percent if TITLES[key].endswith("(%)") else _number


def _percent(value):
    return "-" if value is None or np.isnan(value) else f"{100 * value:.1f}"


def _number(value):
    return "-" if value is None or np.isnan(value) else f"{value:.3f}"


class ClassCounts(NamedTuple):
    """Counts by class, each ``(..., K)``.

    Arguments
    ---------
    hits : numpy.ndarray
        Utterances of the class that were recognized.
    support : numpy.ndarray
        Utterances of the class.
    predicted : numpy.ndarray
        Utterances that were taken for the class.
    """

    hits: np.ndarray
    support: np.ndarray
    predicted: np.ndarray

    @classmethod
    def of(cls, true, predicted, number, groups=None):
        """Counts predictions.

        Arguments
        ---------
        true, predicted : int array, shape (N,)
            Classes, 0 to ``number`` - 1.
        number : int
            Number of classes K.
        groups : int array, shape (N,), optional
            Number of each utterance's group, from 0.

        Returns
        -------
        ClassCounts
            ``(K,)``, with groups ``(G, K)``.
        """
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

    def figures(self):
        """Micro-F1 (the accuracy), macro-F1 and UAR.

        As scikit-learn has them: the macro-F1 is the mean over classes that occur or
        were predicted, the unweighted average recall that over classes that occur.

        Returns
        -------
        dict
            ``micro_f1``, ``macro_f1``, ``uar``, each ``(...)``.

        Example
        -------
        >>> counts = ClassCounts.of([0, 0, 0, 1], [0, 0, 1, 1], 2)
        >>> {name: round(float(value), 3) for name, value in counts.figures().items()}
        {'micro_f1': 0.75, 'macro_f1': 0.733, 'uar': 0.833}
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


def confusion(true, predicted, number):
    """How often each class was taken for each.

    Arguments
    ---------
    true, predicted : int array, shape (N,)
        Classes from 0.
    number : int
        Number of classes K.

    Returns
    -------
    numpy.ndarray, shape (K, K)
        Row: the class; column: what it was taken for.

    Example
    -------
    >>> confusion([0, 0, 1], [0, 1, 1], 2).tolist()
    [[1, 1], [0, 1]]
    """
    place = np.asarray(true) * number + np.asarray(predicted)
    return np.bincount(place, minlength=number**2).reshape(number, number)
