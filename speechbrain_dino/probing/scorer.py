"""From the outcomes of a probe to the metrics of its systems."""

import numpy as np

from speechbrain_dino.data.folds import PARTS
from speechbrain_dino.metrics.classification import classification_metrics
from speechbrain_dino.metrics.regression import regression_metrics


class Scorer:
    """Measures predictions of one `Target` over its folds.

    Confidence intervals are over ``replicates`` draws (0: none) of ``speakers`` (N,),
    or of utterances without these; ``seed`` is that of the draws.
    """

    def __init__(self, target, speakers=None, replicates=1000, seed=0):
        self.target, self.speakers = target, speakers
        self.replicates, self.seed = replicates, seed
        self.classes = np.array(target.classes, dtype=object)

    def metrics(self, predictions):
        """Metrics over folds of pairs (rows, predictions), one per fold's test part."""
        folds = [
            (self.shown(self.target.values[r]), self.shown(p)) for r, p in predictions
        ]
        speakers = self.speakers
        if speakers is not None:
            speakers = [speakers[rows] for rows, _ in predictions]
        options = {"speakers": speakers, "replicates": self.replicates}
        options["seed"] = self.seed
        if self.target.classes:
            return classification_metrics(folds, self.target.classes, **options)
        return regression_metrics(folds, **options)

    def shown(self, values):
        """Names of the classes, or the numbers as they are."""
        return self.classes[values] if self.target.classes else values

    def of_outcomes(self, outcomes):
        """Metrics of `FoldOutcome`, with ``chosen`` and the mean ``validation``."""
        return self.metrics([(fold.rows, fold.predicted) for fold in outcomes]) | {
            "validation": float(np.mean([fold.validation for fold in outcomes])),
            "chosen": [fold.chosen for fold in outcomes],
        }

    def floors(self):
        """Metrics of `floors`."""
        return {
            name: self.metrics(guess) for name, guess in floors(self.target).items()
        }

    def counts(self):
        """Fold -> part -> utterances, speakers, and utterances of each class."""
        of_folds = {}
        for fold in self.target.folds:
            of_folds[fold.name] = {}
            for part in PARTS:
                rows = getattr(fold, part)
                about = {"all": len(rows)}
                if self.speakers is not None:
                    about["speakers"] = len(set(self.speakers[rows]))
                number = len(self.classes)
                if number:
                    sizes = np.bincount(self.target.values[rows], minlength=number)
                    about |= dict(zip(self.target.classes, sizes.tolist()))
                of_folds[fold.name][part] = about
        return of_folds


def floors(target, seed=0):
    """Predictions without listening: name -> (rows, predictions) per fold's test part.

    Of classes: ``chance``, drawn with equal probability, and ``majority``, the most
    frequent class of the training part. Of numbers: ``mean`` of the training part.

    Example
    -------
    >>> from speechbrain_dino.data.folds import Fold
    >>> from speechbrain_dino.probing.data import Target
    >>> fold = Fold("a", np.array([0, 1, 2]), np.array([]), np.array([3, 4]))
    >>> target = Target("x", np.array([1, 1, 0, 0, 1]), ["a", "b"], [fold], 0)
    >>> floors(target)["majority"][0][1].tolist()
    [1, 1]
    """
    rng = np.random.default_rng(seed)
    number = len(target.classes)
    of_name = {}
    for fold in target.folds:
        size, learned = len(fold.test), target.values[fold.train]
        if number:
            common = np.bincount(learned, minlength=number).argmax()
            guesses = {"chance": rng.integers(0, number, size)}
            guesses["majority"] = np.full(size, common)
        else:
            guesses = {"mean": np.full(size, learned.mean())}
        for name, guess in guesses.items():
            of_name.setdefault(name, []).append((fold.test, guess))
    return of_name


def best_systems(systems):
    """Name of the system that is best in validation, and source -> its best system.

    Example
    -------
    >>> values = {"a": ("x", 0.5), "b": ("x", 0.7), "c": ("y", 0.6)}
    >>> best_systems({n: dict(source=s, validation=v) for n, (s, v) in values.items()})
    ('b', {'x': 'b', 'y': 'c'})
    """
    probed = {name: about for name, about in systems.items() if "source" in about}
    layers = {}
    for name, about in probed.items():
        other = layers.setdefault(about["source"], name)
        if about["validation"] > probed[other]["validation"]:
            layers[about["source"]] = name
    return max(layers.values(), key=lambda name: probed[name]["validation"]), layers
