"""From the outcomes of a probe to the figures of its systems."""

import numpy as np

from speechbrain_dino.data.folds import PARTS
from speechbrain_dino.metrics.classification import classification_figures
from speechbrain_dino.metrics.regression import number_figures


class Scorer:
    """Measures predictions of one label over its folds.

    Arguments
    ---------
    target : speechbrain_dino.probing.data.Target
        Labels and folds.
    speakers : array, shape (N,), optional
        Names of the speakers, over whom intervals are drawn; else over utterances.
    replicates : int
        Draws; 0: no intervals.
    seed : int
        Of the draws and of guesses.
    """

    def __init__(self, target, speakers=None, replicates=1000, seed=0):
        self.target, self.speakers = target, speakers
        self.replicates, self.seed = replicates, seed
        self.classes = np.array(target.classes, dtype=object)

    def figures(self, predictions):
        """Figures over folds.

        Arguments
        ---------
        predictions : list of tuple
            Rows and what was predicted for them, of each fold's test part.

        Returns
        -------
        dict
            See ``classification_figures`` and ``number_figures``.
        """
        folds = [
            (self.shown(self.target.values[r]), self.shown(p)) for r, p in predictions
        ]
        speakers = self.speakers
        if speakers is not None:
            speakers = [speakers[rows] for rows, _ in predictions]
        options = {"speakers": speakers, "replicates": self.replicates}
        options["seed"] = self.seed
        if self.target.classes:
            return classification_figures(folds, self.target.classes, **options)
        return number_figures(folds, **options)

    def shown(self, values):
        """Names of the classes, or the numbers as they are."""
        return self.classes[values] if self.target.classes else values

    def of_outcomes(self, outcomes):
        """Figures of a probe, with what was chosen in each fold.

        Arguments
        ---------
        outcomes : list of speechbrain_dino.probing.linear_probe.FoldOutcome
            What the probe found.

        Returns
        -------
        dict
            ``figures``, with ``validation``, the criterion there (mean over folds),
            and ``chosen``, the regularization of each fold.
        """
        return self.figures([(fold.rows, fold.predicted) for fold in outcomes]) | {
            "validation": float(np.mean([fold.validation for fold in outcomes])),
            "chosen": [fold.chosen for fold in outcomes],
        }

    def floors(self):
        """Figures of what is reached without listening.

        Returns
        -------
        dict
            Of classes: ``chance``, drawn with equal probability, and ``majority``,
            the most frequent class of the training part. Of numbers: ``mean``, that
            of the training part.
        """
        return {
            name: self.figures(guess) for name, guess in floors(self.target).items()
        }

    def counts(self):
        """Fold -> part -> utterances, speakers, and utterances of each class."""
        found = {}
        for fold in self.target.folds:
            found[fold.name] = {}
            for part in PARTS:
                rows = getattr(fold, part)
                about = {"all": len(rows)}
                if self.speakers is not None:
                    about["speakers"] = len(set(self.speakers[rows]))
                number = len(self.classes)
                if number:
                    found_here = np.bincount(self.target.values[rows], minlength=number)
                    about |= dict(zip(self.target.classes, found_here.tolist()))
                found[fold.name][part] = about
        return found


def floors(target, seed=0):
    """What is reached without listening.

    Arguments
    ---------
    target : speechbrain_dino.probing.data.Target
        Labels and folds.
    seed : int
        Of the guesses.

    Returns
    -------
    dict
        ``chance`` and ``majority``, or ``mean``: rows and predictions of each fold's
        test part, see ``Scorer.floors``.

    Example
    -------
    >>> from speechbrain_dino.data.folds import Fold
    >>> from speechbrain_dino.probing.data import Target
    >>> fold = Fold("a", np.array([0, 1, 2]), np.array([]), np.array([3, 4]))
    >>> target = Target("x", np.array([1, 1, 0, 0, 1]), ["a", "b"], [fold], 0)
    >>> [(rows, found)] = floors(target)["majority"]
    >>> found.tolist()
    [1, 1]
    """
    rng = np.random.default_rng(seed)
    number = len(target.classes)
    found = {}
    for fold in target.folds:
        size, learnt = len(fold.test), target.values[fold.train]
        if number:
            common = np.bincount(learnt, minlength=number).argmax()
            guesses = {"chance": rng.integers(0, number, size)}
            guesses["majority"] = np.full(size, common)
        else:
            guesses = {"mean": np.full(size, learnt.mean())}
        for name, guess in guesses.items():
            found.setdefault(name, []).append((fold.test, guess))
    return found


def best_systems(systems):
    """The system that is best in validation, and the best layer of each source.

    Arguments
    ---------
    systems : dict
        Name -> figures, with ``source``, ``layer`` and ``validation`` where probed.

    Returns
    -------
    best : str
        Name of a system.
    layers : dict
        Source -> name of its best system.

    Example
    -------
    >>> found = {"a": ("x", 0.5), "b": ("x", 0.7), "c": ("y", 0.6)}
    >>> best_systems({n: dict(source=s, validation=v) for n, (s, v) in found.items()})
    ('b', {'x': 'b', 'y': 'c'})
    """
    probed = {name: found for name, found in systems.items() if "source" in found}
    layers = {}
    for name, found in probed.items():
        other = layers.setdefault(found["source"], name)
        if found["validation"] > probed[other]["validation"]:
            layers[found["source"]] = name
    return max(layers.values(), key=lambda name: probed[name]["validation"]), layers
