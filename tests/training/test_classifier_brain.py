"""Training on labels: what learns when, what gates and corrections let through."""

import pytest
import recipe_runs as runs
import torch

from speechbrain_dino.training import brain as loop

pytestmark = pytest.mark.usefixtures("in_this_process")

STEPS, EPOCHS = 6, 3
GATE = """!new:speechbrain_dino.losses.label_gates.FixedGate
    bound: 5.0"""
SHUT = """!new:speechbrain_dino.losses.label_gates.FixedGate
    bound: 0.000001"""
CORRECT = """!new:speechbrain_dino.losses.label_gates.LabelCorrection
    start_epoch: 2
    threshold: 0.2"""


@pytest.fixture
def build(tiny_corpus, tmp_path_factory, tmp_path):
    """Builds brain and loader of a recipe with some keys of its own."""
    prepared = tmp_path_factory.getbasetemp() / "prepared_for_classifier"

    def build(*options, wrong=(), left_out=(), **keys):
        keys.setdefault("ckpt_interval_steps", 0)
        keys.setdefault("validate_every", 99)
        labels = runs.write_labels(tmp_path, tiny_corpus, wrong, left_out)
        recipe = runs.write_recipe(
            tmp_path / "tiny.yaml",
            base="pseudo_labels",
            data_folder=str(tiny_corpus),
            data_save_folder=str(prepared),
            labels_file=str(labels),
            output_folder=str(tmp_path / f"run{len(list(tmp_path.iterdir()))}"),
            **keys,
        )
        return runs.make_brain(recipe, *options)

    return build


def fit(brain, loader):
    brain.fit(vars(brain.hparams)["epoch_counter"], loader)
    return brain


