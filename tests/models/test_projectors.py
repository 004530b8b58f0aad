"""Heads without prototypes."""

import pytest
import torch
from torch import nn

from speechbrain_dino.models.heads import PredictionHead, Projector


@pytest.mark.parametrize(
    "layers, norm, kinds",
    [
        (1, True, ["Linear"]),
        (2, False, ["Linear", "ReLU", "Linear"]),
        (3, True, ["Linear", "BatchNorm1d", "ReLU"] * 2 + ["Linear"]),
    ],
)
def test_layers_stand_in_order(layers, norm, kinds):
    projector = Projector(6, 4, hidden_dim=9, num_layers=layers, batch_norm=norm)
    assert [type(m).__name__ for m in projector.mlp] == kinds
    shapes = [m.weight.shape for m in projector.mlp if isinstance(m, nn.Linear)]
    sizes = [6] + [9] * (layers - 1) + [4]
    assert shapes == [torch.Size(pair) for pair in zip(sizes[1:], sizes[:-1])]
    with pytest.raises(ValueError, match="num_layers is 0"):
        Projector(6, num_layers=0)


def test_predictions_are_made_of_the_projections():
    head = PredictionHead(Projector(6, 4, 9), Projector(4, 4, 9)).eval()
    x = torch.randn(5, 6)
    outputs = head(x)
    torch.testing.assert_close(outputs["projection"], head.projector(x))
    torch.testing.assert_close(outputs["outputs"], head.predictor(head.projector(x)))
