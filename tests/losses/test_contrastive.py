"""NT-Xent and MoCo against their formulas, written out as loops."""

import math

import pytest
import torch
from objective_cases import K, chosen, make_views

from speechbrain_dino.losses.contrastive import MoCo, NTXent
from speechbrain_dino.losses.views import Views


def cosine(x, y):
    return float(x.double() @ y.double() / (x.double().norm() * y.double().norm()))


def slow_ntxent(views, temp, margin):
    """Every anchor, every positive, all views of all other utterances."""
    others = views.student if views.teacher is None else views.teacher
    same = len(views.student) if views.teacher is None else views.shared
    terms = []
    for s, anchors in enumerate(views.student):
        for b, anchor in enumerate(anchors):
            negatives = sum(
                math.exp(cosine(anchor, view[n]) / temp)
                for view in others
                for n in range(len(view))
                if n != b
            )
            for t, view in enumerate(others):
                if s == t < same:
                    continue
                positive = math.exp((cosine(anchor, view[b]) - margin) / temp)
                terms.append(-math.log(positive / (positive + negatives)))
    return sum(terms) / len(terms)


@pytest.mark.parametrize("teacher, shared", [(0, 0), (2, 2), (1, 0)])
@pytest.mark.parametrize("temp, margin", [(0.07, 0.0), (0.5, 0.2)])
def test_ntxent_equals_the_formula(teacher, shared, temp, margin):
    views = make_views(batch=4, student=3, teacher=teacher, shared=shared)
    expected = slow_ntxent(views, temp, margin)
    assert NTXent(temp, margin)(views).loss.item() == pytest.approx(expected, rel=1e-5)


def test_ntxent_of_two_views_is_the_papers_cross_entropy():
    """Equation 1 of SimCLR: 2N samples, each against the 2N - 1 others."""
    views = make_views(batch=6, student=2, teacher=0)
    samples = torch.nn.functional.normalize(views.student.flatten(0, 1), dim=1)
    logits = (samples @ samples.T / 0.2).fill_diagonal_(-torch.inf)
    partner = torch.arange(12).roll(6)
    expected = torch.nn.functional.cross_entropy(logits, partner)
    torch.testing.assert_close(NTXent(0.2)(views).loss, expected)


def test_ntxent_of_embeddings_and_of_the_student_alone():
    views = make_views(batch=4, student=3, teacher=2, shared=2)
    other = make_views(batch=4, student=3, teacher=2, shared=2, first=1)
    both = views._replace(
        student_embeddings=other.student, teacher_embeddings=other.teacher
    )
    expected = slow_ntxent(other, 0.2, 0.0)
    loss = NTXent(0.2, of="embeddings")(both).loss
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    assert loss.item() != pytest.approx(NTXent(0.2)(both).loss.item(), rel=1e-3)
    alone = NTXent(0.2, with_teacher=False)(views).loss
    expected = slow_ntxent(views._replace(teacher=None, shared=0), 0.2, 0.0)
    assert alone.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("teacher, shared", [(0, 0), (2, 2)])
def test_groups_are_batches_of_their_own(teacher, shared):
    # 7 utterances in groups of 3: three, and four with the one left over.
    views = make_views(batch=7, student=2, teacher=teacher, shared=shared)
    parts = [chosen(views, items=torch.tensor(p)) for p in ([0, 1, 2], [3, 4, 5, 6])]
    losses = [NTXent(0.2)(part).loss for part in parts]
    expected = (3 * losses[0] + 4 * losses[1]) / 7
    torch.testing.assert_close(NTXent(0.2, group=3)(views).loss, expected)
    torch.testing.assert_close(
        NTXent(0.2, group=9)(views).loss, NTXent(0.2)(views).loss
    )
    with pytest.raises(ValueError, match="no negatives"):
        NTXent(0.2, group=1)(views)


def test_a_margin_makes_it_harder():
    views = make_views()
    losses = [NTXent(0.2, margin)(views).loss for margin in (0.0, 0.1, 0.3)]
    assert losses[0] < losses[1] < losses[2]


def test_lengths_of_outputs_do_not_matter():
    views = make_views()
    longer = views._replace(student=views.student * torch.rand(4, 5, 1) * 9)
    torch.testing.assert_close(NTXent()(longer).loss, NTXent()(views).loss)


def slow_moco(views, queue, temp, margin):
    """``queue`` is a list of (item, key)."""
    terms = []
    for s, queries in enumerate(views.student):
        for b, query in enumerate(queries):
            negatives = sum(
                math.exp(cosine(query, key) / temp)
                for item, key in queue
                if item != int(views.items[b])
            )
            for t, keys in enumerate(views.teacher):
                if s == t < views.shared:
                    continue
                positive = math.exp((cosine(query, keys[b]) - margin) / temp)
                terms.append(-math.log(positive / (positive + negatives)))
    return sum(terms) / len(terms)


@pytest.mark.parametrize("student, teacher, shared", [(2, 2, 2), (4, 2, 2), (3, 1, 0)])
@pytest.mark.parametrize("margin", [0.0, 0.2])
def test_moco_equals_the_formula_over_steps(student, teacher, shared, margin):
    loss, queue = MoCo(K, queue_size=13, temp=0.3, margin=margin), []
    for first in (0, 3, 6, 1, 2):  # utterances come back
        views = make_views(3, student, teacher, shared, first)
        value = loss(views).loss.item()
        expected = slow_moco(views, queue, 0.3, margin)
        assert value == pytest.approx(expected, rel=1e-4, abs=1e-6)
        loss.settle()
        for keys in views.teacher:
            queue += list(zip(views.items.tolist(), keys))
        queue = queue[-13:]


def test_the_queue_rests_in_evaluation():
    loss = MoCo(K, queue_size=8).eval()
    loss(make_views())
    loss.queue.settle()
    assert loss.queue.seen == 0 and (loss.queue.items == -1).all()


def test_wrong_use_is_named():
    with pytest.raises(ValueError, match="temp is 0; it must be positive"):
        NTXent(temp=0)
    with pytest.raises(ValueError, match="leaves no negatives"):
        NTXent()(make_views(batch=1))
    with pytest.raises(ValueError, match="'outputs' of the teacher"):
        MoCo(K)(Views(torch.randn(2, 3, K), items=torch.arange(3)))
    with pytest.raises(ValueError, match="0 rows"):
        MoCo(K, queue_size=0)
