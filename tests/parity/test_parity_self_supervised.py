"""Losses, weights, schedules and sizes against the original implementations.

``reference/<method>.json`` holds what the original code of the repository and commit
named there gave, once, for the inputs and weights of `tiny_steps`: data, not code.
"""

import io
import json
import re
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hyperpyyaml import load_hyperpyyaml, resolve_references
from ruamel.yaml import YAML
from tiny_steps import SGD, ten_steps
from torch import nn

from speechbrain_dino.losses.combine import Sum
from speechbrain_dino.losses.contrastive import MoCo, NTXent
from speechbrain_dino.losses.dino import DINO, SDPN
from speechbrain_dino.losses.non_contrastive import BYOL, VICReg
from speechbrain_dino.losses.regularizers import (
    DimensionRegularizer,
    KoLeo,
    MeanEntropy,
)
from speechbrain_dino.models.heads import (
    DINOHead,
    PredictionHead,
    Projector,
    RDINOHead,
)
from speechbrain_dino.models.teacher import Teacher
from speechbrain_dino.runs.recipe_yaml import read_recipe

HPARAMS = Path(__file__).resolve().parents[2] / "recipes" / "VoxCeleb" / "hparams"
REFERENCE = Path(__file__).parent / "reference"
DINO_RECIPES = ("dino", "dino_ecapa", "dino_cosine")  # more: test_parity_dino.py
RECIPES = (
    *DINO_RECIPES,
    "rdino",
    "sdpn",
    "dino_ssps",
    "simclr_ssps",
    "vicreg",
    "simclr",
    "moco",
)


def reference(method):
    return json.loads((REFERENCE / f"{method}.json").read_text(encoding="utf-8"))


# -- ten steps ------------------------------------------------------------------------


def rdino():
    loss = Sum(
        dino=DINO(16),
        dimensions=DimensionRegularizer(divisor=16),
        dimensions_weight=0.05,
    )
    head = RDINOHead(6, 16, 8, expanded_dim=12, bottleneck_dim=4)
    steps = {"clip": 0.3, "weight_decay": 0.01, "frozen_steps": 3}
    return ten_steps(loss, head, SGD, Teacher, head_by_length=True, **steps)


def sdpn():
    loss = Sum(sdpn=SDPN(16), entropy=MeanEntropy(0.1), koleo=KoLeo(), koleo_weight=0.1)
    return ten_steps(
        loss,
        DINOHead(6, 16, 8, 4, batch_norm=True),
        SGD,
        partial(Teacher, same="head.prototypes"),
        counts=(1, 4),
        student_crops="local",
        clip=0.3,
        weight_decay=0.01,
        prototype_lr_factor=4.0,
    )


def dino_ssps():
    """Before other positives come in: sslsv's DINO."""
    head = DINOHead(6, 16, 8, 4, batch_norm=True)
    steps = {"clip": 0.3, "weight_decay": 0.01, "frozen_steps": 3}
    return ten_steps(DINO(16), head, SGD, Teacher, head_by_length=True, **steps)


def simclr_ssps():
    """Before other positives come in: sslsv's SimCLR."""
    apart = {"head_by_length": True, "views_apart": True}
    return ten_steps(NTXent(0.03), nn.Identity(), SGD, counts=(2, 0), **apart)


def vicreg():
    apart = {"head_by_length": True, "views_apart": True}
    head = Projector(6, 7, 8, num_layers=3)
    return ten_steps(VICReg(1.0, 1.0, 0.1), head, SGD, counts=(2, 0), **apart)


def byol():
    head = PredictionHead(Projector(6, 7, 8, num_layers=3), Projector(7, 7, 9))
    apart = {"head_by_length": True, "views_apart": True}
    return ten_steps(BYOL(), head, SGD, Teacher, counts=(2, 0), **apart)


def simclr():
    nesterov = partial(SGD, nesterov=True)
    return ten_steps(NTXent(0.07), nn.Identity(), nesterov, counts=(2, 0))


def moco():
    """One direction, as there: one crop is the query, the other the key."""
    loss = MoCo(6, queue_size=32, temp=0.07)
    full = np.random.default_rng(7).standard_normal((32, 6))
    full /= np.linalg.norm(full, axis=1, keepdims=True)
    loss.queue.push(torch.arange(1000, 1032), keys=torch.from_numpy(full).float())
    loss.settle()
    nesterov = partial(SGD, nesterov=True)
    crops = {"counts": (1, 1), "student_crops": "local"}
    return ten_steps(loss, nn.Identity(), nesterov, Teacher, **crops)


STEPS = [rdino, sdpn, dino_ssps, simclr_ssps, vicreg, byol, simclr, moco]


@pytest.mark.parametrize("method", STEPS, ids=lambda method: method.__name__)
def test_losses_and_weights_of_ten_steps(method):
    expected = reference(method.__name__)
    losses, weights = method()
    np.testing.assert_allclose(losses[0], expected["losses"][0], rtol=1e-5)
    np.testing.assert_allclose(losses, expected["losses"], rtol=1e-3)
    np.testing.assert_allclose(weights, expected["weights"], rtol=1e-3, atol=1e-4)


