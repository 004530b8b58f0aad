"""Margin softmax against SpeechBrain's and against the formula."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings, strategies as st
from speechbrain.nnet.losses import AdditiveAngularMargin

from speechbrain_dino.losses.margin import AAMSoftmax, CrossEntropy
from speechbrain_dino.models.classifiers import CosineClassifier, LinearClassifier


def cosines_and_labels(seed=0, samples=40, classes=7):
    generator = torch.Generator().manual_seed(seed)
    cosines = 2 * torch.rand(samples, classes, generator=generator) - 1
    return cosines, torch.randint(0, classes, (samples,), generator=generator)


@pytest.mark.parametrize("margin, scale", [(0.2, 30.0), (0.5, 64.0), (0.0, 1.0)])
def test_losses_are_speechbrains(margin, scale):
    cosines, labels = cosines_and_labels()
    logits = AdditiveAngularMargin(margin, scale)(
        cosines, F.one_hot(labels, cosines.shape[1]).float()
    )
    expected = F.cross_entropy(logits, labels, reduction="none")
    losses = AAMSoftmax(margin, scale)(cosines, labels)
    torch.testing.assert_close(losses, expected)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.integers(0, 8), st.floats(0.0, 0.4))
def test_inter_top_k_is_the_formula_written_out(seed, top_k, inter):
    cosines, labels = cosines_and_labels(seed, samples=5)
    losses = AAMSoftmax(0.3, 20.0, top_k, inter)(cosines, labels)
    for row, label, loss in zip(cosines.tolist(), labels.tolist(), losses.tolist()):
        others = sorted((c for j, c in enumerate(row) if j != label), reverse=True)
        angles = [math.acos(c) for c in others]
        moved = [
            math.cos(max(angle - inter, 0)) if k < top_k else math.cos(angle)
            for k, angle in enumerate(angles)
        ]
        own = math.acos(row[label])
        target = math.cos(own + 0.3)
        if own + 0.3 > math.pi:
            target = row[label] - 0.3 * math.sin(0.3)
        total = sum(math.exp(20 * (c - target)) for c in moved)
        assert loss == pytest.approx(math.log1p(total), abs=1e-3)


def test_gradients_are_finite_at_the_ends_and_in_bf16():
    cosines = torch.tensor([[1.0, -1.0, 0.3], [-1.0, 1.0, 0.2]], requires_grad=True)
    for dtype in (torch.float32, torch.bfloat16):
        losses = AAMSoftmax(0.2, 30.0, 1)(cosines.to(dtype), torch.tensor([0, 0]))
        assert losses.dtype == torch.float32
        (grad,) = torch.autograd.grad(losses.sum(), cosines)
        assert losses.isfinite().all() and grad.isfinite().all()


def test_cosines_are_of_the_best_sub_center():
    head = CosineClassifier(4, 3, sub_centers=2)
    embeddings = torch.randn(5, 4)
    centers = head.weight.detach().view(2, 3, 4)
    expected = torch.stack(
        [F.cosine_similarity(embeddings[:, None], centers[k], dim=-1) for k in (0, 1)]
    ).amax(0)
    torch.testing.assert_close(head(embeddings).detach(), expected)
    # Length carries no information.
    torch.testing.assert_close(head(9 * embeddings), head(embeddings))


def test_a_sub_center_takes_what_does_not_fit():
    # A class of two far parts: one center lies between them, two sit on them.
    parts = F.normalize(torch.tensor([[1.0, 0, 0], [0, 1.0, 0]]), dim=1).repeat(8, 1)
    other = torch.tensor([[0.0, 0.0, 1.0]]).repeat(16, 1)
    data, labels = torch.cat([parts, other]), torch.arange(2).repeat_interleave(16)
    best = {}
    for count in (1, 2):
        torch.manual_seed(1)
        head = CosineClassifier(3, 2, count)
        optimizer = torch.optim.Adam(head.parameters(), 0.05)
        for _ in range(200):
            loss = AAMSoftmax(0.2, 10.0)(head(data), labels).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        best[count] = head(parts)[:, 0].detach().mean().item()
    assert best[1] < 0.75 and best[2] > 0.95


def test_weights_of_classes():
    logits, labels = torch.randn(6, 3), torch.tensor([0, 1, 2, 2, 1, 0])
    weights = torch.tensor([1.0, 2.0, 0.5])
    expected = F.cross_entropy(logits, labels, weight=weights, reduction="none")
    torch.testing.assert_close(CrossEntropy(weights)(logits, labels), expected)
    smooth = F.cross_entropy(logits, labels, reduction="none", label_smoothing=0.1)
    losses = CrossEntropy(label_smoothing=0.1)(logits, labels)
    torch.testing.assert_close(losses, smooth)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: CosineClassifier(4, 1), "1 class"),
        (lambda: LinearClassifier(4, 0), "0 class"),
        (lambda: CosineClassifier(4, 3, 0), "sub_centers is 0"),
        (lambda: AAMSoftmax(margin=2.0), "margin is 2.0"),
        (lambda: AAMSoftmax(inter_margin=-0.1), "inter_margin is -0.1"),
        (lambda: AAMSoftmax(scale=0), "scale is 0"),
    ],
)
def test_what_makes_no_sense_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
