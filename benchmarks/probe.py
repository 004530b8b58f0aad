"""Time of a linear probe, and scikit-learn's LogisticRegression beside it.

    python benchmarks/probe.py [--threads 2] [--number 100000] [--dim 256] [--inner]

Embeddings are generated: 5 classes of unequal size that overlap, features of correlated
and very different spread, as those of an encoder are; 500 speakers. Five folds; seven
values of C, chosen on a validation part (100 speakers of the rest), or with ``--inner``
by a threefold cross-validation inside the training part. scikit-learn (lbfgs, its own
tolerance) fits the same seven values to the training part of the first fold, one after
the other, with single-precision input; predictions and objective are compared.
"""

import argparse
import time
import warnings
from functools import partial

import numpy as np
import torch
from scipy.special import logsumexp
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from speechbrain_dino.data.fold_makers import Fold
from speechbrain_dino.metrics.classification import unweighted_recall
from speechbrain_dino.metrics.regression import ccc
from speechbrain_dino.probing.data import Target
from speechbrain_dino.probing.inputs import standardizer
from speechbrain_dino.probing.linear_models import Multinomial, RidgePath
from speechbrain_dino.probing.linear_probe import LinearProbe
from speechbrain_dino.probing.scorer import Scorer

VALUES = [0.00001, 0.0001, 0.001, 0.01, 0.1, 1.0, 10.0]
CLASSES = 5


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--number", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--inner", action="store_true")
    parser.add_argument("--no_sklearn", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    with threadpool_limits(args.threads):
        run(args)


def run(args):
    vectors, classes, speakers = generate(args.number, args.dim)
    folds = divide(speakers, valid=not args.inner)
    how = "inner cross-validation" if args.inner else "validation part"
    print(
        f"{args.number:,} x {args.dim}, {CLASSES} classes, 5 folds, {len(VALUES)} "
        f"values, {how}, {args.threads} threads"
    )
    probe = LinearProbe(Multinomial, "C", VALUES, unweighted_recall)
    with timed("logistic regression"):
        outcomes = probe.run(vectors, classes, folds, speakers)
    names = [f"class{k}" for k in range(CLASSES)]
    scorer = Scorer(Target("generated", classes, names, folds, 0), speakers)
    with timed("metrics, 1000 draws of speakers"):
        metrics = scorer.of_outcomes(outcomes)
    print(f"  UAR {100 * metrics['pooled']['uar']:.2f} %, C {metrics['chosen']}")
    alphas = [1e6, 1e5, 1e4, 1e3, 1e2, 10.0, 1.0]
    ridge = LinearProbe(RidgePath, "alpha", alphas, ccc)
    wanted = vectors[:, :20].sum(axis=1) + classes
    with timed("ridge regression"):
        ridge.run(vectors, wanted.astype(np.float64), folds, speakers)
    if not args.no_sklearn:
        compare(vectors, classes, folds[0])


def compare(vectors, classes, fold):
    """scikit-learn beside it, on one fold."""
    scaler = standardizer(vectors, fold.train)
    X, y = scaler.transform(vectors[fold.train]), classes[fold.train]
    tested = scaler.transform(vectors[fold.test])
    print(f"first fold alone, {len(y):,} training utterances:")
    with timed("  Multinomial.fit_path"):
        ours = list(Multinomial().fit_path(X, y, VALUES))
    warnings.simplefilter("ignore", ConvergenceWarning)
    fit = partial(LogisticRegression, max_iter=1000)
    with timed("  scikit-learn, value by value"):
        theirs = [fit(C=value).fit(X, y) for value in VALUES]
    same = [
        np.mean(a.predict(tested) == b.predict(tested)) for a, b in zip(ours, theirs)
    ]
    excess = [
        [objective(model, X, y, value) for model in pair]
        for value, *pair in zip(VALUES, ours, theirs)
    ]
    excess = (np.array(excess).T / np.min(excess, axis=1) - 1).max(axis=1)
    print(
        f"  same predictions: {100 * min(same):.2f} % or more\n  objective above the "
        f"lower of both, relative, at most: Multinomial {excess[0]:.1e}, scikit-learn "
        f"{excess[1]:.1e}"
    )


def objective(model, X, y, C):
    """What both minimize, in double precision."""
    logits = X.astype(np.float64) @ model.coef_.T.astype(np.float64) + model.intercept_
    losses = logsumexp(logits, axis=1) - logits[np.arange(len(y)), y]
    return C * losses.sum() + 0.5 * np.sum(model.coef_.astype(np.float64) ** 2)


class timed:
    """Prints the seconds that a block takes, on the wall and of the CPU."""

    def __init__(self, name):
        self.name = name

    def __enter__(self):
        self.begun = time.perf_counter(), time.process_time()

    def __exit__(self, *error):
        wall = time.perf_counter() - self.begun[0]
        cpu = time.process_time() - self.begun[1]
        print(f"{self.name}: {wall:.1f} s, {cpu:.1f} s of the CPU", flush=True)


def generate(number, dim):
    rng = np.random.default_rng(0)
    classes = rng.choice(CLASSES, number, p=[0.4, 0.25, 0.15, 0.12, 0.08])
    centers = (0.07 * rng.standard_normal((CLASSES, dim))).astype(np.float32)
    spread = (1 + np.arange(dim, dtype=np.float32)) ** -0.7
    mixed = np.linalg.qr(rng.standard_normal((dim, dim)))[0].astype(np.float32)
    vectors = rng.standard_normal((number, dim), dtype=np.float32)
    vectors = ((vectors + centers[classes]) * spread) @ mixed
    return vectors, classes, rng.integers(0, 500, number)


def divide(speakers, valid):
    folds = []
    for k in range(5):
        test = speakers % 5 == k
        held_out = (speakers % 5 == (k + 1) % 5) & valid
        folds.append(Fold.of_masks(f"fold{k + 1}", ~test & ~held_out, held_out, test))
    return folds


if __name__ == "__main__":
    main()
