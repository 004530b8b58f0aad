"""Metrics over folds: pooled, by fold, and their intervals over speakers."""

import numpy as np


def fold_metrics(sums_of, folds, speakers=None, replicates=1000, seed=0):
    """Metrics of the test utterances of all folds together, by fold, and summed up.

    ``folds`` are pairs of true and predicted values (n,), ``speakers`` arrays (n,),
    without which intervals draw utterances. ``sums_of(true, predicted, groups=None)``
    returns a named tuple of sums with ``metrics()``, such as ``Moments.of``.

    Returns
    -------
    dict
        ``utterances``; ``pooled`` metrics; ``intervals``, metric -> (low, high), 95 %;
        ``intervals_over``, what was drawn and how many there are; ``folds``; ``mean``
        and ``deviation`` (N - 1) over the folds, the latter only of several.
    """
    true, predicted = (np.concatenate(parts) for parts in zip(*folds))
    pooled = _plain(sums_of(true, predicted).metrics())
    of_folds = [_plain(sums_of(*fold).metrics()) for fold in folds]
    metrics = {"utterances": len(true), "pooled": pooled, "folds": of_folds}
    metrics["mean"] = {n: float(np.mean([f[n] for f in of_folds])) for n in pooled}
    if len(folds) > 1:
        metrics["deviation"] = {
            n: float(np.std([f[n] for f in of_folds], ddof=1)) for n in pooled
        }
    if replicates:
        if speakers is None:
            names, groups = true, np.arange(len(true))
        else:
            names, groups = np.unique(np.concatenate(speakers), return_inverse=True)
        sums = sums_of(true, predicted, groups)
        metrics["intervals"] = group_intervals(sums, 0.95, replicates, seed)
        drawn = "utterances" if speakers is None else "speakers"
        metrics["intervals_over"] = f"{len(names)} {drawn}"
    return metrics


def _plain(metrics):
    return {name: float(value) for name, value in metrics.items()}


def group_intervals(sums, level=0.95, replicates=1000, seed=0):
    """Intervals (low, high) of metrics when other groups, such as speakers, are drawn.

    Each replicate draws G groups, with replacement, from sums ``(G, ...)``. Utterances
    of one speaker are alike, so that drawing utterances would promise too much. Classes
    that a draw leaves out do not count in it.
    """
    number = len(sums[0])
    rng = np.random.default_rng(seed)
    batches = []
    # A hundred draws at a time: with a group per utterance, all of them fill memory.
    for first in range(0, replicates, 100):
        draws = [
            np.bincount(rng.integers(0, number, number), minlength=number)
            for _ in range(min(100, replicates - first))
        ]
        drawn = np.array(draws, dtype=np.float64)
        batches.append(type(sums)(*(drawn @ part for part in sums)).metrics())
    tails = [(1 - level) / 2, (1 + level) / 2]
    drawn = {
        name: np.concatenate([part[name] for part in batches]) for name in batches[0]
    }
    return {
        name: tuple(np.nanquantile(values, tails).tolist())
        for name, values in drawn.items()
        if np.isfinite(values).any()
    }
