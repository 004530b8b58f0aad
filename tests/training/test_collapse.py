"""Which metrics count as a collapse, when it stops a run; trainings that collapse."""

import math

import pytest
import torch
from torch import nn

from speechbrain_dino.losses.dino import DINO
from speechbrain_dino.losses.views import Views
from speechbrain_dino.models.branch import Branch
from speechbrain_dino.models.heads import DINOHead
from speechbrain_dino.models.teacher import Teacher
from speechbrain_dino.training.collapse import CollapseError, CollapseWatch, diagnose
from speechbrain_dino.training.health import HealthMonitor

K, D = 32, 8
HEALTHY = {
    "ln_k": math.log(K),
    "loss": 2.0,
    "teacher_entropy": 1.0,
    "mean_entropy": 3.0,
    "top_prototype": 0.1,
    "embedding_std": 0.9,
    "effective_rank": 6.0,
    "teacher_distance": 0.01,
    "steps": 100,
    "nonfinite": 1.0,
}
LN_K = math.log(K)
SICK = {
    "uniform collapse": {"loss": LN_K, "teacher_entropy": 0.995 * LN_K},
    "collapse to one prototype": {
        "teacher_entropy": 0.01,
        "mean_entropy": 0.02,
        "top_prototype": 1.0,
    },
    "collapse of the embeddings": {"embedding_std": 0.01},
    "the teacher is its student": {"teacher_distance": 0.0},
    "steps without a finite loss or gradient": {"nonfinite": 60.0},
}


@pytest.mark.parametrize("cause", SICK)
def test_each_collapse_is_named_with_metrics_and_remedy(cause):
    diagnosis = diagnose(HEALTHY | SICK[cause])
    assert diagnosis.cause == cause and diagnosis.remedy
    assert next(iter(SICK[cause])) in diagnosis.metrics


def test_one_direction_is_a_collapse_of_the_embeddings():
    diagnosis = diagnose(HEALTHY | {"effective_rank": 1.01})
    assert diagnosis.cause == "collapse of the embeddings"


@pytest.mark.parametrize(
    "summary",
    [
        HEALTHY,
        {},
        {"steps": 0, "nonfinite": 0.0},
        # Sharp targets, but not the same for all.
        HEALTHY | {"teacher_entropy": 0.01, "top_prototype": 0.2},
        # Near ln K, but no longer uniform.
        HEALTHY | {"loss": 0.999 * LN_K, "teacher_entropy": 0.95 * LN_K},
    ],
)
def test_a_healthy_epoch_triggers_no_diagnosis(summary):
    assert diagnose(summary) is None


def near_uniform(gap):
    return HEALTHY | {"loss": LN_K, "teacher_entropy": (1 - gap) * LN_K}


@pytest.mark.parametrize(
    "before, after, diagnosed",
    [
        (0.001, 0.005, False),  # leaves by a factor per epoch
        (0.003, 0.0031, False),
        (0.005, 0.005, True),
        (0.005, 0.001, True),
        (1e-7, 5e-7, True),  # rounding grows nowhere
    ],
)
def test_a_distribution_on_its_way_out_triggers_no_diagnosis(before, after, diagnosed):
    diagnosis = diagnose(near_uniform(after), near_uniform(before))
    assert (diagnosis is not None) is diagnosed


def stopped_after(watch, summaries):
    """Number of the epoch at which the run is stopped, None if it is not."""
    for epoch, summary in enumerate(summaries, 1):
        watch.update(summary)
        try:
            watch.check(summary)
        except CollapseError:
            return epoch
    return None


SICK_EPOCH = HEALTHY | SICK["uniform collapse"]


@pytest.mark.parametrize(
    "patience, min_steps, grace, epoch",
    [(2, 0, 3, 5), (1, 0, 0, 1), (2, 350, 0, 4), (2, 350, 3, 7), (20, 0, 0, None)],
)
def test_run_is_stopped_after_grace_patience_and_steps(
    patience, min_steps, grace, epoch
):
    watch = CollapseWatch(patience, min_steps, grace)
    assert stopped_after(watch, [SICK_EPOCH] * 10) == epoch


