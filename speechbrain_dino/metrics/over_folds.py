"""Figures over folds: pooled, by fold, and their intervals over speakers."""

import numpy as np


def fold_figures(sums_of, folds, speakers=None, replicates=1000, seed=0):
    """Pools the test utterances of all folds, and sums the folds up.

    Arguments
    ---------
    sums_of : callable
        ``sums_of(true, predicted, groups=None)``: a named tuple of sums with
        ``figures()``, such as ``Moments.of``.
    folds : sequence of tuple
        True and predicted values (n,) of the test utterances of each fold.
    speakers : sequence, optional
        Their speakers, an array (n,) a fold; without, intervals draw utterances.
    replicates : int
        How often to draw speakers for the intervals; 0: no intervals.
    seed : int
        Of these draws.

    Returns
    -------
    dict
        ``utterances``; ``pooled``, the figures over all test utterances together;
        ``intervals``, figure -> (low, high), 95 %; ``intervals_over``, what was drawn
        and how many there are; ``folds``, a dict of figures each; ``mean`` and
        ``deviation`` (of a sample, N - 1) over the folds, the latter only of several.
    """
    true, predicted = (np.concatenate(parts) for parts in zip(*folds))
    pooled = _plain(sums_of(true, predicted).figures())
    of_folds = [_plain(sums_of(*fold).figures()) for fold in folds]
    found = {"utterances": len(true), "pooled": pooled, "folds": of_folds}
    found["mean"] = {n: float(np.mean([f[n] for f in of_folds])) for n in pooled}
    if len(folds) > 1:
        found["deviation"] = {
            n: float(np.std([f[n] for f in of_folds], ddof=1)) for n in pooled
        }
    if replicates:
        if speakers is None:
            names, groups = true, np.arange(len(true))
        else:
            names, groups = np.unique(np.concatenate(speakers), return_inverse=True)
        sums = sums_of(true, predicted, groups)
        found["intervals"] = group_intervals(sums, 0.95, replicates, seed)
        drawn = "utterances" if speakers is None else "speakers"
        found["intervals_over"] = f"{len(names)} {drawn}"
    return found


def _plain(figures):
    return {name: float(value) for name, value in figures.items()}


def group_intervals(sums, level=0.95, replicates=1000, seed=0):
    """Intervals in which figures lie when other groups, such as speakers, are drawn.

    Each replicate draws as many groups as there are, with replacement. Utterances of
    one speaker are alike, so that drawing utterances would promise too much. Classes
    that a draw leaves out do not count in it.

    Arguments
    ---------
    sums : ClassCounts or Moments
        Named tuple of the sums of each group ``(G, ...)``, with ``figures()``.
    level : float
        Probability of the interval.
    replicates : int
        How often to draw.
    seed : int
        The draws depend on nothing else.

    Returns
    -------
    dict
        Figure -> (low, high).

    Example
    -------
    >>> from speechbrain_dino.metrics.classification import ClassCounts
    >>> counts = ClassCounts.of([0, 1, 0, 1], [0, 1, 0, 0], 2, groups=[0, 0, 1, 1])
    >>> group_intervals(counts)["micro_f1"]
    (0.5, 1.0)
    """
    number = len(sums[0])
    rng = np.random.default_rng(seed)
    found = []
    # A hundred draws at a time: with a group per utterance, all of them fill memory.
    for first in range(0, replicates, 100):
        draws = [
            np.bincount(rng.integers(0, number, number), minlength=number)
            for _ in range(min(100, replicates - first))
        ]
        drawn = np.array(draws, dtype=np.float64)
        found.append(type(sums)(*(drawn @ part for part in sums)).figures())
    tails = [(1 - level) / 2, (1 + level) / 2]
    drawn = {name: np.concatenate([part[name] for part in found]) for name in found[0]}
    return {
        name: tuple(np.nanquantile(values, tails).tolist())
        for name, values in drawn.items()
        if np.isfinite(values).any()
    }
