"""Gates and corrections: formulas, brute force, labels flipped on purpose."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from sklearn.metrics import roc_auc_score

from speechbrain_dino.losses.label_gates import (
    DynamicGate,
    FixedGate,
    LabelCorrection,
    TwoGaussians,
    crossing,
    fit_two_gaussians,
)


def density(mixture, x, k):
    weight, mean, variance = (part[k] for part in mixture)
    square = (x - mean) ** 2 / variance
    return weight * np.exp(-0.5 * square) / np.sqrt(2 * np.pi * variance)


@settings(max_examples=60, deadline=None)
@given(
    st.floats(0.05, 0.95),
    st.floats(0.5, 6.0),
    st.floats(0.2, 2.0),
    st.floats(0.2, 2.0),
)
def test_the_crossing_is_where_the_densities_are_equal(weight, gap, low, high):
    mixture = TwoGaussians(
        np.array([weight, 1 - weight]), np.array([0.0, gap]), np.array([low, high]) ** 2
    )
    x = crossing(mixture)
    assert 0 <= x <= gap
    grid = np.linspace(0, gap, 20001)
    sign = density(mixture, grid, 0) > density(mixture, grid, 1)
    changes = np.flatnonzero(sign[:-1] != sign[1:])
    if len(changes):
        assert min(abs(grid[c] - x) for c in changes) < 2e-4 * gap + 1e-9
    else:
        assert x == pytest.approx(gap if sign[10000] else 0.0)


def test_the_mixture_is_found_again():
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(-2, 0.5, 7000), rng.normal(1, 0.8, 3000)])
    mixture = fit_two_gaussians(rng.permutation(values))
    np.testing.assert_allclose(mixture.weights, [0.7, 0.3], atol=0.02)
    np.testing.assert_allclose(mixture.means, [-2, 1], atol=0.05)
    np.testing.assert_allclose(mixture.variances, [0.25, 0.64], rtol=0.15)


def test_a_dynamic_gate_separates_right_from_wrong_labels():
    rng = np.random.default_rng(1)
    wrong = rng.random(5000) < 0.3
    losses = np.exp(np.where(wrong, rng.normal(2, 0.4, 5000), rng.normal(-1, 1, 5000)))
    gate = DynamicGate(start_epoch=2)
    gate.set_up(5000)
    items = torch.from_numpy(rng.permutation(5000))
    values = torch.from_numpy(losses).float()
    for part in items.split(100):
        assert gate(values[part], part).all()  # open in the first epoch
    metrics = gate.begin_epoch(2)
    assert math.e**-1 < metrics["gate"] < math.e**2
    kept = gate(values, torch.arange(5000)).numpy()
    assert (~wrong[kept]).mean() > 0.97 and wrong[~kept].mean() > 0.9


def test_one_group_of_losses_is_not_divided():
    gate = DynamicGate(start_epoch=2, least_separation=2.0)
    gate.set_up(1000)
    losses = torch.randn(1000, generator=torch.Generator().manual_seed(0)).exp()
    gate(losses, torch.arange(1000))
    assert gate.begin_epoch(2)["gate"] == math.inf


def test_the_gate_of_an_epoch_comes_from_the_epoch_before_alone():
    gate = DynamicGate(start_epoch=2)
    gate.set_up(100)
    gate(torch.cat([torch.full((70,), 0.1), torch.full((30,), 9.0)]), torch.arange(100))
    first = gate.begin_epoch(2)["gate"]
    assert 0.1 < first < 9.0
    assert gate.begin_epoch(3)["gate"] == math.inf  # nothing was seen in epoch 2


def test_a_fixed_gate_opens_at_its_epoch():
    gate = FixedGate(bound=2.0, start_epoch=3)
    gate.set_up(3)
    losses, items = torch.tensor([1.0, 3.0, 2.5]), torch.tensor([0, 1, 2])
    for epoch, kept in ((1, 3), (2, 3), (3, 1)):
        gate.begin_epoch(epoch)
        assert gate(losses, items).sum() == kept
    torch.testing.assert_close(gate.losses, losses)
    assert gate.begin_epoch(9, is_set=False)["gate"] == math.inf


def test_a_loss_that_is_not_finite_is_not_hidden():
    gate = FixedGate(bound=2.0)
    gate.set_up(3)
    gate.begin_epoch(1)
    losses = torch.tensor([1.0, math.nan, math.inf])
    assert gate(losses, torch.tensor([0, 1, 2])).tolist() == [True, True, True]


def test_memory_is_the_moving_mean_of_log_losses():
    gate = FixedGate(bound=2.0, memory=0.75)
    gate.set_up(2)
    rng = np.random.default_rng(0)
    losses, mean = rng.uniform(0.1, 9.0, (5, 2)), None
    for epoch, (first, other) in enumerate(losses, start=1):
        gate.begin_epoch(epoch)
        kept = gate(torch.tensor([other, first]).float(), torch.tensor([1, 0]))
        now = np.log([first, other])
        mean = now if mean is None else 0.75 * mean + 0.25 * now
        np.testing.assert_allclose(gate.losses.log(), mean, rtol=1e-4)
        assert kept.tolist() == [np.exp(mean[1]) < 2.0, np.exp(mean[0]) < 2.0]


def test_memory_separates_labels_that_single_losses_do_not():
    rng = np.random.default_rng(2)
    wrong = rng.random(2000) < 0.3
    auc = {}
    for memory in (0.0, 0.9):
        gate = DynamicGate(start_epoch=9, memory=memory)
        gate.set_up(2000)
        for epoch in range(1, 9):
            gate.begin_epoch(epoch)
            logs = np.where(wrong, 1.0, 0.0) + rng.normal(0, 1.5, 2000)
            gate(torch.from_numpy(np.exp(logs)), torch.arange(2000))
        auc[memory] = roc_auc_score(wrong, gate.losses)
    assert auc[0.0] < 0.72 and auc[0.9] > 0.8


def test_state_comes_back_with_the_checkpoint():
    gate = FixedGate(bound=2.0)
    gate.set_up(3)
    gate.begin_epoch(1)
    gate(torch.tensor([1.0, 3.0]), torch.tensor([2, 0]))
    other = FixedGate(bound=2.0)
    other.set_up(3)
    other.load_state_dict(gate.state_dict())
    assert float(other.now) == 2.0
    np.testing.assert_array_equal(other.losses, [3.0, math.nan, 1.0])


def test_correction_asks_for_a_lead_over_the_second():
    cosines = torch.tensor([[0.5, 0.4, -0.2], [0.2, 0.9, 0.1], [-0.5, -0.9, -0.71]])
    labels, sure = LabelCorrection(lead=0.2)(cosines)
    assert labels.tolist() == [0, 1, 0] and sure.tolist() == [False, True, True]


@pytest.mark.parametrize("classes", [170, 7500])
def test_correction_does_not_depend_on_the_number_of_classes(classes):
    # Cosines of other centers in 192 dimensions, and a speaker heard clearly.
    cosines = 0.1 * torch.randn(64, classes, generator=torch.Generator().manual_seed(0))
    cosines = cosines.clamp(max=0.4)
    cosines[:, 7] = torch.linspace(0.45, 0.75, 64)
    cosines[:, 8] = 0.4
    labels, sure = LabelCorrection(lead=0.2)(cosines)
    assert (labels == 7).all() and sure.sum() == 32 and sure[-32:].all()
    sharpened = torch.softmax(cosines / 0.1, 1).amax(1) > 0.5  # the paper's rule
    assert sharpened.any() == (classes == 170)


def test_correction_says_that_it_did_not_fire(caplog):
    correction = LabelCorrection(lead=0.2)
    correction(torch.tensor([[0.5, 0.4, -0.2], [0.3, 0.42, 0.1]]))
    correction.end_epoch(gated=0.3, corrected=0.0)
    assert "the widest lead of the best class over the second was 0.120" in caplog.text
    caplog.clear()
    for gated, corrected in ((0.0, 0.0), (0.3, 0.01)):
        correction.end_epoch(gated, corrected)
    assert not caplog.text


def test_correction_says_that_it_cannot_fire(caplog):
    gate = FixedGate(bound=2.0)
    LabelCorrection(start_epoch=9).warn_if_idle(gate, epochs=9)
    assert not caplog.text
    LabelCorrection(start_epoch=9).warn_if_idle(gate, epochs=8)
    assert "it begins in epoch 9, the run ends with 8" in caplog.text
    LabelCorrection(start_epoch=1).warn_if_idle(None, epochs=8)
    assert "there is no gate" in caplog.text


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: FixedGate(bound=0), "bound is 0"),
        (lambda: FixedGate(memory=1.0), "memory is 1.0"),
        (lambda: DynamicGate(start_epoch=1), "start_epoch is 1"),
        (lambda: LabelCorrection(lead=0.0), "lead is 0.0"),
        (lambda: LabelCorrection(lead=2), "lead is 2"),
    ],
)
def test_what_makes_no_sense_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