def copies(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def each_step(brain, monkeypatch, look):
    values, step = [], loop.step_if

    def looked_at(optimizer, finite):
        values.append(look())
        step(optimizer, finite)

    monkeypatch.setattr(loop, "step_if", looked_at)
    return values


def test_margin_and_crops_follow_their_schedules(build, monkeypatch):
    brain, loader = build()
    lengths = []
    forward = brain.compute_forward

    def watched(batch, stage):
        lengths.append(batch.views[0].shape[-1])
        return forward(batch, stage)

    monkeypatch.setattr(brain, "compute_forward", watched)
    pairs = each_step(
        brain,
        monkeypatch,
        lambda: (brain.modules.loss.margin, brain.optimizer.param_groups[0]["lr"]),
    )
    fit(brain, loader)
    margins, rates = zip(*pairs)
    ramp = [0.3 * number / STEPS for number in range(STEPS)]
    expected = [0.3] * STEPS + ramp + [0.5] * STEPS
    assert margins == pytest.approx(expected)
    assert lengths == [8000] * 2 * STEPS + [11200] * STEPS
    assert rates[:STEPS] == (0.1,) * STEPS and rates[STEPS] == 0.0


def test_first_the_last_layers_learn_alone(build, monkeypatch):
    brain, loader = build()
    encoder = brain.modules.student.encoder
    before = copies(brain.modules.student)
    states = each_step(brain, monkeypatch, lambda: copies(brain.modules.student))
    fit(brain, loader)
    last = {"encoder.fc", "head"}
    affine = [n for n in before if any(n.startswith(part) for part in last)]
    others = [n for n in before if n not in affine]
    assert len(affine) >= 3 and len(others) > 20
    after_first = states[STEPS]  # at the first step of epoch 2 nothing else has moved
    for name in affine:
        assert not torch.equal(after_first[name], before[name]), name
    norms = ("running_mean", "running_var")
    for name in others:
        if "num_batches" in name:
            continue
        # BatchNorm's statistics begin to move with the batch of that step.
        if not name.endswith(norms):
            assert torch.equal(after_first[name], before[name]), name
        else:
            assert torch.equal(states[STEPS - 1][name], before[name]), name
    end = copies(brain.modules.student)
    moved = [name for name in others if not torch.equal(end[name], before[name])]
    assert len(moved) > 0.8 * len(others)
    assert all(p.requires_grad for p in encoder.parameters())


def test_a_gated_label_does_not_touch_the_gradient(build, monkeypatch):
    brain, loader = build(gate=GATE, affine_epochs=0, main_epochs=2)
    wanted = []
    objectives = brain.compute_objectives

    def compared(outputs, batch, stage):
        loss = objectives(outputs, batch, stage)
        losses = brain.modules.loss(outputs["logits"], outputs["labels"])
        kept = losses < 5.0
        by_hand = losses[kept].sum() / max(int(kept.sum()), 1)
        wanted.append((loss.item(), by_hand.item(), int(kept.sum())))
        return loss

    monkeypatch.setattr(brain, "compute_objectives", compared)
    fit(brain, loader)
    assert {n for _, _, n in wanted} - {0, 4}, "the gate parts no batch"
    for loss, by_hand, _ in wanted:
        assert loss == pytest.approx(by_hand, rel=1e-5, abs=1e-7)
    kept = sum(n for _, _, n in wanted)
    rows = [row for row in brain.curves.read() if row["kind"] == "epoch"]
    gated = sum(row["gated"] for row in rows) / len(rows)
    assert gated == pytest.approx(1 - kept / (4 * len(wanted)))


def test_correction_takes_what_clean_speech_says(build, monkeypatch, tmp_path):
    noises = runs.make_noises(tmp_path / "noises")
    brain, loader = build(
        gate=SHUT, correction=CORRECT, noise_folder=str(noises), affine_epochs=0
    )
    steps = []
    objectives = brain.compute_objectives

    def compared(outputs, batch, stage):
        loss = objectives(outputs, batch, stage)
        student = brain.modules.student
        with torch.no_grad():
            student.eval()
            _, cosines = student([brain.features(outputs["waves"])])
            student.train()
        probs = torch.softmax(cosines / 0.1, 1)
        sure = probs.amax(1) > 0.2
        losses = brain.modules.loss(outputs["logits"], probs.argmax(1))
        by_hand = (losses * sure).sum() / sure.sum().clamp(min=1)
        steps.append((brain.epoch, loss.item(), by_hand.item(), int(sure.sum())))
        return loss

    monkeypatch.setattr(brain, "compute_objectives", compared)
    fit(brain, loader)
    assert any(sure > 0 for _, _, _, sure in steps)
    for epoch, loss, by_hand, _ in steps:
        expected = by_hand if epoch >= 2 else 0.0  # all gated, none corrected yet
        assert loss == pytest.approx(expected, rel=1e-4, abs=1e-6), epoch


def test_classes_come_from_the_labels_and_rows_without_one_stay_out(build):
    brain, loader = build(left_out=(0, 1, 5), speed_classes=None)
    assert len(loader.dataset) == 21
    assert brain.modules.student.head.num_classes == 6


def test_speeds_are_further_classes(build, monkeypatch):
    brain, loader = build(
        speed_classes="!new:speechbrain_dino.augment.speeds.SpeedClasses\n"
        "    speeds: [1.0, 0.9, 1.1]"
    )
    assert brain.modules.student.head.num_classes == 18
    given = []
    see = brain.modules.health.observe
    monkeypatch.setattr(
        brain.modules.health,
        "observe",
        lambda logits, labels, *rest: (
            given.append(labels.clone()),
            see(logits, labels, *rest),
        ),
    )
    fit(brain, loader)
    of_speeds = torch.cat(given) // 6
    assert set(of_speeds.tolist()) == {0, 1, 2}


def test_speeds_may_keep_the_classes(build):
    brain, loader = build(
        speed_classes="!new:speechbrain_dino.augment.speeds.SpeedClasses\n"
        "    new_classes: False",
        precision="bf16",
    )
    assert brain.modules.student.head.num_classes == 6
    fit(brain, loader)
    assert brain.curves.read()[-1]["nonfinite"] == 0


def test_truth_changes_figures_and_no_weight(build):
    ends = []
    for truth in (None, "spk_id"):
        brain, loader = build(wrong=(2, 9), gate=GATE, truth=truth)
        ends.append((copies(fit(brain, loader).modules.student), brain.curves.read()))
    for name, value in ends[0][0].items():
        assert torch.equal(ends[1][0][name], value), name
    last = ends[1][1][-1]
    assert "kept_precision" in last and "kept_precision" not in ends[0][1][-1]


def test_a_broken_batch_is_skipped_and_counted_though_a_gate_is_there(
    build, monkeypatch
):
    brain, loader = build(gate=GATE, number_of_epochs=1)
    before, calls = copies(brain.modules.student), []
    loss = brain.modules.loss.forward
    monkeypatch.setattr(
        brain.modules.loss,
        "forward",
        lambda *a: (calls.append(1), loss(*a) * float("nan"))[1],
    )
    fit(brain, loader)
    assert brain.curves.read()[-1]["nonfinite"] == STEPS
    for name, value in copies(brain.modules.student).items():
        if "num_batches" not in name:
            assert torch.equal(value, before[name]), name
