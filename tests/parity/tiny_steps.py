"""Ten steps of a tiny student and teacher by the recipes' own parts.

The same numbers went through the original code once: inputs and weights come from
NumPy's generator and not from torch's, whose numbers may change between versions.
"""

from functools import partial

import numpy as np
import torch
from torch import nn

from speechbrain_dino.losses.views import Views
from speechbrain_dino.models.branch import Branch
from speechbrain_dino.training.pretraining import _by_view
from speechbrain_dino.training.safe_step import (
    clip_gradients,
    parameter_groups,
    start_momentum,
    step_if,
)
from speechbrain_dino.training.schedules import Schedules

SGD = partial(torch.optim.SGD, lr=0.0, momentum=0.9)
STEPS, BATCH, FEATURES, EMBEDDING = 10, 8, 5, 6
GLOBAL_FRAMES, LOCAL_FRAMES = 4, 2


def crops(step, views, frames):
    """Input of one step, float32 (views batch, frames, features)."""
    shape = (views * BATCH, frames, FEATURES)
    drawn = np.random.default_rng([step, views, frames]).standard_normal(shape)
    return torch.from_numpy(drawn).float()


def fill(module, seed=0):
    """Gives all trained weights of a module new values, in the order they have."""
    generator = np.random.default_rng(seed)
    for weight in module.parameters():
        if weight.requires_grad:
            drawn = 0.5 * generator.standard_normal(tuple(weight.shape))
            weight.data.copy_(torch.from_numpy(drawn))
    return module


class Pooled(nn.Module):
    """An encoder: the mean over time, a linear layer and BatchNorm."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(FEATURES, EMBEDDING)
        self.norm = nn.BatchNorm1d(EMBEDDING)

    def forward(self, feats):
        """Embeddings (N, D) of features (N, T, F)."""
        return self.norm(self.linear(feats.mean(1)))


def ten_steps(
    objective,
    head,
    optimizer,
    teacher=None,
    counts=(2, 4),
    student_crops="all",
    head_by_length=False,
    views_apart=False,
    clip=None,
    prototype_lr_factor=None,
    rate=0.1,
    weight_decay=0.0,
    momentum=0.9,
    frozen_steps=0,
):
    """Losses (10,) and the weights (N,) of the student after ten steps.

    ``teacher`` makes a teacher from a student; ``counts``: global and local crops.
    """
    student = fill(Branch(Pooled(), head, head_by_length))
    teacher = teacher and teacher(student)
    apart = ()
    if prototype_lr_factor is not None:
        apart = (list(student.head.prototypes.parameters()), prototype_lr_factor)
    groups = optimizer(parameter_groups(student, weight_decay, *apart))
    start_momentum(groups)
    named = {
        "lr_schedule": lambda t: rate,
        "weight_decay_schedule": lambda t: weight_decay,
    }
    schedules = Schedules(named, objective)
    losses = []
    for step in range(STEPS):
        schedules.apply(step / STEPS, groups)
        views = _views(student, teacher, counts, student_crops, step, views_apart)
        loss = objective(views).loss
        groups.zero_grad()
        loss.backward()
        objective.settle(torch.tensor(True))
        if step < frozen_steps:
            student.head.prototypes.weight.grad = None
        free = apart[0] if apart else ()
        clip_gradients(student.parameters(), clip, per_tensor=True, free=free)
        step_if(groups, torch.tensor(True))
        if teacher is not None:
            teacher.update(student, momentum)
        losses.append(loss.item())
    weights = [p.detach().flatten() for p in student.parameters()]
    return np.array(losses), torch.cat(weights).numpy()


def _views(student, teacher, counts, student_crops, step, views_apart):
    whole = crops(step, counts[0], GLOBAL_FRAMES)
    local = [crops(step, counts[1], LOCAL_FRAMES)] if counts[1] else []
    seen = local if student_crops == "local" else [whole, *local]
    teacher_input = [whole]
    if views_apart:
        seen = teacher_input = list(whole.chunk(counts[0]))
    number = sum(counts) if student_crops == "all" else counts[1]
    taught, shared = {}, 0
    if teacher is not None:
        taught = _by_view("teacher", teacher(teacher_input), counts[0])
        shared = counts[0] if student_crops == "all" else 0
    return Views(
        **_by_view("student", student(seen), number),
        **taught,
        items=torch.arange(BATCH) + step * BATCH,
        shared=shared,
    )