# -- recipes --------------------------------------------------------------------------


def recipe(method, kept, **changed):
    """Those keys of a recipe, built, that are to be kept."""
    yaml, stream = YAML(typ="rt"), io.StringIO()
    text = read_recipe(HPARAMS / f"{method}.yaml")
    keys = yaml.load(resolve_references(text, {"data_folder": "F", **changed}))
    yaml.dump({key: value for key, value in keys.items() if kept(key, value)}, stream)
    return load_hyperpyyaml(stream.getvalue())


def plain_or_schedule(key, value):
    """Numbers and schedules, which need none of the networks."""
    built = hasattr(value, "items") or str(getattr(value, "tag", "")).startswith("!")
    return key.endswith("_schedule") or not built


@pytest.mark.parametrize("method", RECIPES)
def test_schedules_at_twenty_points(method):
    expected = reference(method)["schedules"]
    here = recipe(method, plain_or_schedule)
    assert {"t", "lr", "weight_decay"} <= set(expected)
    for name in set(expected) - {"t"}:
        values = [here[f"{name}_schedule"](t) for t in expected["t"]]
        close = {"rtol": 0.01, "atol": 2e-8, "err_msg": name}
        np.testing.assert_allclose(values, expected[name], **close)
    if "momentum" in expected:  # what the student adds to the teacher
        rest = [1 - here["momentum_schedule"](t) for t in expected["t"]]
        share = 1 - np.array(expected["momentum"])
        np.testing.assert_allclose(rest, share, rtol=0.01, atol=1e-6)


@pytest.mark.parametrize("method, share", [("dino_cluster", 1), ("dino_folder", 0.5)])
def test_schedules_of_recipes_without_an_original(method, share):
    """Those of wespeaker's DINO; ``share``: of its batch of 512, and so of its rate."""
    expected, here = (
        reference("dino_ecapa")["schedules"],
        recipe(method, plain_or_schedule),
    )
    for name in set(expected) - {"t"}:
        values = np.array([here[f"{name}_schedule"](t) for t in expected["t"]])
        values = values / share if name == "lr" else values
        close = {"rtol": 0.01, "atol": 1e-5, "err_msg": name}
        np.testing.assert_allclose(values, expected[name], **close)


def test_every_full_size_recipe_that_trains_is_held_here():
    """By these files, or beside the recipe that it is a variant of."""
    others = ("cluster", "cluster_plda", "demo", "probe", "verify")
    trained = {path.stem for path in HPARAMS.glob("*.yaml")} - set(others)
    trained = {name for name in trained if not name.endswith("_mini")}
    labeled = {"pseudo_labels", "pseudo_labels_lgl", "pseudo_labels_dlg_lc"}
    assert trained == {*RECIPES, *labeled, "dino_cluster", "dino_folder"}


# SpeechBrain's ECAPA has biases that wespeaker's leaves out.
EXTRA = {"dino_ecapa": 3328, "simclr": 3328, "moco": 3328}


@pytest.mark.parametrize("method", RECIPES)
def test_numbers_of_parameters(method):
    keys = ("embedding_model", "head", "seed", "n_mels", "embedding_dim", "out_dim")
    keys += ("expanded_dim", "hidden_dim", "bottleneck_dim", "projection_dim")
    keys += ("projector_dim",)
    with torch.device("meta"):
        built = recipe(method, lambda key, value: key in keys)
    counts = {
        name: sum(weight.numel() for weight in built[key].parameters())
        for name, key in (("encoder", "embedding_model"), ("head", "head"))
    }
    counts["encoder"] -= EXTRA.get(method, 0)
    assert counts == reference(method)["parameters"]


ROW = re.compile(r"^# \| (\w+) \| ([^|]+) \| ([^|]+) \| ([^|]+) \|([^|]*)\|$", re.M)


@pytest.mark.parametrize("method", RECIPES)
def test_tables_say_what_the_recipes_hold(method):
    """Each YAML ends with a table of its keys and the original's values."""
    text = (HPARAMS / f"{method}.yaml").read_text(encoding="utf-8")
    rows = [row for row in ROW.findall(text) if row[0] != "key"]
    assert len(rows) >= 25
    here = recipe(method, plain_or_schedule)
    everything = YAML(typ="rt").load(read_recipe(HPARAMS / f"{method}.yaml"))
    for key, value, original, where, _ in rows:
        assert key in everything, key
        assert original.strip() and where.strip(), key
        if key in here and not callable(here[key]) and key != "rir_folder":
            assert YAML(typ="safe").load(value) == here[key], key
    plain = {row[0] for row in rows}
    assert plain >= {"batch_size", "base_lr", "weight_decay", "number_of_epochs"}
