"""Student or teacher: an encoder and a head that see crops of several lengths."""

import torch
from torch import nn

from speechbrain_dino.models.heads import _flat


class Branch(nn.Module):
    """Encoder and head: what the student is, and of what the teacher is a copy.

    Arguments
    ---------
    encoder : torch.nn.Module
        Features (N, T, F) -> embeddings (N, D) or (N, 1, D).
    head : torch.nn.Module
        Embeddings (N, D) -> logits (N, K), or a dict of such.

    Example
    -------
    >>> import torch
    >>> from speechbrain_dino.models.heads import DINOHead
    >>> class Mean(nn.Module):
    ...     def forward(self, feats):
    ...         return feats.mean(1, keepdim=True)
    >>> branch = Branch(Mean(), DINOHead(8, 32, hidden_dim=16, bottleneck_dim=4))
    >>> embeddings, logits = branch([torch.randn(4, 40, 8), torch.randn(8, 20, 8)])
    >>> embeddings.shape, logits.shape
    (torch.Size([12, 8]), torch.Size([12, 32]))
    """

    def __init__(self, encoder, head):
        super().__init__()
        self.encoder = encoder
        self.head = head

    @property
    def embedding_model(self):
        """The encoder, under the name it has in SpeechBrain's inference folder."""
        return self.encoder

    def forward(self, feats):
        """Embeds crops, one encoder call a length, and projects all in one call.

        Arguments
        ---------
        feats : list of torch.Tensor
            Features (N_i, T_i, F), crops of one length in one tensor.

        Returns
        -------
        embeddings : torch.Tensor
            (sum of N_i, D), in the order given.
        outputs : torch.Tensor or dict of torch.Tensor
            What the head returns, (sum of N_i, ...).
        """
        embeddings = torch.cat([_flat(self.encoder(crops)) for crops in feats])
        return embeddings, self.head(embeddings)
