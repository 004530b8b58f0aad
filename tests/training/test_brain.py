"""What a training step does: schedules, accumulation, clipping, bad batches.

A few more than 400 lines because all of it is looked at in the same small run.
"""

import pytest
import recipe_runs as runs
import torch

from speechbrain_dino.training import brain as brain_module

CONSTANT = "!name:speechbrain_dino.training.schedules.constant"

pytestmark = pytest.mark.usefixtures("in_this_process")

STEPS, EPOCHS = 6, 3
SGD = "!name:torch.optim.SGD\n    momentum: 0.9\n    fused: True"
PLAIN_SGD = "!name:torch.optim.SGD"
ADAM = "!name:torch.optim.Adam\n    amsgrad: True\n    fused: True"
PLAIN_ADAM = "!name:torch.optim.AdamW"
HELD_CENTER = """!new:speechbrain_dino.losses.dino.DINO
    out_dim: !ref <out_dim>
    center_momentum: 1"""


@pytest.fixture
def build(tiny_corpus, tmp_path_factory, tmp_path):
    """Builds brain and loader of a recipe with some keys of its own."""
    prepared = tmp_path_factory.getbasetemp() / "prepared_for_brain"

    def build(*options, **keys):
        keys.setdefault("ckpt_interval_steps", 0)
        keys.setdefault("validate_every", 99)
        keys.setdefault("data_save_folder", str(prepared))
        recipe = runs.write_recipe(
            tmp_path / "tiny.yaml",
            data_folder=str(tiny_corpus),
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
    """Calls ``look()`` before each optimizer step; returns what it returned."""
    values, step = [], brain_module.step_if

    def looked_at(optimizer, finite):
        values.append(look())
        step(optimizer, finite)

    monkeypatch.setattr(brain_module, "step_if", looked_at)
    return values


@pytest.mark.parametrize("accumulated", [1, 2])
def test_schedules_are_the_pure_functions_at_every_step(
    build, monkeypatch, accumulated
):
    brain, loader = build(
        "--grad_accumulation_factor",
        accumulated,
        weight_decay_schedule="!name:speechbrain_dino.training.schedules.linear_ramp\n"
        "    start: 0.0\n    end: 0.3\n    ramp: 2",
        teacher_temp_schedule="!name:speechbrain_dino.training.schedules.linear_ramp\n"
        "    start: 0.04\n    end: 0.07\n    ramp: 1.5",
    )
    momenta = []
    update = brain.modules.teacher.update
    monkeypatch.setattr(
        brain.modules.teacher,
        "update",
        lambda student, momentum: (momenta.append(momentum), update(student, momentum)),
    )
    groups = each_step(
        brain,
        monkeypatch,
        lambda: (
            [group["lr"] for group in brain.optimizer.param_groups],
            [group["weight_decay"] for group in brain.optimizer.param_groups],
            brain.modules.loss.criterion.teacher_temp,
        ),
    )
    fit(brain, loader)
    # Accumulating halves the batches: the number of optimizer steps stays.
    assert len(loader) == STEPS * accumulated
    assert len(groups) == len(momenta) == STEPS * EPOCHS
    schedules = vars(brain.hparams)
    for number, ((rates, decays, temp), momentum) in enumerate(zip(groups, momenta)):
        t = number / STEPS
        assert rates == pytest.approx([schedules["lr_schedule"](t)] * 2)
        assert decays == pytest.approx([schedules["weight_decay_schedule"](t), 0.0])
        assert temp == pytest.approx(schedules["teacher_temp_schedule"](t))
        expected = schedules["momentum_schedule"](t)
        assert float(momentum) == pytest.approx(expected, abs=1e-6)
    assert schedules["lr_schedule"](1.0) == pytest.approx(0.2 * 4 / 256)


def test_accumulated_gradients_are_those_of_the_whole_batch(build):
    ends = []
    for accumulated in (1, 2):
        brain, loader = build(
            "--grad_accumulation_factor",
            accumulated,
            embedding_model=runs.PLAIN_ENCODER,
            loss=HELD_CENTER,
            opt_class=SGD,
            base_lr=5.0,
        )
        before = copies(brain.modules.student)
        ends.append(copies(fit(brain, loader).modules.student))
    for name, value in ends[0].items():
        torch.testing.assert_close(ends[1][name], value, rtol=1e-4, atol=1e-6)
    moved = [float((ends[0][name] - before[name]).abs().max()) for name in before]
    assert min(moved) > 1e-4  # far more than the tolerance: the test can tell


@pytest.mark.parametrize("optimizer", [ADAM, SGD])
def test_last_layer_is_frozen_for_its_epochs(build, monkeypatch, optimizer):
    brain, loader = build(
        opt_class=optimizer, freeze_last_layer_epochs=2, base_lr=2.0, weight_decay=0.1
    )
    weight = brain.modules.student.head.prototypes.weight
    other = brain.modules.student.head.mlp[0].weight
    weights = each_step(
        brain, monkeypatch, lambda: (weight.detach().clone(), other.detach().clone())
    )
    fit(brain, loader)
    frozen, moving = zip(*weights)
    for step in range(2 * STEPS + 1):
        assert torch.equal(frozen[step], frozen[0]), step
    for step in range(2 * STEPS + 1, len(weights)):
        assert not torch.equal(frozen[step], frozen[step - 1]), step
    # The learning rate of the first step is 0.
    assert not torch.equal(moving[2], moving[1])


def test_only_matrices_decay(build, monkeypatch):
    brain, loader = build(
        opt_class=PLAIN_SGD,
        freeze_last_layer_epochs=0,
        weight_decay=0.5,
        lr_schedule=f"{CONSTANT}\n    value: 0.1",
    )
    before = copies(brain.modules.student)
    objectives = brain.compute_objectives

    def nothing(*arguments):
        result = objectives(*arguments)
        return result._replace(loss=0 * result.loss)

    monkeypatch.setattr(brain, "compute_objectives", nothing)
    fit(brain, loader)
    left = (1 - 0.1 * 0.5) ** (STEPS * EPOCHS)
    shapes = set()
    for name, parameter in brain.modules.student.named_parameters():
        shapes.add(parameter.ndim)
        expected = before[name] * (left if parameter.ndim > 1 else 1)
        torch.testing.assert_close(parameter.detach(), expected, msg=name)
    assert shapes >= {1, 2, 3}


@pytest.mark.parametrize("optimizer", [ADAM, SGD, PLAIN_ADAM])
@pytest.mark.parametrize("kind", ["loss", "gradient"])
def test_a_bad_batch_changes_nothing(build, monkeypatch, optimizer, kind):
    bad = {1, 9}  # the first of all, and one in the second epoch
    brain, loader = build(opt_class=optimizer, base_lr=2.0, freeze_last_layer_epochs=1)
    objectives, fit_batch = brain.compute_objectives, brain.fit_batch
    steps, changed = [], []

    def spoilt(outputs, batch, stage):
        result = objectives(outputs, batch, stage)
        if len(steps) + 1 not in bad:
            return result
        if kind == "loss":
            return result._replace(loss=result.loss * float("nan"))
        # The root of 0 has a finite value and no finite derivative.
        spoilt_loss = result.loss + (outputs.student * 0).sqrt().sum()
        return result._replace(loss=spoilt_loss)

    def watched(batch):
        names = ["student", "teacher"] + ["loss"] * (kind == "loss")
        before = {name: copies(brain.modules[name]) for name in names}
        before["moments"] = moments(brain)
        fit_batch(batch)
        after = {name: copies(brain.modules[name]) for name in names}
        after["moments"] = moments(brain)
        steps.append(1)
        changed.append(differing(before, after))

    def differing(before, after):
        counts = "num_batches_tracked"  # carries no information: momentum is not None
        statistics = () if kind == "loss" else ("running_mean", "running_var")
        return {
            f"{part}.{name}"
            for part in before
            for name, value in after[part].items()
            if not torch.equal(value, before[part].get(name, torch.zeros_like(value)))
            and not name.endswith((counts, *statistics))
        }

    monkeypatch.setattr(brain, "compute_objectives", spoilt)
    monkeypatch.setattr(
        brain, "fit_batch", lambda batch: (watched(batch), brain.shown_loss)[1]
    )
    fit(brain, loader)
    for number, names in enumerate(changed, start=1):
        assert (not names) if number in bad else names, (number, names)
    epochs = [row for row in brain.curves.read() if row["kind"] == "epoch"]
    assert [row["nonfinite"] for row in epochs] == [1, 1, 0]
    assert [row["steps"] for row in epochs] == [STEPS] * EPOCHS
    for value in runs.tensors(dict(brain.modules.state_dict())).values():
        assert not torch.is_tensor(value) or value.isfinite().all()


def moments(brain):
    return {
        f"{number}/{key}": value.clone()
        for number, state in brain.optimizer.state_dict()["state"].items()
        for key, value in state.items()
    }


@pytest.mark.parametrize("per_tensor", [False, True])
def test_clipping_covers_all_groups(build, monkeypatch, per_tensor):
    bound = 0.01
    brain, loader = build(
        clip_norm=bound,
        clip_per_tensor=per_tensor,
        number_of_epochs=1,
        freeze_last_layer_epochs=0,
    )
    gradient_norms = each_step(
        brain,
        monkeypatch,
        lambda: [
            [p.grad.norm() for p in group["params"]]
            for group in brain.optimizer.param_groups
        ],
    )
    fit(brain, loader)
    for groups in gradient_norms:
        matrices, vectors = (torch.stack(norms) for norms in groups)
        assert matrices.norm() > 0 and vectors.norm() > 0
        both = torch.cat([matrices, vectors])
        if per_tensor:
            assert both.max() == pytest.approx(bound, rel=1e-3)
            assert both.norm() > 1.2 * bound
        else:
            assert both.norm() == pytest.approx(bound, rel=1e-3)


def test_bf16_follows_fp32(build):
    losses = {}
    for precision in ("fp32", "bf16"):
        brain, loader = build(precision=precision, number_of_epochs=1)
        fit(brain, loader)
        steps = [row for row in brain.curves.read() if row["kind"] == "step"]
        losses[precision] = [row["loss"] for row in steps]
        dtypes = {p.dtype for p in brain.modules.student.parameters()}
        assert dtypes == {torch.float32}
    assert losses["bf16"] == pytest.approx(losses["fp32"], rel=0.1)
    assert losses["bf16"] != losses["fp32"]


def test_speechbrains_augmenter_stands_in(build, tmp_path):
    noises = runs.make_noises(tmp_path / "noises")
    brain, loader = build(
        noise_folder=str(noises),
        data_save_folder=str(tmp_path / "data"),
        augment="""!new:speechbrain.augment.augmenter.Augmenter
    concat_original: False
    shuffle_augmentations: True
    min_augmentations: 1
    max_augmentations: 3
    augmentations:
        - !new:speechbrain.augment.time_domain.AddNoise
            csv_file: !ref <data_save_folder>/noise.csv
            snr_low: 0
            snr_high: 15
        - !new:speechbrain.augment.time_domain.DropChunk
            drop_length_low: 100
            drop_length_high: 1000
        - !new:speechbrain.augment.time_domain.SpeedPerturb
            orig_freq: !ref <sample_rate>
            speeds: [90, 110]""",
        number_of_epochs=1,
    )
    fit(brain, loader)
    epoch = brain.curves.read()[-1]
    assert epoch["kind"] == "epoch" and epoch["nonfinite"] == 0


@pytest.mark.parametrize("per_tensor", [False, True])
def test_prototypes_may_stand_apart(build, monkeypatch, per_tensor):
    brain, loader = build(
        opt_class=SGD,
        weight_decay=0.3,
        clip_norm=1e-3,
        clip_per_tensor=per_tensor,
        prototype_lr_factor=4.0,
        freeze_last_layer_epochs=0,
        number_of_epochs=1,
        warmup_epochs=0,
        teacher="""!new:speechbrain_dino.models.teacher.Teacher
    student: !ref <student>
    same: head.prototypes""",
    )
    student, teacher = brain.modules.student, brain.modules.teacher.branch
    prototypes = student.head.prototypes.weight
    seen = each_step(
        brain,
        monkeypatch,
        lambda: (
            prototypes.grad.clone(),
            prototypes.detach().clone(),
            [group["lr"] for group in brain.optimizer.param_groups],
            teacher.head.prototypes.weight.clone(),
        ),
    )
    fit(brain, loader)
    momentum = torch.zeros_like(prototypes)
    weight = seen[0][1]
    for gradient, before, rates, teachers in seen:
        assert gradient.norm() > 1e-3  # not clipped
        assert torch.equal(teachers, before)  # one set for both
        torch.testing.assert_close(before, weight)
        assert rates == pytest.approx([rates[0], rates[0], 4 * rates[0]])
        momentum = 0.9 * momentum + gradient  # no decay
        weight = before - 4 * rates[0] * momentum
    torch.testing.assert_close(prototypes.detach(), weight)


def test_log_mels_are_erased_where_crops_are_augmented(build):
    brain, loader = build(
        feature_augment="""!new:speechbrain_dino.augment.erasing.FeatureErasing
    prob: 1.0
    floor: -777.0""",
    )
    brain.modules["mean_var_norm"] = torch.nn.Identity()
    batch = next(iter(loader))
    number = vars(brain.hparams)["augment"].num_draws
    for view, draws in zip(batch.views, batch.draws):
        assert draws.shape[-1] == number + 5
        assert (brain.features(view, draws) == -777.0).any()
        assert not (brain.features(view) == -777.0).any()
        erased = brain.features(view, draws).unflatten(0, view.shape[:2])
        draws[0, :, number] = 1.0  # the first crop decides
        assert not (brain.features(view, draws) == -777.0).any()
        assert (erased == -777.0).any((0, 2, 3)).all()


def test_utterances_are_played_at_one_speed(build, monkeypatch):
    """Crops of both lengths; what is heard is as long as without."""
    speeds = "!new:speechbrain_dino.augment.speeds.SpeedClasses\n    new_classes: False"
    plain, _ = build(speed_classes=None)
    lengths = [round(16000 * plain.hparams.global_seconds)]
    lengths += [round(16000 * plain.hparams.local_seconds)]
    brain, loader = build(speed_classes=speeds, number_of_epochs=1)
    heard, features = [], brain.features
    monkeypatch.setattr(
        brain,
        "features",
        lambda view, draws=None: (heard.append((view, draws)), features(view, draws))[
            1
        ],
    )
    chosen = brain.hparams.speed_classes
    batch = next(iter(loader))
    draws = batch.draws[0][0, :, -1]
    brain.compute_forward(batch, None)
    for (view, left), given, samples in zip(heard, batch.views, lengths, strict=True):
        assert view.shape == (*given.shape[:2], samples)
        assert left.shape[-1] == batch.draws[0].shape[-1] - 1
        for crop, read in zip(view, given):
            expected, which = chosen(read.float(), draws)
            torch.testing.assert_close(crop, expected)
    assert len(set(which.tolist())) > 1


def test_views_may_go_through_apart(build):
    """BatchNorm then sees one view of the utterances at a time (sslsv)."""
    by_length = """!new:speechbrain_dino.models.branch.Branch
    encoder: !ref <embedding_model>
    head: !ref <head>
    head_by_length: True"""
    together, loader = build(student=by_length)
    apart, _ = build(student=by_length, views_apart=True)
    batch = next(iter(loader))
    views = apart.compute_forward(batch, None)
    expected = together.compute_forward(batch, None)
    assert views.student.shape == expected.student.shape == (4, 4, 32)
    assert not torch.allclose(views.student[:2], expected.student[:2], atol=1e-3)
    for number, crop in enumerate([(0, 0), (0, 1), (1, 0), (1, 1)]):
        length, place = crop
        view = batch.views[length][place : place + 1]
        draws = batch.draws[length][place : place + 1]
        _, alone = apart.modules.student([apart.features(view, draws)])
        torch.testing.assert_close(views.student[number], alone)
        if length == 0:
            _, alone = apart.modules.teacher([apart.features(view, draws)])
            torch.testing.assert_close(views.teacher[place], alone)
