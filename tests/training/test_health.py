"""Figures of health against plain formulas; small trainings that do collapse."""

import copy
import math

import numpy as np
import pytest
import torch
import torch.multiprocessing as mp
from torch import nn

from speechbrain_dino.losses.combine import Sum
from speechbrain_dino.losses.contrastive import NTXent
from speechbrain_dino.losses.dino import DINO
from speechbrain_dino.losses.regularizers import KoLeo
from speechbrain_dino.losses.views import Views
from speechbrain_dino.metrics.embeddings import effective_rank, embedding_std, entropy
from speechbrain_dino.models.branch import Branch
from speechbrain_dino.models.heads import DINOHead
from speechbrain_dino.models.teacher import Teacher
from speechbrain_dino.training.collapse import CollapseError, CollapseWatch, diagnose
from speechbrain_dino.training.health import HealthMonitor, health_line

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


def test_entropy_equals_scipy():
    stats = pytest.importorskip("scipy.stats")
    probs = torch.randn(3, 5, 40, dtype=torch.double).mul(3).softmax(-1)
    np.testing.assert_allclose(entropy(probs), stats.entropy(probs.numpy(), axis=-1))


def test_embedding_std_spans_zero_to_one():
    assert embedding_std(torch.randn(4000, 64)).item() == pytest.approx(1, abs=0.01)
    assert embedding_std(torch.ones(100, 64)).item() == pytest.approx(0, abs=1e-6)
    vectors = torch.randn(10, 4)
    unit = (vectors / vectors.norm(dim=1, keepdim=True)).numpy()
    assert embedding_std(7 * vectors).item() == pytest.approx(unit.std(0).mean() * 2)


def make_views(student, teacher, embeddings):
    """Views of a step: the student sees the two of the teacher as well."""
    vectors = embeddings.unflatten(0, (2, -1))
    return Views(student, teacher, teacher_embeddings=vectors, shared=2)


def show(monitor, objective, *batch, distance=None):
    """A step as the brain shows it: the objective's result, counted and observed."""
    views = make_views(*batch)
    result = objective(views)
    objective.settle()
    monitor.count(result.loss)
    monitor.observe(views, result, distance)
    return result


def batches(number):
    for _ in range(number):
        yield torch.randn(4, 6, K), torch.randn(2, 6, K), torch.randn(12, D)


def test_summary_equals_plain_formulas():
    criterion, monitor = DINO(K).eval(), HealthMonitor(K, D)
    criterion.criterion.center.normal_()
    losses, entropies, kls, probs, embeddings = [], [], [], [], []
    for student, teacher, vectors in batches(5):
        distance = torch.tensor(0.25)
        result = show(monitor, criterion, student, teacher, vectors, distance=distance)
        log_p = (student.double() / 0.1).log_softmax(-1)
        q = ((teacher - criterion.criterion.center).double() / 0.04).softmax(-1)
        kl = torch.nn.functional.kl_div
        kls += [
            kl(log_p[s], q[t], reduction="batchmean").item()
            for s in range(4)
            for t in range(2)
            if s != t
        ]
        losses.append(result.loss.item())
        entropies.append(-(q * q.log().clamp(min=-1e9)).sum(-1).mean().item())
        probs.append(q.reshape(-1, K))
        embeddings.append(vectors)
    summary = monitor.epoch_summary()
    probs, vectors = torch.cat(probs), torch.cat(embeddings)
    mean = probs.mean(0).numpy()
    wins = np.bincount(probs.argmax(1).numpy(), minlength=K)
    unit = vectors / vectors.norm(dim=1, keepdim=True)
    expected = {
        "loss": np.mean(losses),
        "ln_k": math.log(K),
        "teacher_entropy": np.mean(entropies),
        "kl": np.mean(kls),
        "mean_entropy": -(mean * np.log(mean)).sum(),
        "prototypes_used": (wins > 0).sum(),
        "top_prototype": wins.max() / wins.sum(),
        "embedding_std": embedding_std(vectors).item(),
        "effective_rank": effective_rank(unit),
        "teacher_distance": 0.25,
        "steps": 5,
        "nonfinite": 0,
    }
    assert list(summary) == list(expected)
    assert summary == pytest.approx(expected, rel=1e-5)
    assert summary["loss"] == pytest.approx(
        summary["teacher_entropy"] + summary["kl"], rel=1e-5
    )


def test_each_epoch_starts_anew():
    criterion, monitor = DINO(K), HealthMonitor(K, D)
    for student, teacher, vectors in batches(3):
        show(monitor, criterion, student, teacher, vectors)
    monitor.epoch_summary()
    assert monitor.epoch_summary() == {
        "ln_k": math.log(K),
        "prototypes_used": 0,
        "steps": 0,
        "nonfinite": 0.0,
    }


def test_window_keeps_the_newest_embeddings():
    criterion, monitor = DINO(K), HealthMonitor(K, D, window=30)
    kept = []
    for student, teacher, vectors in batches(6):
        show(monitor, criterion, student, teacher, vectors)
        kept.append(vectors)
    newest = torch.cat(kept)[-30:]
    summary = monitor.epoch_summary()
    assert summary["embedding_std"] == pytest.approx(embedding_std(newest).item())


