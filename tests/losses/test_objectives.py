"""What holds for every objective, and the weighted sum of several."""

import copy

import pytest
import torch
import torch.multiprocessing as mp
from objective_cases import (
    OBJECTIVES,
    WITHOUT_TEACHER,
    K,
    chosen,
    gradients,
    make_views,
    with_gradients,
)

from speechbrain_dino.losses.combine import Sum
from speechbrain_dino.losses.contrastive import NTXent
from speechbrain_dino.losses.dino import DINO
from speechbrain_dino.losses.objective import Objective, owner_of
from speechbrain_dino.losses.regularizers import CosineDistance, KoLeo

ALONE = {"teacher": 0, "shared": 0}  # views for an objective without a teacher


def build(name, cases=OBJECTIVES, **views):
    """An objective that has seen some batches, as after some steps of training."""
    loss = cases[name]()
    generator_state = torch.random.get_rng_state()
    torch.manual_seed(5)
    for epoch, first in ((1, 0), (1, 8), (1, 16), (1, 24), (2, 0)):
        loss.begin_epoch(epoch)
        loss(make_views(batch=8, first=first, **views))
        loss.settle()
    torch.random.set_rng_state(generator_state)
    return loss


GROUPED = {"ntxent_group", "koleo_group"}  # by the order of utterances


