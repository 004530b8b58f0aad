"""Training on pseudo labels beside the originals: see pseudo_labels.md."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from speechbrain_dino.losses.label_gates import DynamicGate, FixedGate
from speechbrain_dino.losses.margin import AAMSoftmax
from speechbrain_dino.models.classifiers import CosineClassifier
from speechbrain_dino.models.res2net import Res2Net50
from speechbrain_dino.runs.command_line import Launch
from speechbrain_dino.runs.recipe_yaml import read_recipe
from speechbrain_dino.training.gate_phases import GatePhases

HERE = Path(__file__).resolve().parent
HPARAMS = HERE.parents[1] / "recipes" / "VoxCeleb" / "hparams"
ORIGINAL = json.loads((HERE / "pseudo_labels.json").read_text(encoding="utf-8"))


def recipe(name, **keys):
    """The objects of a YAML."""
    path = HPARAMS / name
    launch = Launch(read_recipe(path), {}, str(path), None)
    return launch.changed(data_folder="nowhere", **keys).build()


# -- Res2Net-50 -----------------------------------------------------------------


def test_res2net50_of_the_recipe_has_the_authors_size():
    encoder = recipe("pseudo_labels.yaml")["embedding_model"]
    counts = [
        sum(p.numel() for p in part.parameters())
        for part in (encoder, encoder.embedding, encoder.embedding_norm)
    ]
    affine = counts[1] + counts[2]
    original = ORIGINAL["res2net50"]
    assert affine == original["affine_parameters"] == 10_486_272
    assert counts[0] - affine == original["encoder_parameters"] == 46_345_944


def filled(rng, layer):
    """Gives a layer weights: those that the original was given."""
    if isinstance(layer, (nn.BatchNorm1d, nn.BatchNorm2d)):
        size = len(layer.weight)
        layer.weight.data = draw(rng.uniform(0.5, 1.5, size))
        layer.bias.data = draw(rng.normal(0, 0.1, size))
        layer.running_mean = draw(rng.normal(0, 0.1, size))
        layer.running_var = draw(rng.uniform(0.5, 1.5, size))
    elif hasattr(layer, "weight"):
        shape = tuple(layer.weight.shape)
        deviation = math.sqrt(2 / math.prod(shape[1:]))
        layer.weight.data = draw(rng.normal(0, deviation, shape))


def draw(values):
    return torch.from_numpy(values).float()


def test_res2net_embeds_and_learns_as_the_original():
    original = ORIGINAL["res2net50"]
    encoder = Res2Net50(
        40, [16, 32, 64, 128], scale=8, lin_neurons=24, activation="relu6"
    )
    head = CosineClassifier(24, num_classes=12)
    rng = np.random.RandomState(20220404)
    for layer in encoder.modules():
        filled(rng, layer)
    head.weight.data = draw(rng.normal(0, 1, (12, 24)))
    feats = draw(rng.normal(0, 1.5, (3, 50, 40)))
    encoder.eval()
    with torch.no_grad():
        embeddings = encoder(feats)[:, 0]
    wanted = torch.tensor(original["embeddings"])
    torch.testing.assert_close(embeddings, wanted, rtol=1e-3, atol=1e-3)
    encoder.train()
    cosines = head(encoder(feats)[:, 0])
    loss = AAMSoftmax(margin=0.3, scale=30.0)(cosines, torch.tensor([2, 7, 11])).mean()
    loss.backward()
    assert loss.item() == pytest.approx(original["first_loss"], rel=1e-3)
    norm = encoder.embedding.weight.grad.norm().item()
    assert norm == pytest.approx(original["affine_gradient_norm"], rel=1e-2)
    stem = encoder.stem.weight.grad.flatten()
    similar = F.cosine_similarity(stem, torch.tensor(original["stem_gradient"]), dim=0)
    assert similar > 0.999


# -- learning rates: 0, 10, 25, 50, 75, 100 % of the run ---------------------------


def test_learning_rate_of_res2net50_is_the_authors():
    hparams, original = recipe("pseudo_labels.yaml"), ORIGINAL["learning_rate"]
    schedule, epochs = hparams["lr_schedule"], hparams["number_of_epochs"]
    rates = [schedule(epochs * share) for share in original["at"]]
    # Theirs begins at 0.00001, ours at 0.
    assert rates == pytest.approx(original["rates"], rel=0.01, abs=1e-5)
    steps = epochs * 1_092_009 / hparams["batch_size"]
    assert steps == pytest.approx(original["steps"], rel=0.01)


def test_learning_rate_of_loss_gated_learning_is_fixed():
    hparams = recipe("pseudo_labels_lgl.yaml")
    rates = {hparams["lr_schedule"](epoch) for epoch in (0, 10, 25, 50, 75, 100)}
    assert rates == {0.001}
    optimizer = hparams["opt_class"]([nn.Parameter(torch.zeros(1))])
    assert type(optimizer) is torch.optim.Adam
    assert optimizer.defaults["betas"] == (0.9, 0.999)
    assert hparams["weight_decay_schedule"](0) == 0
    assert {hparams["margin_schedule"](epoch) for epoch in (0, 1, 50)} == {0.2}
    assert hparams["by_round"]["gate_bound"] == [1, 3, 3, 5, 6]


def test_schedules_of_dlg_lc_are_what_its_table_says():
    """The authors' are not known: 15 epochs, halved in 1.5, 5 of a large margin."""
    hparams = recipe("pseudo_labels_dlg_lc.yaml")
    at = [hparams["number_of_epochs"] * share for share in (0, 0.1, 0.25, 0.5, 0.75, 1)]
    assert at == [0, 2, 5, 10, 15, 20]
    rates = [hparams["lr_schedule"](epoch) for epoch in at]
    halved = [0.05 * 0.5 ** ((epoch - 2) / 1.5) for epoch in (2, 5, 10)]
    assert rates == pytest.approx([0, *halved, 1e-4, 5e-5], rel=0.01)
    margins = [hparams["margin_schedule"](epoch) for epoch in at]
    assert margins == [0, 0.2, 0.2, 0.2, 0.5, 0.5]
    assert {hparams["weight_decay_schedule"](epoch) for epoch in at} == {1e-4}
    optimizer = hparams["opt_class"]([nn.Parameter(torch.zeros(1))], lr=0.1)
    assert type(optimizer) is torch.optim.SGD and optimizer.defaults["momentum"] == 0.9


