"""Values that can be computed by hand."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import normalize

from speechbrain_dino.losses.combine import Sum
from speechbrain_dino.losses.contrastive import MoCo, NTXent
from speechbrain_dino.losses.device_kmeans import nearest_others
from speechbrain_dino.losses.dino import DINO, SDPNLoss, dino_cross_entropy
from speechbrain_dino.losses.label_gates import (
    FixedGate,
    LabelCorrection,
    TwoGaussians,
    crossing,
)
from speechbrain_dino.losses.margin import CrossEntropy
from speechbrain_dino.losses.non_contrastive import BYOL, VICReg
from speechbrain_dino.losses.objective import owner_of
from speechbrain_dino.losses.queues import Store
from speechbrain_dino.losses.regularizers import (
    CosineDistance,
    DimensionRegularizer,
    KoLeo,
    MeanEntropy,
    decorrelation,
    spread,
)
from speechbrain_dino.losses.ssps import SSPS
from speechbrain_dino.losses.views import Views

UNIT, ZEROS = torch.eye(4).repeat(2, 1, 1), torch.zeros(2, 8, 4)
OPPOSITE = torch.tensor([[[1.0, 0.0], [-1.0, 0.0]]])
BYOL_VIEWS = Views(UNIT, -UNIT, teacher_extras={"projection": -UNIT}, shared=2)


@pytest.mark.parametrize(
    ("objective", "views", "value"),
    [
        (
            NTXent(temp=1.0),
            Views(torch.eye(3).repeat(2, 1, 1)),
            math.log(1 + 4 / math.e),
        ),
        (BYOL(), BYOL_VIEWS, 8.0),
        (VICReg(25.0, 25.0, 1.0), Views(ZEROS), 2 * 25 * 0.99),
        (KoLeo(of="outputs"), Views(OPPOSITE), -math.log(2)),
        (CosineDistance(), Views(UNIT, UNIT, UNIT, -UNIT, shared=2), 2.0),
        (MeanEntropy(), Views(torch.eye(8)[None]), 0.0),
        (DimensionRegularizer("outputs"), Views(ZEROS, ZEROS, shared=2), 10 * 0.99),
    ],
)
def test_objectives(objective, views, value):
    assert objective(views).loss.item() == pytest.approx(value, abs=1e-5)


def test_terms():
    assert spread(torch.tensor([[0.0, 0.0], [0.0, 2.0]])).item() == pytest.approx(0.495)
    x = torch.tensor([[1.0, 1.0], [-1.0, -1.0], [0.0, 0.0]])
    assert decorrelation(x, 2).item() == pytest.approx(1.0)  # 2 covariances of 1
    torch.testing.assert_close(
        CrossEntropy()(torch.zeros(2, 4), torch.tensor([0, 3])),
        torch.full((2,), math.log(4)),
    )
    log_probs, targets = torch.full((3, 5, 8), 1 / 8).log(), torch.zeros(2, 5, 8)
    targets[..., 0] = 1
    value = dino_cross_entropy(log_probs, targets).item()
    assert value == pytest.approx(math.log(8))


def test_different_views():
    views = Views(torch.zeros(6, 4, 8), torch.zeros(2, 4, 8), shared=2)
    assert views.different().sum() == 2 * 6 - 2


def test_nearest_others_of_three():
    centroids = normalize(torch.tensor([[1.0, 0.0], [1.0, 0.5], [0.0, 1.0]]))
    usable = torch.tensor([True, True, True])
    assert nearest_others(centroids, usable).flatten().tolist() == [1, 0, 1]


def test_gates_and_correction():
    gate = FixedGate(bound=3.0)
    gate.set_up(num_items=4)
    gate.begin_epoch(1)
    kept = gate(torch.tensor([0.5, 3.5]), torch.tensor([2, 0]))
    assert kept.tolist() == [True, False]
    even = TwoGaussians(np.array([0.5, 0.5]), np.array([0.0, 4.0]), np.ones(2))
    assert crossing(even) == 2.0
    cosines = torch.tensor([[0.9, 0.1, 0.0], [0.3, 0.3, 0.3]])
    labels, sure = LabelCorrection(lead=0.5)(cosines)
    assert labels[0] == 0 and sure.tolist() == [True, False]


def test_rows_of_a_step_that_was_not_taken_are_dropped():
    store = Store(4, keys=(2,))
    store.write(torch.tensor([3]), keys=torch.ones(1, 2))
    store.settle(torch.tensor(False))
    store.write(torch.tensor([1]), keys=torch.ones(1, 2))
    store.settle()
    assert store.keys.sum(1).tolist() == [0, 2, 0, 0]


def test_the_last_keys_wait_for_the_next_step():
    loss = MoCo(out_dim=8, queue_size=64)
    for first in (0, 4):
        student, teacher = torch.randn(2, 2, 4, 8)
        items = torch.arange(first, first + 4)
        value = loss(Views(student, teacher, items=items, shared=2)).loss
    assert int(loss.queue.seen) == 8 and value.dim() == 0


def test_shapes_names_and_epochs():
    loss = SDPNLoss(out_dim=16)
    assert loss(torch.randn(4, 8, 16), torch.randn(1, 8, 16), shared=0).dim() == 0
    views = Views(torch.randn(6, 4, 16), torch.randn(2, 4, 16), shared=2)
    objective = Sum(dino=DINO(16), koleo=KoLeo("outputs"), koleo_weight=0.1)
    assert sorted(objective(views).metrics) == ["dino", "koleo"]
    assert owner_of(nn.Sequential(nn.Dropout(0.5)), "p").p == 0.5
    objective = SSPS(DINO(16), embedding_dim=8, target_dim=16, num_views=2)
    objective.begin_epoch(80)
    assert objective.wants_reference()  # for the clusters of epoch 81