@pytest.mark.parametrize("name", sorted(set(OBJECTIVES) - GROUPED))
def test_the_order_of_utterances_does_not_matter(name):
    loss, views = build(name), make_views()
    order = torch.tensor([3, 0, 4, 1, 2])
    value = copy.deepcopy(loss)(views).loss
    other = copy.deepcopy(loss)(chosen(views, items=order)).loss
    torch.testing.assert_close(other, value, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", sorted(set(OBJECTIVES) - {"ssps"}))
def test_the_order_of_views_does_not_matter(name):
    # SSPS takes another utterance's target of the same place, one for each view.
    loss, views = build(name), make_views()
    turned = chosen(views, student=[1, 0, 3, 2], teacher=[1, 0])
    value = copy.deepcopy(loss)(views).loss
    other = copy.deepcopy(loss)(turned).loss
    torch.testing.assert_close(other, value, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_half_precision_gives_finite_gradients_near_those_of_float32(name):
    loss = build(name)
    views = make_views(dtype=torch.bfloat16)
    views, leaves = with_gradients(views)
    value = copy.deepcopy(loss)(views.float()).loss
    grads = gradients(value, leaves)
    assert value.dtype == torch.float32
    assert all(g.dtype == torch.bfloat16 and g.isfinite().all() for g in grads)
    exact, exact_leaves = with_gradients(views.detach().float())
    expected = gradients(copy.deepcopy(loss)(exact).loss, exact_leaves)
    for one, other in zip(grads, expected):
        torch.testing.assert_close(one.float(), other, rtol=0.01, atol=1e-5)
    assert any(g.abs().max() > 0 for g in expected)


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("scale", [0.0, 1e-18, 1e12])
def test_degenerate_outputs_give_finite_gradients(name, scale):
    if name in ("vicreg", "rdino") and scale > 1:
        pytest.skip("squares of squares of these leave float32; the step is skipped")
    loss, views = build(name), make_views()
    views, leaves = with_gradients(
        views._mapped(lambda x: x * scale)._replace(items=views.items)
    )
    value = loss(views).loss
    assert value.isfinite()
    assert all(g.isfinite().all() for g in gradients(value, leaves))


@pytest.mark.parametrize("name", OBJECTIVES)
def test_no_gradient_goes_to_the_teacher(name):
    loss, views = build(name), make_views()
    teacher = views.teacher.clone().requires_grad_(name in ("dino", "sdpn"))
    value = loss(views._replace(teacher=teacher)).loss
    assert not value.requires_grad and value.dim() == 0


@pytest.mark.parametrize("name", WITHOUT_TEACHER)
def test_a_teacher_is_not_needed(name):
    views = make_views(**ALONE)
    assert WITHOUT_TEACHER[name]()(views).loss.isfinite()


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_step_that_is_not_taken_leaves_no_trace(name):
    loss = build(name)
    before = copy.deepcopy(tensors(loss))
    for taken in (False, True):
        loss(make_views(first=10))
        loss.settle(torch.tensor(taken))
        moved = [k for k, v in tensors(loss).items() if not torch.equal(v, before[k])]
        assert bool(moved) is (taken and bool(before) and name in MOVING), moved


MOVING = ("dino", "moco", "sum", "ssps")


def tensors(loss):
    return {k: v for k, v in loss.state_dict().items() if torch.is_tensor(v)}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_saved_objective_goes_on_the_same(name):
    loss = build(name)
    other = OBJECTIVES[name]()
    other.load_state_dict(copy.deepcopy(loss.state_dict()))
    other.begin_epoch(2)
    for first in (0, 10, 20):
        views = make_views(first=first)
        assert torch.equal(loss(views).loss, other(views).loss)
        loss.settle(), other.settle()


# -- several processes ------------------------------------------------------------


def _one_process(rank, store, inputs, out):
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", f"file://{store}", rank=rank, world_size=2
    )
    results = {}
    inputs = copy.deepcopy(inputs)  # what is sent lies in memory that both share
    torch.distributed.barrier()
    for name, (loss, batches) in inputs.items():
        values = []
        for views in batches:
            half = views.student.shape[1] // 2
            mine = torch.arange(rank * half, (rank + 1) * half)
            mine, leaves = with_gradients(chosen(views, items=mine))
            value = loss(mine).loss
            # DistributedDataParallel takes the mean of gradients over processes.
            grads = [g / 2 for g in gradients(value, leaves)]
            values.append((value.detach(), grads))
            loss.settle()
        results[name] = (values, tensors(loss))
    out[rank] = results
    torch.distributed.destroy_process_group()


@pytest.mark.distributed
def test_two_processes_give_the_loss_and_gradient_of_one(tmp_path):
    inputs, expected = {}, {}
    both = [(OBJECTIVES, {}), (WITHOUT_TEACHER, ALONE)]
    for name, cases, sizes in [(n, *case) for case in both for n in case[0]]:
        loss = build(name, cases, **sizes)
        name = f"{name} without a teacher" if sizes else name
        batches = [make_views(batch=6, first=first, **sizes) for first in (3, 12, 20)]
        inputs[name] = (copy.deepcopy(loss), batches)
        values = []
        for views in batches:
            views, leaves = with_gradients(views)
            value = loss(views).loss
            values.append((value.detach(), gradients(value, leaves)))
            loss.settle()
        expected[name] = (values, tensors(loss))
    with mp.Manager() as manager:
        out = manager.dict()
        mp.spawn(_one_process, (tmp_path / "store", inputs, out), nprocs=2)
        one, two = out[0], out[1]
    for name, (values, state) in expected.items():
        halves = zip(values, one[name][0], two[name][0])
        for (value, whole), (first, left), (second, right) in halves:
            torch.testing.assert_close((first + second) / 2, value, msg=name)
            for gradient, a, b in zip(whole, left, right):
                both = torch.cat([a, b], dim=1)
                torch.testing.assert_close(both, gradient, msg=name)
        for results in (one, two):
            for key, tensor in results[name][1].items():
                if "share_found" in key:  # that of the process' own utterances
                    continue
                torch.testing.assert_close(tensor, state[key], msg=f"{name} {key}")


# -- the sum ------------------------------------------------------------------------


def test_sum_is_the_weighted_sum_of_its_parts():
    views = make_views()
    parts = {"dino": DINO(K), "koleo": KoLeo(), "cosine": CosineDistance()}
    objective = Sum(**copy.deepcopy(parts), koleo_weight=0.3, cosine_weight=0.0)
    result = objective(views)
    values = {name: part(views).loss for name, part in parts.items()}
    torch.testing.assert_close(result.loss, values["dino"] + 0.3 * values["koleo"])
    assert list(result.metrics) == ["dino", "koleo", "cosine"]
    torch.testing.assert_close(result.metrics["cosine"], values["cosine"])


def test_weights_and_numbers_of_parts_have_one_owner():
    inner = Sum(dino=DINO(K), koleo=KoLeo())
    outer = Sum(inner=inner, ntxent=NTXent())
    assert (inner.dino_weight, inner.koleo_weight) == (1.0, 1.0)
    assert owner_of(outer, "koleo_weight") is inner
    assert owner_of(outer, "teacher_temp") is inner.parts["dino"].criterion
    assert owner_of(outer, "margin") is outer.parts["ntxent"]
    assert owner_of(inner, "margin") is None and owner_of(inner, "center") is None
    assert owner_of(inner, "training") is None


def test_a_number_of_two_parts_is_refused():
    objective = Sum(one=NTXent(), other=NTXent())
    with pytest.raises(ValueError, match="temp is a number of each of"):
        owner_of(objective, "temp")


@pytest.mark.parametrize(
    "parts, message",
    [
        ({}, "no objectives"),
        (
            {"dino": DINO(K), "koleo_weight": 0.1},
            "koleo_weight=0.1 is no objective",
        ),
        ({"dino": DINO(K), "dino_weight": "x"}, "dino_weight='x'"),
    ],
)
def test_what_is_no_objective_is_named(parts, message):
    with pytest.raises(ValueError, match=message):
        Sum(**parts)


def test_distributions_are_those_of_the_part_with_prototypes():
    views = make_views()
    dino = DINO(K)
    objective = Sum(koleo=KoLeo(), dino=dino)
    expected = dino(views).distributions
    for one, other in zip(objective(views).distributions, expected):
        assert torch.equal(one, other)
    assert KoLeo()(views).distributions is None


def test_calls_reach_the_objectives_inside():
    calls = []

    class Noted(Objective):
        def allocate(self, num_items):
            calls.append(("allocate", num_items))

        def begin_epoch(self, epoch):
            calls.append(("begin_epoch", epoch))

        def settle(self, finite=None):
            calls.append(("settle", finite))

        def wants_reference(self):
            return True

    objective = Sum(inner=Sum(noted=Noted()), koleo=KoLeo())
    objective.allocate(7)
    objective.begin_epoch(2)
    objective.settle(True)
    assert calls == [("allocate", 7), ("begin_epoch", 2), ("settle", True)]
    assert objective.wants_reference() and not Sum(koleo=KoLeo()).wants_reference()
