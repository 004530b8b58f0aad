"""Heads, with prototypes or without, and the branch encoder -> embedding -> head.

A head maps embeddings (N, D) to outputs (N, K); where an objective needs more of it, it
returns a dict with ``outputs`` and whatever it hands out besides, (N, ...) each.
"""

import torch.nn.functional as F
from torch import nn


class Prototypes(nn.Module):
    """Linear layer of unit rows without bias: a weight-normalized layer of gain 1.

    Arguments
    ---------
    in_dim : int
        Size of the input.
    out_dim : int
        Number of prototypes K.

    Example
    -------
    >>> import torch
    >>> prototypes = Prototypes(4, 10)
    >>> prototypes(torch.randn(3, 4)).shape
    torch.Size([3, 10])
    >>> torch.allclose(prototypes.unit_rows().norm(dim=1), torch.ones(10))
    True
    """

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
        return F.linear(x, self.unit_rows())


class DINOHead(nn.Module):
    """Multi-layer perceptron, L2 normalization, prototypes.

    The defaults are the paper's: GELU, no BatchNorm, truncated normal weights.

    Arguments
    ---------
    in_dim : int
        Size of the embedding.
    out_dim : int
        Number of prototypes K.
    hidden_dim : int
        Size of the hidden layers.
    bottleneck_dim : int
        Size of the normalized layer in front of the prototypes.
    num_layers : int
        Number of Linear layers before the prototypes.
    batch_norm : bool
        BatchNorm between each hidden Linear and its GELU.
    hand_out : bool
        Whether the normalized layer is handed out as "bottleneck".

    Example
    -------
    >>> import torch
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

    Arguments
    ---------
    in_dim : int
        Size of the embedding.
    out_dim : int
        Number of prototypes K.
    hidden_dim : int
        Size of the hidden layers.
    expanded_dim : int
        Size of the wide layer, which is handed out as "expanded".
    bottleneck_dim : int
        Size of the normalized layer in front of the prototypes, handed out as
        "bottleneck".
    num_layers : int
        Number of Linear layers before the bottleneck.
    batch_norm : bool
        BatchNorm between each hidden Linear and its GELU.

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


def _flat(embeddings):
    if embeddings.dim() == 3 and embeddings.shape[1] == 1:
        return embeddings.squeeze(1)
    if embeddings.dim() != 2:
        raise ValueError(
            f"the encoder returned {tuple(embeddings.shape)}; expected one embedding "
            "per utterance, (N, D) or (N, 1, D): does it pool over time?"
        )
    return embeddings


def _init_linear(module):
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)


def perceptron(in_dim, hidden_dim, out_dim, num_layers, batch_norm, activation):
    """A multi-layer perceptron that ends in a Linear layer.

    Arguments
    ---------
    in_dim, hidden_dim, out_dim : int
        Sizes of its input, hidden layers and output.
    num_layers : int
        Number of Linear layers, at least 1.
    batch_norm : bool
        BatchNorm between each hidden Linear and its activation.
    activation : type
        Module class of the activation.

    Returns
    -------
    torch.nn.Sequential
    """
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
    """Multi-layer perceptron with ReLU: the projector of SimCLR, MoCo v2, VICReg, BYOL.

    Arguments
    ---------
    in_dim : int
        Size of the embedding.
    out_dim : int
        Size of the projection.
    hidden_dim : int
        Size of the hidden layers.
    num_layers : int
        Number of Linear layers.
    batch_norm : bool
        BatchNorm between each hidden Linear and its ReLU.

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

    The teacher has a copy of the predictor that is never used.

    Arguments
    ---------
    projector, predictor : torch.nn.Module
        Embeddings (N, D) -> projections (N, K) -> predictions (N, K), which are the
        outputs; the projections are handed out as "projection".

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
