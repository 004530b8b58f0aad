"""Counts by class, and the figures that are functions of them.

What is a sum over utterances is a sum over speakers too: a draw of speakers adds up
their counts (`speechbrain_dino.fold_figures`), a thousand draws are one product.
"""

from typing import NamedTuple

import numpy as np


class ClassCounts(NamedTuple):
    """Counts by class, each ``(..., K)``.

    Arguments
    ---------
    hits : numpy.ndarray
        Utterances of the class that were recognised.
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
