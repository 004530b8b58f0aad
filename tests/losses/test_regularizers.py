"""Regularizers against their formulas, written out as loops."""

import math

import numpy as np
import pytest
import torch
from objective_cases import chosen, make_views

from speechbrain_dino.losses.regularizers import (
    CosineDistance,
    DimensionRegularizer,
    KoLeo,
    MeanEntropy,
    decorrelation,
    spread,
)


def unit(x):
    x = x.double().numpy()
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


@pytest.mark.parametrize("of", ["embeddings", "outputs", "expanded"])
def test_koleo_equals_the_formula(of):
    views = make_views()
    expected = 0
    for view in unit(views.pick("student", of)):
        distances = np.linalg.norm(view[:, None] - view[None], axis=-1)
        np.fill_diagonal(distances, np.inf)
        expected -= np.log(distances.min(1)).mean()
    assert KoLeo(of)(views).loss.item() == pytest.approx(expected, rel=1e-5)


def test_koleo_looks_for_neighbors_within_groups():
    views = make_views(batch=7)
    parts = [chosen(views, items=torch.tensor(p)) for p in ([0, 1, 2], [3, 4, 5, 6])]
    losses = [KoLeo()(part).loss for part in parts]
    expected = (3 * losses[0] + 4 * losses[1]) / 7
    torch.testing.assert_close(KoLeo(group=3)(views).loss, expected)
    with pytest.raises(ValueError, match="raise batch_size"):
        KoLeo(group=1)(views)


def test_koleo_drives_neighbors_apart():
    angles = torch.tensor([0.0, 0.1, 2.0], requires_grad=True)
    points = torch.stack([angles.cos(), angles.sin()], dim=1)
    views = make_views()._replace(student=points[None])
    (gradient,) = torch.autograd.grad(KoLeo("outputs")(views).loss, angles)
    assert gradient[0] > 0 > gradient[1]  # descent turns the first two away


def test_cosine_distance_equals_the_formula():
    views = make_views()
    student, teacher = unit(views.student_embeddings), unit(views.teacher_embeddings)
    terms = [
        1 - (student[s] * teacher[t]).sum(-1).mean()
        for s in range(4)
        for t in range(2)
        if s != t
    ]
    assert CosineDistance()(views).loss.item() == pytest.approx(
        np.mean(terms), rel=1e-5
    )


def test_mean_entropy_equals_the_formula():
    views = make_views()
    probs = torch.softmax(views.student.double() / 0.1, -1).flatten(0, 1).mean(0)
    expected = math.log(len(probs)) + (probs * probs.log()).sum().item()
    assert MeanEntropy()(views).loss.item() == pytest.approx(expected, rel=1e-5)


def test_mean_entropy_spans_zero_to_ln_k():
    one = torch.zeros(1, 9, 8)
    one[..., 3] = 100
    views = make_views()
    term = MeanEntropy()(views._replace(student=one)).loss
    assert term.item() == pytest.approx(math.log(8))
    even = 100 * torch.eye(8)[None]
    term = MeanEntropy()(views._replace(student=even)).loss
    assert term.item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("batch", [5, 60])  # fewer and more than dimensions
def test_dimension_regularizer_equals_the_formula(batch):
    views = make_views(batch)
    expected = 0
    for side in ("student", "teacher"):
        x = views.pick(side, "expanded")[:2].double().mean(0).numpy() * 1.0
        deviations = np.sqrt(x.var(0, ddof=1) + 1e-4)
        matrix = np.cov(x, rowvar=False)
        off = (matrix**2).sum() - (np.diag(matrix) ** 2).sum()
        expected += 10 * np.maximum(0, 1 - deviations).mean() / 2 + off / 65536
    value = DimensionRegularizer()(views).loss.item()
    assert value == pytest.approx(expected, rel=1e-5)


def test_without_shared_views_all_of_them_are_averaged():
    views = make_views(teacher=1, shared=0)
    x = views.student_embeddings.mean(0)
    y = views.teacher_embeddings.mean(0)
    expected = 2 * (spread(x) + spread(y)) / 2
    expected += decorrelation(x, 7) + decorrelation(y, 7)
    value = DimensionRegularizer("embeddings", std_weight=2, divisor=7)(views).loss
    torch.testing.assert_close(value, expected)


@pytest.mark.parametrize("shape", [(6, 50), (50, 6), (8, 8)])
def test_both_ways_to_the_covariances_agree(shape):
    x = torch.randn(shape, dtype=torch.double, requires_grad=True)
    matrix = torch.cov(x.T)
    expected = (matrix - matrix.diag().diag()).square().sum() / 3
    value = decorrelation(x, 3)
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(
        torch.autograd.grad(value, x), torch.autograd.grad(expected, x)
    )


def test_one_utterance_is_too_few():
    with pytest.raises(ValueError, match="two utterances per batch"):
        KoLeo()(make_views(batch=1))
    with pytest.raises(ValueError, match="two utterances per batch"):
        decorrelation(torch.randn(1, 4), 1)
