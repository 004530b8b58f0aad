"""Heads, with prototypes or without.

A head maps embeddings (N, D) to outputs (N, K); where an objective needs more of it, it
returns a dict with ``outputs`` and whatever it hands out besides, (N, ...) each.
"""

import torch
import torch.nn.functional as F
from torch import nn


class Prototypes(nn.Module):
    """Linear layer of unit rows without bias: weight-normalized, of gain 1."""

    def __init__(self, in_dim, out_dim):
        super().__init__()
        # The length of a row only sets how fast it turns: as in the original, that
        # of nn.Linear's initialization.
        self.weight = nn.Parameter(nn.Linear(in_dim, out_dim, bias=False).weight.data)

    def unit_rows(self):
        """The prototypes (K, in_dim), each of length 1."""
        return F.normalize(self.weight, dim=1)

    def forward(self, x):
        """Scalar products of ``x`` (N, in_dim) with the prototypes, (N, K)."""
        # Autocast would take the product to half precision, whatever x is, and cosines
        # that are 0.004 apart would be one.
        with torch.autocast(x.device.type, enabled=False):
            return F.linear(x, self.unit_rows())


class DINOHead(nn.Module):
    """Multi-layer perceptron, L2 normalization, K = ``out_dim`` prototypes.

    The defaults are the paper's: GELU, no BatchNorm, truncated normal weights.
    BatchNorm stands between a hidden Linear, of ``num_layers`` with the last, and its
    GELU. ``bottleneck_dim`` is the size of the normalized layer in front of the
    prototypes, which ``hand_out`` hands out as "bottleneck".

    Example
    -------
    >>> head = DINOHead(in_dim=8, out_dim=32, hidden_dim=16, bottleneck_dim=4)
    >>> head(torch.randn(5, 8)).shape
    torch.Size([5, 32])
    """

    def __init__(
        self,
        in_dim,
        out_dim=65536,
        hidden_dim=2048,
        bottleneck_dim=256,
        num_layers=3,
        batch_norm=False,
        hand_out=False,
    ):
        super().__init__()
        self.mlp = perceptron(
            in_dim, hidden_dim, bottleneck_dim, num_layers, batch_norm, nn.GELU
        )
        self.mlp.apply(_init_linear)
        self.prototypes = Prototypes(bottleneck_dim, out_dim)
        self.hand_out = hand_out

    def forward(self, embeddings):
        """Logits (N, K), cosines with the prototypes, of embeddings (N, in_dim)."""
        # In half precision the squares of a norm may overflow or vanish.
        bottleneck = F.normalize(self.mlp(embeddings).float(), dim=-1)
        logits = self.prototypes(bottleneck)
        if self.hand_out:
            return {"outputs": logits, "bottleneck": bottleneck}
        return logits


class RDINOHead(nn.Module):
    """DINO's head with one more, wide layer in front of the bottleneck (RDINO).

    Its ``expanded_dim`` outputs are handed out as "expanded", the normalized layer in
    front of the prototypes as "bottleneck". The rest is as in `DINOHead`.

    Example
    -------
    >>> import torch
    >>> head = RDINOHead(8, out_dim=32, expanded_dim=64, bottleneck_dim=4)
    >>> {name: tuple(x.shape) for name, x in head(torch.randn(5, 8)).items()}
    {'outputs': (5, 32), 'expanded': (5, 64), 'bottleneck': (5, 4)}
    """

    def __init__(
        self,
        in_dim,
        out_dim=65536,
        hidden_dim=2048,
        expanded_dim=8192,
        bottleneck_dim=256,
        num_layers=3,
        batch_norm=True,
    ):
        super().__init__()
        self.mlp = perceptron(
            in_dim, hidden_dim, expanded_dim, num_layers, batch_norm, nn.GELU
        )
        self.bottleneck = nn.Linear(expanded_dim, bottleneck_dim)
        self.apply(_init_linear)
        self.prototypes = Prototypes(bottleneck_dim, out_dim)

    def forward(self, embeddings):
        """Logits (N, K) and the two layers, of embeddings (N, in_dim)."""
        expanded = self.mlp(embeddings)
        bottleneck = F.normalize(self.bottleneck(expanded).float(), dim=-1)
        return {
            "outputs": self.prototypes(bottleneck),
            "expanded": expanded,
            "bottleneck": bottleneck,
        }


def _init_linear(module):
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)


def perceptron(in_dim, hidden_dim, out_dim, num_layers, batch_norm, activation):
    """Linear layers with BatchNorm, if any, and an activation in between."""
    if num_layers < 1:
        raise ValueError(f"num_layers is {num_layers}; a head has at least one")
    layers, width = [], in_dim
    for _ in range(num_layers - 1):
        layers.append(nn.Linear(width, hidden_dim))
        if batch_norm:
            layers.append(nn.BatchNorm1d(hidden_dim))
        layers.append(activation())
        width = hidden_dim
    return nn.Sequential(*layers, nn.Linear(width, out_dim))


class Projector(nn.Module):
    """Linear layers and ReLU: the projector of SimCLR, MoCo v2, VICReg, BYOL.

    Example
    -------
    >>> import torch
    >>> Projector(8, 32, hidden_dim=16)(torch.randn(5, 8)).shape
    torch.Size([5, 32])
    """

    def __init__(
        self, in_dim, out_dim=256, hidden_dim=2048, num_layers=2, batch_norm=True
    ):
        super().__init__()
        self.mlp = perceptron(
            in_dim, hidden_dim, out_dim, num_layers, batch_norm, nn.ReLU
        )

    def forward(self, embeddings):
        """Projections (N, out_dim) of embeddings (N, in_dim)."""
        return self.mlp(embeddings)


class PredictionHead(nn.Module):
    """A projector and a predictor on top of it (BYOL).

    Embeddings (N, D) -> projections (N, K), handed out as "projection", -> predictions
    (N, K), the outputs. The teacher's copy of the predictor is never used.

    Example
    -------
    >>> import torch
    >>> head = PredictionHead(Projector(8, 4, 16), Projector(4, 4, 16))
    >>> sorted(head(torch.randn(5, 8)))
    ['outputs', 'projection']
    """

    def __init__(self, projector, predictor):
        super().__init__()
        self.projector = projector
        self.predictor = predictor

    def forward(self, embeddings):
        """Predictions and projections (N, K) of embeddings (N, D)."""
        projection = self.projector(embeddings)
        return {"outputs": self.predictor(projection), "projection": projection}