def test_a_healthy_epoch_or_another_cause_starts_the_count_again():
    watch = CollapseWatch(patience=2, min_steps=0, grace=0)
    other = HEALTHY | SICK["collapse of the embeddings"]
    epochs = [SICK_EPOCH, HEALTHY, SICK_EPOCH, other, SICK_EPOCH, other, other]
    assert stopped_after(watch, epochs) == 7


def test_message_names_cause_figures_and_remedy():
    watch = CollapseWatch(patience=1, min_steps=0, grace=0)
    watch.update(SICK_EPOCH)
    with pytest.raises(
        CollapseError, match=r"uniform.*loss 3\.466.*teacher_temp_schedule 0\.04"
    ):
        watch.check(SICK_EPOCH)


def train(
    epochs=12,
    teacher_temp=0.04,
    center_momentum=0.9,
    momentum=0.99,
    batch_norm=True,
    observed=lambda embeddings: embeddings,
):
    """A toy DINO on noisy points; the summaries, or CollapseError."""
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Linear(12, 32), nn.ReLU(), nn.Linear(32, D))
    head = DINOHead(D, K, hidden_dim=32, bottleneck_dim=16, batch_norm=batch_norm)
    branch = Branch(encoder, head)
    teacher = Teacher(branch)
    criterion = DINO(K, teacher_temp=teacher_temp, center_momentum=center_momentum)
    monitor = HealthMonitor(K, D, patience=3, min_steps=300, grace=2)
    optimizer = torch.optim.AdamW(branch.parameters(), lr=3e-3)
    speakers = torch.randn(16, 12)
    summaries = []
    for _ in range(epochs):
        for step in range(40):
            points = speakers[torch.randint(16, (32,))]
            crops = points + 0.3 * torch.randn(4, 32, 12)
            _, student = branch([crops.flatten(0, 1)])
            embeddings, target = teacher([crops[:2].flatten(0, 1)])
            student, target = student.view(4, 32, K), target.view(2, 32, K)
            vectors = observed(embeddings).unflatten(0, (2, -1))
            views = Views(student, target, teacher_embeddings=vectors, shared=2)
            result = criterion(views)
            optimizer.zero_grad()
            result.loss.backward()
            optimizer.step()
            criterion.settle()
            teacher.update(branch, momentum)
            monitor.count(result.loss)
            if step % 4 == 0:
                distance = teacher.distance(branch)
                monitor.observe(views, result, distance)
        summaries.append(monitor.epoch_summary())
        monitor.check(summaries[-1])
    return summaries


@pytest.mark.parametrize(
    "settings, cause",
    [
        ({"center_momentum": 1.0, "batch_norm": False}, "collapse to one prototype"),
        ({"teacher_temp": 1.0}, "uniform collapse"),
        ({"momentum": 0.0}, "the teacher is its student"),
        ({"observed": torch.ones_like}, "collapse of the embeddings"),
    ],
)
def test_settings_that_collapse_are_caught(settings, cause):
    with pytest.raises(CollapseError, match=cause):
        train(**settings)


def test_settings_that_work_are_left_alone():
    summaries = train()
    assert summaries[-1]["loss"] < 0.2 * summaries[-1]["ln_k"]
    # 8 to 14 of 32, whatever the seed; a collapse leaves one.
    assert summaries[-1]["prototypes_used"] > 3


def test_a_run_that_passes_near_uniform_and_leaves_it_is_left_alone():
    # Without BatchNorm it lies above 0.99 ln K for hundreds of steps, then learns.
    summaries = train(epochs=25, momentum=0.996, batch_norm=False)
    near = [s for s in summaries if s["loss"] > 0.99 * s["ln_k"]]
    assert len(near) >= 3
    assert summaries[-1]["loss"] < 0.9 * summaries[-1]["ln_k"]
