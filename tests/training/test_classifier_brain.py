"""Training on labels: what learns when, what gates and corrections let through."""

import pytest
import recipe_runs as runs
import torch

from speechbrain_dino.models.classifiers import CosineClassifier
from speechbrain_dino.training import brain as loop

pytestmark = pytest.mark.usefixtures("in_this_process")

STEPS, EPOCHS = 6, 3
GATE = """!new:speechbrain_dino.losses.label_gates.FixedGate
    bound: 5.0"""
OPEN = GATE.replace("5.0", "99.0")
LATER = GATE.replace("5.0", "9.0\n    start_epoch: 2")
SHUT = """!new:speechbrain_dino.losses.label_gates.FixedGate
    bound: 0.000001
    start_epoch: START"""
CORRECT = """!new:speechbrain_dino.losses.label_gates.LabelCorrection
    start_epoch: 2
    lead: 0.02"""


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
        gate=SHUT.replace("START", "2"),
        correction=CORRECT,
        noise_folder=str(noises),
        affine_epochs=0,
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
        ordered = cosines.sort(1).values
        sure = ordered[:, -1] - ordered[:, -2] > 0.02
        if brain.epoch == 1:  # nothing is gated yet
            return loss
        losses = brain.modules.loss(outputs["logits"], cosines.argmax(1))
        by_hand = (losses * sure).sum() / sure.sum().clamp(min=1)
        steps.append((brain.epoch, loss.item(), by_hand.item(), int(sure.sum())))
        return loss

    monkeypatch.setattr(brain, "compute_objectives", compared)
    fit(brain, loader)
    assert any(sure > 0 for _, _, _, sure in steps)
    for epoch, loss, by_hand, _ in steps:
        assert loss == pytest.approx(by_hand, rel=1e-4, abs=1e-6), epoch
    lines = [row for row in brain.curves.read() if row["kind"] == "epoch"]
    assert lines[0]["corrected"] == 0 and lines[1]["gated"] == 1
    corrected = sum(sure for epoch, _, _, sure in steps if epoch == 2)
    assert lines[1]["corrected"] == pytest.approx(corrected / 24)


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
        brain, loader = build(wrong=(2, 9), gate=LATER, truth=truth)
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


def test_an_epoch_that_keeps_nothing_is_an_error_with_a_remedy(build, capsys):
    brain, loader = build(gate=SHUT.replace("START", "1"))
    with pytest.raises(SystemExit):
        fit(brain, loader)
    printed = "".join(capsys.readouterr())
    assert "kept 0.00 % of the epoch's labels" in printed
    assert "Train longer without the gate" in printed


PHASES = """!new:speechbrain_dino.training.gate_phases.GatePhases
    figure: FIGURE
    patience: 2"""


def test_the_gate_is_set_and_the_round_ends_where_the_figure_stalls(
    build, monkeypatch, tmp_path
):
    keys = {"validate_every": 1, "affine_epochs": 0, "large_margin_epochs": 0}
    keys |= {"main_epochs": 9, "global_seconds": 0.5, "gate": OPEN}
    keys |= {"phases": PHASES.replace("FIGURE", "neighbor_agreement")}
    options = ("--ckpt_interval_minutes", "0")
    figures = [0.2, 0.3, 0.3, 0.9, 0.8, 0.7]
    validated = "speechbrain_dino.training.validation.Validator.without_labels"
    seen = []

    def without_labels(self, brain):
        seen.append(copies(brain.modules.student))
        return {"neighbor_agreement": figures[len(seen) - 1]}

    monkeypatch.setattr(validated, without_labels)
    brain, loader = build(*options, **keys)
    started = []
    begin = brain.on_stage_start

    def on_stage_start(stage, epoch=None):
        begin(stage, epoch)
        if stage.name == "TRAIN":
            gate = float(brain.modules.gate.now)
            started.append((gate, copies(brain.modules.student)))

    monkeypatch.setattr(brain, "on_stage_start", on_stage_start)
    fit(brain, loader)
    assert [gate for gate, _ in started] == [float("inf")] * 3 + [99.0] * 2
    # Epoch 3 is no better than 2: its weights begin the gated phase, in epoch 4. That
    # is the best of its phase, and at 5 training ends.
    for now, best in (
        (started[3][1], seen[1]),
        (copies(brain.modules.student), seen[3]),
    ):
        for name, value in now.items():
            assert torch.equal(value, best[name]), name
    assert brain.epoch_counter.current == 5
    # Started again, it stays where it ended.
    again, loader = runs.make_brain(tmp_path / "tiny.yaml", *options)
    fit(again, loader)
    assert again.epoch_counter.current == 5 and len(started) == 5
    for name, value in copies(again.modules.student).items():
        assert torch.equal(value, seen[3][name]), name


def test_without_a_gate_the_first_phase_is_all(build, monkeypatch):
    keys = {"validate_every": 1, "affine_epochs": 0, "large_margin_epochs": 0}
    keys |= {"main_epochs": 9, "global_seconds": 0.5}
    keys |= {"phases": PHASES.replace("FIGURE", "eer/veri_test")}
    eers = [0.3, 0.2, 0.4, 0.1]
    monkeypatch.setattr(
        "speechbrain_dino.training.validation.Validator.verify",
        lambda *args: {"veri_test": {"eer": eers.pop(0)}},
    )
    eers.insert(0, 0.5)  # of the untrained model
    brain, loader = build(**keys)
    fit(brain, loader)
    assert brain.epoch_counter.current == 3 and eers == [0.1]


def test_a_figure_that_no_epoch_has_is_refused(build, capsys):
    with pytest.raises(SystemExit):
        build(phases=PHASES.replace("FIGURE", "eer/dev"), gate=GATE)
    printed = "".join(capsys.readouterr())
    assert "watch 'eer/dev'" in printed and "eer/veri_test" in printed


def test_cosines_keep_their_precision_under_autocast():
    head = CosineClassifier(8, num_classes=5, sub_centers=2)
    embeddings = torch.randn(4, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cosines = head(embeddings)
    assert cosines.dtype == torch.float32
    torch.testing.assert_close(cosines, head(embeddings), rtol=0, atol=0)
