"""Output layers of classification: cosine with sub-centers, and linear."""

import torch
import torch.nn.functional as F
from torch import nn


class CosineClassifier(nn.Module):
    """Cosines with the centers of C classes, the best of each class' K sub-centers.

    Sub-centers (Deng et al., ECCV 2020) let a class fall into a main part and others
    that collect what was labeled wrongly.

    Example
    -------
    >>> CosineClassifier(8, num_classes=5, sub_centers=3)(torch.randn(2, 8)).shape
    torch.Size([2, 5])
    """

    def __init__(self, in_dim, num_classes, sub_centers=1):
        super().__init__()
        check_classes(num_classes)
        if sub_centers < 1:
            raise ValueError(f"sub_centers is {sub_centers}; a class has at least one")
        self.num_classes, self.sub_centers = num_classes, sub_centers
        self.weight = nn.Parameter(torch.empty(sub_centers * num_classes, in_dim))
        nn.init.xavier_uniform_(self.weight)

    def forward(self, embeddings):
        """Cosines (..., C), float32, of embeddings (..., D)."""
        # In half precision the squares of a norm may overflow or vanish, and autocast
        # would take the product back to it: cosines 0.004 apart would be one.
        with torch.autocast(embeddings.device.type, enabled=False):
            unit = F.normalize(embeddings.float(), dim=-1)
            cosines = F.linear(unit, F.normalize(self.weight.float(), dim=-1))
        return cosines.unflatten(-1, (self.sub_centers, -1)).amax(-2)


class LinearClassifier(nn.Linear):
    """Logits (..., C) of a linear layer, for `CrossEntropy`."""

    def __init__(self, in_dim, num_classes):
        check_classes(num_classes)
        super().__init__(in_dim, num_classes)


def check_classes(number):
    """Raises ValueError at fewer than two classes: there is nothing to tell apart."""
    if number < 2:
        raise ValueError(
            f"{number} class(es) were given; training on labels needs two at least"
        )
