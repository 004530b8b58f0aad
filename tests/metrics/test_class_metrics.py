"""Metrics of classifiers, against scikit-learn."""

import json
import logging

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from sklearn import metrics

from speechbrain_dino.metrics.classification import (
    classification_metrics,
    log_metrics,
    macro_f1,
    metrics_frame,
    micro_f1,
    unweighted_recall,
)

CLASSES = ["angry", "happy", "neutral", "sad"]
pairs = st.lists(
    st.tuples(st.sampled_from(CLASSES), st.sampled_from(CLASSES)), min_size=1
)


@pytest.mark.filterwarnings("ignore:y_pred contains classes")
@settings(deadline=None)
@given(pairs)
def test_single_metrics_are_those_of_scikit_learn(pairs):
    true, predicted = zip(*pairs)
    expected = metrics.f1_score(true, predicted, average="micro")
    assert micro_f1(true, predicted) == pytest.approx(expected)
    expected = metrics.f1_score(true, predicted, average="macro", zero_division=0)
    assert macro_f1(true, predicted) == pytest.approx(expected)
    expected = metrics.recall_score(
        true, predicted, average="macro", labels=sorted(set(true))
    )
    assert unweighted_recall(true, predicted) == pytest.approx(expected)


def drawn(seed=0, folds=3, size=80):
    """Folds of text labels of which about half are right, and their speakers."""
    rng = np.random.default_rng(seed)
    names = np.array(CLASSES)
    folds_drawn, speakers = [], []
    for fold in range(folds):
        true = names[rng.choice(4, size, p=[0.4, 0.3, 0.2, 0.1])]
        predicted = np.where(rng.random(size) < 0.4, true, rng.choice(names, size))
        folds_drawn.append((true, predicted))
        speakers.append([f"s{fold}_{k}" for k in rng.integers(0, 5, size)])
    return folds_drawn, speakers


def test_metrics_over_folds():
    folds, speakers = drawn()
    summary = classification_metrics(folds, CLASSES, speakers, replicates=50)
    true, predicted = (np.concatenate(part) for part in zip(*folds))
    assert summary["utterances"] == 240
    pooled = summary["pooled"]
    assert pooled["micro_f1"] == pytest.approx(np.mean(true == predicted))
    expected = metrics.f1_score(true, predicted, average="macro")
    assert pooled["macro_f1"] == pytest.approx(expected)
    expected = metrics.balanced_accuracy_score(true, predicted)
    assert pooled["uar"] == pytest.approx(expected)
    matrix = metrics.confusion_matrix(true, predicted, labels=CLASSES)
    assert summary["confusion"] == matrix.tolist()
    recalls = metrics.recall_score(true, predicted, average=None, labels=CLASSES)
    assert list(summary["recalls"].values()) == pytest.approx(recalls)
    of_folds = [metrics.balanced_accuracy_score(*fold) for fold in folds]
    assert [fold["uar"] for fold in summary["folds"]] == pytest.approx(of_folds)
    assert summary["mean"]["uar"] == pytest.approx(np.mean(of_folds))
    assert summary["deviation"]["uar"] == pytest.approx(np.std(of_folds, ddof=1))
    low, high = summary["intervals"]["uar"]
    assert low < pooled["uar"] < high
    assert summary["intervals_over"] == f"{len(set(np.concatenate(speakers)))} speakers"
    json.dumps(summary, allow_nan=False)


def test_a_class_that_is_not_tested_does_not_count():
    fold = ["angry", "angry", "sad"], ["angry", "happy", "sad"]
    summary = classification_metrics([fold], CLASSES, replicates=0)
    assert summary["pooled"]["uar"] == 0.75
    assert summary["recalls"]["happy"] is None and summary["recalls"]["neutral"] is None
    assert "deviation" not in summary and "intervals" not in summary


def test_many_classes_are_not_written_one_by_one():
    names = np.array([f"speaker{k:03d}" for k in range(60)])
    summary = classification_metrics([(names, names)], names, replicates=0)
    assert summary["pooled"]["uar"] == 1 and "confusion" not in summary


def test_what_cannot_be_measured_is_refused():
    with pytest.raises(ValueError, match=r"'bored' is none of angry, happy"):
        classification_metrics([(["bored"], ["sad"])], CLASSES)
    with pytest.raises(ValueError, match="no test utterance"):
        classification_metrics([([], [])], CLASSES)
    with pytest.raises(ValueError, match="at least one"):
        unweighted_recall([], [])


def test_tables(caplog):
    folds, speakers = drawn()
    summary = classification_metrics(folds, CLASSES, speakers, replicates=20)
    one = classification_metrics(folds[:1], CLASSES, replicates=0)
    table = metrics_frame({"all": summary, "one": one})
    low, high = summary["intervals"]["uar"]
    uar = 100 * summary["pooled"]["uar"]
    text = f"{uar:.1f} [{100 * low:.1f}, {100 * high:.1f}]"
    assert table.loc["all", "UAR (%)"] == text
    mean, spread = 100 * summary["mean"]["uar"], 100 * summary["deviation"]["uar"]
    assert table.loc["all", "UAR (%), folds"] == f"{mean:.1f} +- {spread:.1f}"
    assert table.loc["one", "UAR (%), folds"] == "-"
    with caplog.at_level(logging.INFO):
        log_metrics({"all": summary}, CLASSES)
    recall = f"{100 * summary['recalls']['sad']:.1f}"
    assert text in caplog.text and recall in caplog.text
