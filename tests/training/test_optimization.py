"""Parameter groups, clipping, and steps that a bad loss cannot reach."""

import copy

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import nn

from speechbrain_dino.training.safe_step import (
    KeptBuffers,
    clip_gradients,
    parameter_groups,
    start_momentum,
    step_if,
)
from speechbrain_dino.training.schedules import Schedules

TRUE, FALSE = torch.tensor(True), torch.tensor(False)


def network():
    layers = [nn.Conv1d(2, 3, 3), nn.Flatten(), nn.BatchNorm1d(9), nn.Linear(9, 2)]
    return nn.Sequential(*layers)


def backward(module, scale=1.0):
    module.zero_grad()
    (scale * module(torch.randn(4, 2, 5)).square().sum()).backward()


# -- groups -------------------------------------------------------------------


def test_vectors_have_no_decay_and_every_parameter_has_one_group():
    module = network()
    module[3].weight.requires_grad_(False)
    decayed, plain = parameter_groups(module, 0.3)
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.3, 0.0)
    assert {id(p) for p in decayed["params"]} == {id(module[0].weight)}
    vectors = [module[0].bias, module[2].weight, module[2].bias, module[3].bias]
    assert {id(p) for p in plain["params"]} == {id(p) for p in vectors}


def test_what_stands_apart_has_a_group_of_its_own():
    module = network()
    apart = [module[3].weight]
    groups = parameter_groups(module, 0.3, apart, 4.0)
    assert [group["weight_decay"] for group in groups] == [0.3, 0.0, 0.0]
    assert [len(group["params"]) for group in groups] == [1, 4, 1]
    assert groups[2]["params"][0] is module[3].weight
    sgd = torch.optim.SGD(groups, lr=0.0)
    schedules = Schedules({"lr_schedule": lambda t: 0.1 * t}, nn.Module())
    for t in (1.0, 2.0):  # the factor does not pile up
        schedules.apply(t, sgd)
        rates = [group["lr"] for group in sgd.param_groups]
        assert rates == pytest.approx([0.1 * t, 0.1 * t, 0.4 * t])


def test_shared_parameters_appear_once():
    layer = nn.Linear(2, 2, bias=False)
    decayed, plain = parameter_groups(nn.Sequential(layer, layer), 0.1)
    assert (len(decayed["params"]), len(plain["params"])) == (1, 0)
    torch.optim.AdamW([decayed, plain])


# -- clipping -----------------------------------------------------------------


@given(st.floats(1e-3, 1e3), st.floats(1e-2, 1e2))
@settings(max_examples=30, deadline=None)
def test_clipping_equals_torch_over_all_groups(max_norm, scale):
    module = network()
    backward(module, scale)
    twin = copy.deepcopy(module)
    for own, other in zip(module.parameters(), twin.parameters()):
        other.grad = own.grad.clone()
    groups = parameter_groups(module, 0.1)
    everything = [p for group in groups for p in group["params"]]
    norm = clip_gradients(everything, max_norm)
    expected = nn.utils.clip_grad_norm_(twin.parameters(), max_norm)
    torch.testing.assert_close(norm, expected)
    for own, other in zip(module.parameters(), twin.parameters()):
        torch.testing.assert_close(own.grad, other.grad)


@pytest.mark.parametrize("per_tensor", [False, True])
def test_free_parameters_are_not_clipped_and_count_for_no_bound(per_tensor):
    module = network()
    backward(module, 100.0)
    twin = copy.deepcopy(module)
    for own, other in zip(module.parameters(), twin.parameters()):
        other.grad = own.grad.clone()
    free = module[3].weight
    norm = clip_gradients(module.parameters(), 0.5, per_tensor, [free])
    whole = torch.cat([p.grad.flatten() for p in twin.parameters()]).norm()
    torch.testing.assert_close(norm, whole)  # what tells that a step is not finite
    assert torch.equal(free.grad, twin[3].weight.grad)
    others = [p for p in twin.parameters() if p is not twin[3].weight]
    clip_gradients(others, 0.5, per_tensor)
    for own, other in zip(module.parameters(), twin.parameters()):
        assert torch.equal(own.grad, other.grad)


@given(st.floats(1e-3, 1e3))
@settings(max_examples=30, deadline=None)
def test_clipping_per_tensor_equals_a_loop(max_norm):
    module = network()
    backward(module)
    before = [p.grad.clone() for p in module.parameters()]
    norm = clip_gradients(module.parameters(), max_norm, per_tensor=True)
    whole = torch.cat([grad.flatten() for grad in before]).norm()
    torch.testing.assert_close(norm, whole)
    for parameter, grad in zip(module.parameters(), before):
        expected = grad * min(max_norm / (grad.norm().item() + 1e-6), 1.0)
        torch.testing.assert_close(parameter.grad, expected)


def test_without_a_bound_the_norm_is_told_and_nothing_changes():
    module = network()
    backward(module)
    module[0].bias.grad = None
    before = [p.grad.clone() for p in module.parameters() if p.grad is not None]
    norm = clip_gradients(module.parameters())
    after = [p.grad for p in module.parameters() if p.grad is not None]
    assert all(torch.equal(a, b) for a, b in zip(before, after))
    torch.testing.assert_close(norm, torch.cat([g.flatten() for g in before]).norm())


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("max_norm", [None, 1.0])
def test_norm_tells_of_a_bad_gradient(bad, max_norm):
    module = network()
    backward(module)
    module[2].bias.grad[0] = bad
    assert not clip_gradients(module.parameters(), max_norm).isfinite()


