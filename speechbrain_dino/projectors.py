"""Heads without prototypes: projectors, and predictors on top of them."""

from torch import nn


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

    The teacher has a copy of the predictor that nobody asks.

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
