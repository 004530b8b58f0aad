"""The probe of frozen embeddings, against a pipeline of scikit-learn's."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from speechbrain_dino.data.fold_makers import Fold
from speechbrain_dino.metrics.classification import unweighted_recall
from speechbrain_dino.probing.inner_folds import inner_folds
from speechbrain_dino.probing.linear_models import Multinomial
from speechbrain_dino.probing.linear_probe import LinearProbe

VALUES = [1e-3, 1e-2, 0.1, 1.0]


def probe(values=VALUES, model=Multinomial, **options):
    return LinearProbe(model, "C", values, unweighted_recall, **options)


def corpus(number=240, dim=12, classes=3, seed=0):
    """Overlapping classes, features of different mean and spread, 12 speakers."""
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, classes, number)
    centers = rng.standard_normal((classes, dim))
    vectors = 0.5 * centers[targets] + rng.standard_normal((number, dim))
    vectors = vectors * np.geomspace(0.1, 10, dim) + 5.0
    speakers = np.array([f"s{n % 12:02}" for n in range(number)], dtype=object)
    return vectors.astype(np.float32), targets, speakers


def folds_of(speakers, valid=True):
    """Four folds of three tested speakers, three more to validate on."""
    number = np.array([int(name[1:]) for name in speakers])
    folds = []
    for k in range(4):
        test = number % 4 == k
        held = (number % 4 == (k + 1) % 4) & valid
        folds.append(Fold.of_masks(f"f{k}", ~test & ~held, held, test))
    return folds


def pipeline(value):
    model = LogisticRegression(C=value, tol=1e-8, max_iter=5000)
    return make_pipeline(StandardScaler(), model)


def test_with_a_validation_part_it_is_scikit_learns_pipeline():
    vectors, targets, speakers = corpus()
    folds = folds_of(speakers)
    wide = vectors.astype(np.float64)
    for fold, outcome in zip(folds, probe().run(vectors, targets, folds, speakers)):
        fitted = [
            pipeline(v).fit(wide[fold.train], targets[fold.train]) for v in VALUES
        ]
        scores = [
            balanced_accuracy_score(targets[fold.valid], m.predict(wide[fold.valid]))
            for m in fitted
        ]
        best = int(np.argmax(scores))
        assert outcome.chosen == VALUES[best]
        np.testing.assert_allclose(list(outcome.scores.values()), scores, atol=1e-9)
        assert outcome.validation == pytest.approx(scores[best])
        assert (outcome.predicted == fitted[best].predict(wide[fold.test])).all()
        assert (outcome.rows == fold.test).all()


def test_without_one_it_is_a_cross_validation_that_divides_no_speaker():
    vectors, targets, speakers = corpus()
    folds, wide = folds_of(speakers, valid=False), vectors.astype(np.float64)
    for fold, outcome in zip(
        folds, probe(seed=3).run(vectors, targets, folds, speakers)
    ):
        rows = fold.train
        parts = inner_folds(targets[rows], speakers[rows], 3, seed=3)
        scores = []
        for value in VALUES:
            guesses = np.empty_like(targets[rows])
            for learned, held in parts:
                assert not set(speakers[rows][learned]) & set(speakers[rows][held])
                fitted = pipeline(value).fit(
                    wide[rows[learned]], targets[rows[learned]]
                )
                guesses[held] = fitted.predict(wide[rows[held]])
            scores.append(balanced_accuracy_score(targets[rows], guesses))
        np.testing.assert_allclose(list(outcome.scores.values()), scores, atol=1e-9)
        chosen = VALUES[int(np.argmax(scores))]
        assert outcome.chosen == chosen
        fitted = pipeline(chosen).fit(wide[rows], targets[rows])
        assert (outcome.predicted == fitted.predict(wide[fold.test])).all()


@pytest.mark.parametrize("valid", [True, False])
def test_test_vectors_and_labels_do_not_change_the_model(valid):
    vectors, targets, speakers = corpus()
    fold = folds_of(speakers, valid)[0]
    changed, other = vectors.copy(), targets.copy()
    changed[fold.test] = 1e3 * changed[fold.test][::-1]
    other[fold.test] = (other[fold.test] + 1) % 3
    model, validation, scores = probe().fit(vectors, targets, fold, speakers)
    again, validation_again, scores_again = probe().fit(changed, other, fold, speakers)
    assert (validation, scores) == (validation_again, scores_again)
    assert model.value == again.value
    assert (model.model.coef_ == again.model.coef_).all()
    assert (model.scaler.mean_ == again.scaler.mean_).all()
    assert (model.scaler.scale_ == again.scaler.scale_).all()


def test_other_training_vectors_do_change_it():
    vectors, targets, speakers = corpus()
    fold = folds_of(speakers)[0]
    changed = vectors.copy()
    changed[fold.train[0]] += 3.0
    model, *_ = probe().fit(vectors, targets, fold)
    again, *_ = probe().fit(changed, targets, fold)
    assert not (model.scaler.mean_ == again.scaler.mean_).all()


@pytest.mark.parametrize("valid", [True, False])
def test_random_labels_stay_at_chance(valid):
    recalls = []
    for seed in range(4):
        # More dimensions than training utterances: any leak would show.
        vectors, _, speakers = corpus(dim=300, seed=seed)
        targets = np.random.default_rng(100 + seed).integers(0, 3, len(vectors))
        outcomes = probe([1e-3, 0.1]).run(
            vectors, targets, folds_of(speakers, valid), speakers
        )
        rows = np.concatenate([outcome.rows for outcome in outcomes])
        assert sorted(rows) == list(range(len(vectors)))
        predicted = np.concatenate([outcome.predicted for outcome in outcomes])
        recalls.append(unweighted_recall(targets[rows], predicted))
    # Four draws of 240: a deviation of about 0.016 around 1/3.
    assert abs(np.mean(recalls) - 1 / 3) < 0.06


def test_overlapping_parts_and_bad_embeddings_are_refused():
    vectors, targets, speakers = corpus()
    fold = folds_of(speakers)[0]
    leaking = fold._replace(train=np.append(fold.train, fold.test[0]))
    with pytest.raises(ValueError, match="must not be tested on"):
        probe().run(vectors, targets, [leaking])
    vectors[7, 3] = np.nan
    with pytest.raises(ValueError, match=r"1 of 240 embeddings are not finite.* row 7"):
        probe().run(vectors, targets, [fold])
    with pytest.raises(ValueError, match="no value of C"):
        probe([])