@pytest.mark.parametrize("max_norm", [0, -1.0])
def test_a_bound_that_turns_gradients_round_is_refused(max_norm):
    module = network()
    backward(module)
    with pytest.raises(ValueError, match="give a positive number"):
        clip_gradients(module.parameters(), max_norm)


def test_no_gradient_at_all_is_named():
    with pytest.raises(ValueError, match="no parameter has a gradient"):
        clip_gradients(network().parameters(), 1.0)


# -- steps --------------------------------------------------------------------

OPTIMIZERS = {
    "adam": (torch.optim.Adam, {"lr": 0.1, "amsgrad": True, "fused": True}),
    "adamw": (torch.optim.AdamW, {"lr": 0.1, "fused": True}),
    "sgd": (torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "fused": True}),
    "sgd without momentum": (torch.optim.SGD, {"lr": 0.1, "fused": True}),
    "not fused": (torch.optim.AdamW, {"lr": 0.1}),
    "sgd not fused": (torch.optim.SGD, {"lr": 0.1, "momentum": 0.9}),
    "rmsprop": (torch.optim.RMSprop, {"lr": 0.1}),
}


@pytest.fixture(params=OPTIMIZERS)
def build(request):
    """Makes the optimizer of a module."""
    kind, options = OPTIMIZERS[request.param]

    def build(module):
        optimizer = kind(parameter_groups(module, 0.1), **options)
        start_momentum(optimizer)
        return optimizer

    return build


def state_of(module, optimizer):
    """Copies of parameters and of everything that the optimizer remembers."""
    values = [p.detach().clone() for p in module.parameters()]
    for state in optimizer.state_dict()["state"].values():
        values += [v.clone() for v in state.values() if torch.is_tensor(v)]
    return values


def same(one, other):
    return len(one) == len(other) and all(torch.equal(a, b) for a, b in zip(one, other))


def test_bad_step_leaves_parameters_and_moments_bit_identical(build):
    module = network()
    optimizer = build(module)
    for _ in range(2):
        backward(module)
        step_if(optimizer, TRUE)
    before = state_of(module, optimizer)
    backward(module)
    module[0].weight.grad[0] = float("nan")
    step_if(optimizer, FALSE)
    assert same(state_of(module, optimizer), before)


def test_good_step_is_a_plain_step(build):
    module = network()
    twin = copy.deepcopy(module)
    optimizer, plain = build(module), build(twin)
    for _ in range(3):
        backward(module)
        for own, other in zip(module.parameters(), twin.parameters()):
            other.grad = own.grad.clone()
        step_if(optimizer, TRUE)
        plain.step()
        assert same(state_of(module, optimizer), state_of(twin, plain))


def test_bad_first_step_is_as_if_it_had_not_been(build):
    module = network()
    twin = copy.deepcopy(module)
    optimizer, plain = build(module), build(twin)
    backward(module, float("inf"))
    step_if(optimizer, FALSE)
    for _ in range(2):
        backward(module)
        for own, other in zip(module.parameters(), twin.parameters()):
            other.grad = own.grad.clone()
        step_if(optimizer, TRUE)
        plain.step()
    assert same(state_of(module, optimizer), state_of(twin, plain))


def test_a_layer_frozen_at_first_joins_later(build):
    module = network()
    optimizer = build(module)
    for frozen in (True, True, False, False):
        backward(module)
        before = module[3].weight.detach().clone()
        if frozen:
            for parameter in module[3].parameters():
                parameter.grad = None
        step_if(optimizer, TRUE)
        assert torch.equal(module[3].weight, before) == frozen
    assert all(p.isfinite().all() for p in module.parameters())


def test_started_momentum_is_that_of_plain_sgd():
    module = network()
    twin = copy.deepcopy(module)
    started = torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9, nesterov=True)
    start_momentum(started)
    plain = torch.optim.SGD(twin.parameters(), lr=0.1, momentum=0.9, nesterov=True)
    for _ in range(3):
        backward(module)
        for own, other in zip(module.parameters(), twin.parameters()):
            other.grad = own.grad.clone()
        started.step()
        plain.step()
    assert same(state_of(module, started), state_of(twin, plain))


# -- buffers ------------------------------------------------------------------


def test_buffers_come_back_after_a_bad_batch_only():
    module = network()
    backward(module)
    before = [b.clone() for b in module.buffers()]
    kept = KeptBuffers(module)
    module(torch.full((4, 2, 5), float("nan")))
    assert module[2].running_mean.isnan().all()
    kept.restore_unless(FALSE)
    floats = [b.is_floating_point() for b in before]
    pairs = list(zip(module.buffers(), before, floats))
    assert all(torch.equal(a, b) for a, b, is_float in pairs if is_float)
    kept = KeptBuffers(module)
    module(torch.randn(4, 2, 5))
    moved = module[2].running_mean.clone()
    kept.restore_unless(TRUE)
    assert torch.equal(module[2].running_mean, moved)
    assert not torch.equal(moved, before[0])


def test_modules_without_buffers_are_no_trouble():
    KeptBuffers(nn.Linear(2, 2)).restore_unless(FALSE)
