"""DINO loss against the published formula, written out as loops over views."""

import numpy as np
import pytest
import torch
import torch.multiprocessing as mp

from speechbrain_dino.losses.dino import DINO, DINOLoss, dino_cross_entropy
from speechbrain_dino.losses.views import Views


def slow_loss(student, teacher, center, student_temp, teacher_temp):
    """Equation of the DINO paper in float64: every pair of views on its own."""
    terms = []
    for t, teacher_view in enumerate(teacher.double()):
        target = torch.softmax((teacher_view - center.double()) / teacher_temp, -1)
        for s, student_view in enumerate(student.double()):
            if s != t:
                log_prob = torch.log_softmax(student_view / student_temp, -1)
                terms.append(-(target * log_prob).sum(-1).mean())
    return sum(terms) / len(terms)


SIZES = [(2, 1, 1, 3), (2, 2, 3, 7), (5, 1, 4, 64), (6, 2, 8, 129), (8, 2, 5, 1000)]


@pytest.mark.parametrize("views, teacher_views, batch, out_dim", SIZES)
@pytest.mark.parametrize("temps", [(0.1, 0.04), (0.1, 0.07), (1.0, 1.0), (0.5, 0.02)])
def test_value_and_gradient_equal_the_formula(
    views, teacher_views, batch, out_dim, temps
):
    student = torch.randn(views, batch, out_dim, requires_grad=True)
    teacher = torch.randn(teacher_views, batch, out_dim)
    loss = DINOLoss(out_dim, *temps)
    loss.center.normal_()
    expected = slow_loss(student, teacher, loss.center.clone(), *temps)
    (slow_gradient,) = torch.autograd.grad(expected, student)
    value = loss(student, teacher)
    (gradient,) = torch.autograd.grad(value, student)
    assert value.item() == pytest.approx(expected.item(), rel=1e-5)
    torch.testing.assert_close(gradient, slow_gradient, rtol=1e-4, atol=1e-7)


def test_all_student_views_may_be_the_teachers():
    student, teacher = torch.randn(3, 4, 9), torch.randn(3, 4, 9)
    expected = slow_loss(student, teacher, torch.zeros(9), 0.1, 0.04)
    assert DINOLoss(9)(student, teacher).item() == pytest.approx(expected.item())


@pytest.mark.parametrize("momentum", [0.0, 0.9, 0.999, 1.0])
def test_center_follows_the_closed_form_over_steps(momentum):
    loss = DINOLoss(11, center_momentum=momentum)
    expected = np.zeros(11)
    for _ in range(6):
        student, teacher = torch.randn(4, 5, 11), torch.randn(2, 5, 11)
        before = slow_loss(student, teacher, torch.from_numpy(expected), 0.1, 0.04)
        assert loss(student, teacher).item() == pytest.approx(before.item(), rel=1e-5)
        mean = teacher.double().numpy().reshape(-1, 11).mean(0)
        expected = momentum * expected + (1 - momentum) * mean
    np.testing.assert_allclose(loss.center.numpy(), expected, rtol=1e-5, atol=1e-7)


def test_uniform_logits_give_ln_k():
    loss = DINOLoss(4096)
    assert loss(torch.zeros(6, 2, 4096), torch.zeros(2, 2, 4096)).item() == (
        pytest.approx(np.log(4096))
    )


def test_views_that_the_student_does_not_see_are_all_compared():
    student, teacher = torch.randn(3, 4, 9), torch.randn(2, 4, 9)
    target = torch.softmax(teacher.double() / 0.04, -1)
    log_probs = torch.log_softmax(student.double() / 0.1, -1)
    terms = [-(t * s).sum(-1).mean() for t in target for s in log_probs]
    expected = pytest.approx(np.mean(terms), rel=1e-5)
    assert DINOLoss(9)(student, teacher, shared=0).item() == expected
    one, clean = student[:1], teacher[:1]  # one view each, not the same crop
    views = Views(one, clean, shared=0)
    assert DINO(9)(views).loss.item() == pytest.approx(terms[0].item(), rel=1e-5)


def test_views_and_logits_are_the_same_call():
    student, teacher = torch.randn(4, 3, 9), torch.randn(2, 3, 9)
    loss, objective = DINOLoss(9), DINO(9)
    result = objective(Views(student, teacher, shared=2))
    assert torch.equal(loss(student, teacher), result.loss)
    # The objective's center waits until the step is known to be good.
    assert objective.criterion.center.count_nonzero() == 0
    objective.settle()
    assert torch.equal(loss.center, objective.criterion.center)