def test_steps_that_are_not_finite_are_counted_and_spoil_nothing():
    criterion, monitor = DINO(K), HealthMonitor(K, D)
    for student, teacher, vectors in batches(4):
        show(monitor, criterion, student, teacher, vectors)
    nan = torch.full((4, 6, K), math.nan)
    show(monitor, criterion, nan, nan[:2], torch.full((12, D), math.nan))
    monitor.count(torch.tensor(1.0), finite=torch.tensor(False))
    summary = monitor.epoch_summary()
    assert (summary["steps"], summary["nonfinite"]) == (6, 2)
    assert len(summary) == 11 and all(map(math.isfinite, summary.values()))


def test_interrupted_epoch_is_summed_up_whole():
    torch.manual_seed(1)
    criterion, whole = DINO(K).eval(), HealthMonitor(K, D, window=30)
    part = HealthMonitor(K, D, window=30)
    for monitor in (whole, part):
        monitor.epoch_summary()
    for number, (student, teacher, vectors) in enumerate(batches(6)):
        if number == 3:
            saved, part = part.state_dict(), HealthMonitor(K, D, window=30)
            part.load_state_dict(copy.deepcopy(saved))
        for monitor in (whole, part):
            show(monitor, criterion, student, teacher, vectors)
    assert part.epoch_summary() == whole.epoch_summary()
    assert part.get_extra_state() == whole.get_extra_state()


def _one_process(rank, store, out):
    torch.distributed.init_process_group(
        "gloo", f"file://{store}", rank=rank, world_size=2
    )
    criterion, monitor = DINO(K).eval(), HealthMonitor(K, D)
    for student, teacher, vectors in list(two_shares())[rank]:
        show(monitor, criterion, student, teacher, vectors)
    monitor.count(torch.tensor(math.nan))
    out[rank] = monitor.epoch_summary()
    torch.distributed.destroy_process_group()


def two_shares():
    for seed in (1, 2):
        torch.manual_seed(seed)
        yield list(batches(3))


@pytest.mark.distributed
def test_two_processes_get_the_same_metrics_of_all_batches(tmp_path):
    criterion, monitor = DINO(K).eval(), HealthMonitor(K, D)
    for share in two_shares():
        for student, teacher, vectors in share:
            show(monitor, criterion, student, teacher, vectors)
    expected = monitor.epoch_summary() | {"steps": 4, "nonfinite": 1.0}
    with mp.Manager() as manager:
        summaries = manager.dict()
        mp.spawn(_one_process, (tmp_path / "store", summaries), nprocs=2)
        one, two = summaries[0], summaries[1]
    assert one == two
    for key in ("embedding_std", "effective_rank"):  # means over the processes
        assert one.pop(key) == pytest.approx(expected.pop(key), rel=0.1)
    assert one == pytest.approx(expected, rel=1e-5)


def test_without_prototypes_the_embeddings_are_judged():
    monitor = HealthMonitor(None, D)
    vectors = torch.randn(4, 6, D)
    for _ in range(2):
        monitor.count(torch.tensor(2.0))
        views = Views(vectors, student_embeddings=vectors)
        monitor.observe(views, NTXent()(views))
    summary = monitor.epoch_summary()
    assert list(summary) == [
        "loss",
        "embedding_std",
        "effective_rank",
        "steps",
        "nonfinite",
    ]
    assert summary["embedding_std"] == pytest.approx(
        embedding_std(vectors.flatten(0, 1)).item()
    )
    flat = torch.ones(4, 6, D)
    views = Views(flat, student_embeddings=flat)
    monitor.observe(views, NTXent()(views))
    assert diagnose(monitor.epoch_summary()).cause == "collapse of the embeddings"


def test_prototypes_that_do_not_exist_are_named():
    with pytest.raises(ValueError, match=r"objective has no prototypes.*null"):
        views = make_views(*next(batches(1)))
        HealthMonitor(K, D).observe(views, NTXent()(views))


def test_terms_of_a_sum_are_averaged_and_saved():
    loss = Sum(dino=DINO(K), koleo=KoLeo("outputs"), koleo_weight=0.5)
    monitor, terms = HealthMonitor(K, D), []
    for student, teacher, vectors in batches(3):
        views = make_views(student, teacher, vectors)
        result = loss(views)
        monitor.count(result.loss)
        monitor.observe(views, result)
        terms.append(result.metrics)
        saved, monitor = monitor.state_dict(), HealthMonitor(K, D)
        monitor.load_state_dict(saved)
    summary = monitor.epoch_summary()
    for name in ("dino", "koleo"):
        expected = np.mean([term[name].item() for term in terms])
        assert summary[f"loss/{name}"] == pytest.approx(expected, rel=1e-5)
    weighted = summary["loss/dino"] + 0.5 * summary["loss/koleo"]
    assert summary["loss"] == pytest.approx(weighted, rel=1e-5)
    assert "loss/dino" not in monitor.epoch_summary()


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


def test_line_holds_every_figure():
    line = health_line(HEALTHY)
    assert "loss 2, " in line and all(key in line for key in HEALTHY)


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
            views = make_views(student, target, observed(embeddings))
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
