"""Output layer and margin softmax of training on (pseudo) labels, a loss per sample."""

import math

import torch
import torch.nn.functional as F
from torch import nn

# Axes: n = utterances, d = embedding, c = classes, k = sub-centers.


class AAMSoftmax(nn.Module):
    """Cross-entropy of cosines with an additive angular margin, a loss per sample.

    -ln softmax of s cos(theta + m) for the sample's own class against s cos(theta_j)
    of the others (ArcFace, Deng et al., CVPR 2019); where theta + m would pass pi,
    cos(theta) - m sin(m) replaces it. With ``inter_top_k`` > 0 that many most similar
    other classes are pushed off too, as cos(theta_j - m') (Zhao et al., 2022).
    ``margin`` (m, may follow a schedule), ``inter_margin`` (m'): radians; ``scale``: s.

    Example
    -------
    >>> cosines = torch.tensor([[0.9, 0.1], [0.5, 0.5]])
    >>> AAMSoftmax(margin=0.2, scale=30.0)(cosines, torch.tensor([0, 1]))
    tensor([-0.0000, 5.4648])
    """

    def __init__(self, margin=0.2, scale=30.0, inter_top_k=0, inter_margin=0.06):
        super().__init__()
        for name, value in (("margin", margin), ("inter_margin", inter_margin)):
            if not 0 <= value < math.pi / 2:
                raise ValueError(f"{name} is {value}; it lies in 0..pi/2 (radians)")
        if not scale > 0:
            raise ValueError(f"scale is {scale}; it must be positive")
        self.margin, self.scale = margin, scale
        self.inter_top_k, self.inter_margin = inter_top_k, inter_margin

    def plain(self, cosines, labels):
        """The loss of each sample without margins, float32 (N,), in nats."""
        return F.cross_entropy(self.scale * cosines.float(), labels, reduction="none")

    def forward(self, cosines, labels):
        """Losses, float32 (N,), in nats, of cosines (N, C) and labels int64 (N,)."""
        cosines = cosines.float()
        logits = cosines
        if self.inter_top_k:
            logits = self._push_off_others(cosines, labels)
        own = cosines.gather(1, labels[:, None])
        logits = logits.scatter(1, labels[:, None], _turned(own, self.margin))
        return F.cross_entropy(self.scale * logits, labels, reduction="none")

    def _push_off_others(self, cosines, labels):
        count = min(self.inter_top_k, cosines.shape[1] - 1)
        # Below every cosine: the own class is none of the others.
        others = cosines.detach().scatter(1, labels[:, None], -2.0)
        nearest = others.topk(count, dim=1).indices
        moved = _turned(cosines.gather(1, nearest), -self.inter_margin)
        return cosines.scatter(1, nearest, moved)


def _turned(cosine, angle):
    """cos(theta + angle); beyond pi it goes on in a straight line, below 0 it is 1."""
    # The derivative of the root is infinite at 1.
    sine = (1 - cosine.square()).clamp(min=1e-9).sqrt()
    turned = cosine * math.cos(angle) - sine * math.sin(angle)
    edge = -math.cos(angle)  # the cosine of pi - |angle|
    if angle >= 0:
        return torch.where(cosine > edge, turned, cosine - angle * math.sin(angle))
    return torch.where(cosine < -edge, turned, torch.ones_like(cosine))


class CrossEntropy(nn.Module):
    """Cross-entropy of logits, a loss per sample; class weights (C,), or None for 1.

    Example
    -------
    >>> CrossEntropy()(torch.zeros(2, 4), torch.tensor([0, 3]))
    tensor([1.3863, 1.3863])
    """

    def __init__(self, class_weights=None, label_smoothing=0.0):
        super().__init__()
        self.label_smoothing = label_smoothing
        self.register_buffer("class_weights", class_weights)

    def plain(self, logits, labels):
        """The loss of each sample without weights and smoothing, float32 (N,)."""
        return F.cross_entropy(logits.float(), labels, reduction="none")

    def forward(self, logits, labels):
        """Losses (N,), float32, of logits (N, C) and labels int64 (N,)."""
        losses = F.cross_entropy(
            logits.float(),
            labels,
            reduction="none",
            label_smoothing=self.label_smoothing,
        )
        if self.class_weights is None:
            return losses
        return losses * self.class_weights[labels]
