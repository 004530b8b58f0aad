"""Figures of labels against a count by hand."""

import numpy as np
import pytest
import torch

from speechbrain_dino.training.label_monitor import LabelMonitor


def test_metrics_are_those_counted_by_hand():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 4, 60)
    labels = np.where(rng.random(60) < 0.7, truth, rng.integers(0, 4, 60))
    monitor = LabelMonitor()
    monitor.set_truth(labels, [f"s{t}" if t else "" for t in truth])  # s0: unknown
    majority = {
        c: np.bincount(truth[(labels == c) & (truth > 0)], minlength=4).argmax()
        for c in range(4)
    }
    logits = torch.from_numpy(rng.random((60, 4)))
    kept, corrected = torch.rand(60) < 0.5, torch.zeros(60, dtype=torch.bool)
    corrected[~kept] = torch.rand(int((~kept).sum())) < 0.5
    new = torch.from_numpy(rng.integers(0, 4, 60))
    given = torch.from_numpy(labels)
    for rows in torch.arange(60).split(20):
        monitor.observe(
            logits[rows], given[rows], rows, kept[rows], corrected[rows], new[rows]
        )
        monitor.count(torch.tensor(2.0))
    monitor.count(torch.tensor(float("nan")))
    metrics = monitor.epoch_summary()
    k, c, has_truth = kept.numpy(), corrected.numpy(), truth > 0
    right = has_truth & np.array([majority[x] == t for x, t in zip(labels, truth)])
    new_right = has_truth & np.array(
        [majority[int(x)] == t for x, t in zip(new, truth)]
    )
    expected = {
        "loss": 2.0,
        "accuracy": np.mean(logits.argmax(1).numpy() == labels),
        "gated": np.mean(~k),
        "corrected": np.mean(c),
        "steps": 4,
        "nonfinite": 1,
        "kept_precision": right[k & has_truth].mean(),
        "gated_precision": (~right)[~k & has_truth].mean(),
        "corrected_precision": new_right[c].mean(),
    }
    assert metrics == pytest.approx(expected)
    # The next epoch starts from nothing.
    assert monitor.epoch_summary()["steps"] == 0


def test_speeds_are_classes_of_the_same_speakers():
    monitor = LabelMonitor()
    monitor.set_truth([0, 1], ["ann", "bob"])
    labels = torch.tensor([2, 5])  # class 0 and 1 at the second and third speed
    monitor.observe(torch.eye(6)[labels], labels, torch.tensor([0, 1]))
    assert monitor.epoch_summary()["kept_precision"] == 1.0


def test_without_truth_there_is_no_precision():
    monitor = LabelMonitor()
    monitor.observe(torch.eye(2), torch.tensor([0, 1]), torch.tensor([0, 1]))
    metrics = monitor.epoch_summary()
    assert metrics["accuracy"] == 1.0 and "kept_precision" not in metrics