# -- gates --------------------------------------------------------------------------


def gated_problem():
    """Inputs, labels, a linear encoder, an output layer."""
    rng = np.random.RandomState(5)
    inputs, _ = draw(rng.normal(0, 1, (24, 10))), rng.randint(0, 6, 24)
    labels = torch.tensor(ORIGINAL["loss_gate"]["labels"])
    encoder = nn.Linear(10, 8, bias=False)
    encoder.weight.data = draw(rng.normal(0, 1, (8, 10)) / 3)
    head = CosineClassifier(8, num_classes=6)
    head.weight.data = draw(rng.normal(0, 1, (6, 8)))
    return inputs, labels, encoder, head


def gated_loss(gate, inputs, labels, encoder, head):
    """Mean loss of what the gate keeps, and how many that are."""
    losses = AAMSoftmax(margin=0.2, scale=30.0)(head(encoder(inputs)), labels)
    kept = gate(losses, torch.arange(len(labels)))
    return losses.where(kept, 0).sum() / kept.sum(), int(kept.sum())


def set_gate(bound):
    gate = FixedGate(bound=bound)
    gate.set_up(24)
    gate.begin_epoch(1)
    return gate


def test_gated_losses_and_gradients_are_the_originals():
    original = ORIGINAL["loss_gate"]
    for number, bound in enumerate(original["gates"]):
        inputs, labels, encoder, head = gated_problem()
        loss, kept = gated_loss(set_gate(bound), inputs, labels, encoder, head)
        loss.backward()
        assert kept == original["kept"][number]
        assert loss.item() == pytest.approx(original["losses"][number], rel=1e-4)
        gradient = torch.tensor(original["gradients"][number])
        torch.testing.assert_close(
            encoder.weight.grad, gradient, rtol=1e-3, atol=1e-4 * gradient.abs().max()
        )


def test_ten_steps_behind_a_gate_end_at_the_originals_weights():
    original = ORIGINAL["loss_gate"]
    inputs, labels, encoder, head = gated_problem()
    optimizer = torch.optim.Adam([*encoder.parameters(), *head.parameters()], lr=1e-3)
    losses = []
    for _ in range(10):
        optimizer.zero_grad()
        loss, _ = gated_loss(set_gate(6.0), inputs, labels, encoder, head)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses == pytest.approx(original["ten_step_losses"], rel=1e-3)
    for weight, name in ((encoder.weight, "encoder"), (head.weight, "centers")):
        wanted = torch.tensor(original[f"ten_step_{name}"])
        torch.testing.assert_close(weight.detach(), wanted, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("run", ORIGINAL["phases"]["runs"])
def test_phases_change_in_the_originals_epochs(run):
    phases, network = GatePhases("eer/dev", patience=4), nn.Linear(1, 1)
    for epoch, eer in enumerate(run["eers"], start=1):
        network.weight.data.fill_(epoch)
        gated = phases.gated
        ended = phases.epoch_done(
            epoch, 999, {"eer/dev": eer / 100}, network, has_gate=True
        )
        if phases.gated and not gated:
            # The original looks at the beginning of the next epoch.
            assert epoch + 1 == run["gated_from"]
            assert network.weight.item() == run["gated_best"]
        assert ended == (epoch == run["end"])
    assert network.weight.item() == run["end_best"]


@pytest.mark.parametrize("number", range(3))
def test_the_dynamic_gate_is_that_of_the_public_code(number):
    rng = np.random.RandomState(3)
    for wrong in ORIGINAL["dynamic_gate"]["wrong"][: number + 1]:
        is_wrong = rng.rand(4000) < wrong
        high, low = rng.normal(2.2, 0.5, 4000), rng.normal(-1, 1.2, 4000)
        logs = np.where(is_wrong, high, low)
    gate = math.log(DynamicGate(start_epoch=2).choose(np.exp(logs)))
    # Theirs is a point of a grid of 1,000 between the lowest and the highest loss.
    step = (logs.max() - logs.min()) / 999
    assert gate == pytest.approx(
        ORIGINAL["dynamic_gate"]["log_gates"][number], abs=2 * step
    )