def test_center_rests_in_evaluation():
    loss = DINOLoss(8).eval()
    loss(torch.randn(3, 4, 8), torch.randn(2, 4, 8))
    assert loss.center.count_nonzero() == 0


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_center_takes_no_value_that_is_not_finite(bad):
    loss = DINOLoss(8)
    loss(torch.randn(3, 4, 8), torch.randn(2, 4, 8))
    before = loss.center.clone()
    teacher = torch.randn(2, 4, 8)
    teacher[1, 2, 3] = bad
    loss(torch.randn(3, 4, 8), teacher)
    assert torch.equal(loss.center, before)


def test_no_gradient_reaches_teacher_or_center():
    teacher = torch.randn(2, 4, 8, requires_grad=True)
    loss = DINOLoss(8)
    loss(torch.randn(3, 4, 8, requires_grad=True), teacher).backward()
    assert teacher.grad is None and not loss.center.requires_grad


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_logits_lose_nothing_but_their_own_rounding(dtype):
    student, teacher = torch.randn(4, 3, 50).to(dtype), torch.randn(2, 3, 50).to(dtype)
    value = DINOLoss(50)(student, teacher)
    assert value.dtype == torch.float32
    expected = slow_loss(student, teacher, torch.zeros(50), 0.1, 0.04)
    assert value.item() == pytest.approx(expected.item(), rel=1e-5)


def test_teacher_temperature_can_be_set_by_a_schedule():
    student, teacher = torch.randn(4, 3, 50), torch.randn(2, 3, 50)
    loss = DINOLoss(50, teacher_temp=0.04)
    loss.teacher_temp = 0.07
    expected = slow_loss(student, teacher, torch.zeros(50), 0.1, 0.07)
    assert loss(student, teacher).item() == pytest.approx(expected.item(), rel=1e-5)


def test_state_dict_carries_the_center():
    loss, other = DINOLoss(8), DINOLoss(8)
    loss(torch.randn(3, 4, 8), torch.randn(2, 4, 8))
    other.load_state_dict(loss.state_dict())
    assert torch.equal(other.center, loss.center)


@pytest.mark.parametrize(
    "student, teacher, message",
    [
        ((1, 4, 8), (1, 4, 8), "at least two crops"),
        ((2, 4, 8), (3, 4, 8), "3 teacher views for 2 student views"),
        ((2, 4, 8), (0, 4, 8), "0 teacher views"),
        ((2, 4, 8), (2, 5, 8), "agree in batch"),
        ((2, 4, 9), (2, 4, 9), "out_dim=8"),
        ((4, 8), (4, 8), "views, batch, prototypes"),
    ],
)
def test_shapes_that_do_not_fit_are_named(student, teacher, message):
    with pytest.raises(ValueError, match=message):
        DINOLoss(8)(torch.randn(student), torch.randn(teacher))


@pytest.mark.parametrize(
    "settings",
    [{"student_temp": 0}, {"teacher_temp": -0.1}, {"center_momentum": 1.1}],
)
def test_settings_out_of_range_are_named(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        DINOLoss(8, **settings)


def test_cross_entropy_accepts_any_targets():
    log_probs = torch.randn(4, 3, 6, dtype=torch.double).log_softmax(-1)
    targets = torch.rand(2, 3, 6, dtype=torch.double)
    pairs = [(s, t) for s in range(4) for t in range(2) if s != t]
    expected = np.mean(
        [-(targets[t] * log_probs[s]).sum(-1).mean().item() for s, t in pairs]
    )
    assert dino_cross_entropy(log_probs, targets).item() == pytest.approx(expected)


def _one_process(rank, store, teacher, splits, out):
    torch.distributed.init_process_group(
        "gloo", f"file://{store}", rank=rank, world_size=len(splits)
    )
    loss = DINOLoss(teacher.shape[-1])
    mine = teacher.split(splits, dim=1)[rank]
    for _ in range(2):
        loss(mine.repeat(2, 1, 1), mine)
    out[rank] = loss.center
    torch.distributed.destroy_process_group()


@pytest.mark.distributed
@pytest.mark.parametrize("splits", [(4, 4), (3, 5)])
def test_two_processes_have_the_center_of_one(tmp_path, splits):
    teacher = torch.randn(2, 8, 16)
    whole = DINOLoss(16)
    for _ in range(2):
        whole(teacher.repeat(2, 1, 1), teacher)
    with mp.Manager() as manager:
        centers = manager.dict()
        mp.spawn(_one_process, (tmp_path / "store", teacher, splits, centers), nprocs=2)
        assert torch.equal(centers[0], centers[1])
        torch.testing.assert_close(centers[0], whole.center)
