"""Metrics of health against plain formulas."""

import copy
import math

import numpy as np
import pytest
import torch
import torch.multiprocessing as mp

from speechbrain_dino.losses.combine import Sum
from speechbrain_dino.losses.contrastive import NTXent
from speechbrain_dino.losses.dino import DINO
from speechbrain_dino.losses.regularizers import KoLeo
from speechbrain_dino.losses.views import Views
from speechbrain_dino.metrics.embeddings import effective_rank, embedding_std, entropy
from speechbrain_dino.training.collapse import diagnose
from speechbrain_dino.training.health import HealthMonitor, health_line

K, D = 32, 8


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


def test_line_holds_every_metric():
    summary = {"loss": 2.0, "ln_k": math.log(K), "steps": 100, "nonfinite": 1.0}
    line = health_line(summary)
    assert "loss 2, " in line and all(key in line for key in summary)
