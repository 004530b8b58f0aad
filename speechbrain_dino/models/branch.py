"""Student or teacher: an encoder and a head that see crops of several lengths."""

import torch
from torch import nn


class Branch(nn.Module):
    """Encoder and head: what the student is, and of what the teacher is a copy.

    The encoder maps features (N, T, F) to embeddings (N, D) or (N, 1, D), the head
    those to logits (N, K), or to a dict of such. ``head_by_length``: the head's
    BatchNorm sees the crops of each length apart, as the encoder's does (RDINO, sslsv),
    and not all at once (Caron et al.).

    Example
    -------
    >>> class Mean(nn.Module):
    ...     def forward(self, feats):
    ...         return feats.mean(1, keepdim=True)
    >>> embeddings, logits = Branch(Mean(), nn.Linear(8, 32))([torch.randn(4, 40, 8)])
    >>> embeddings.shape, logits.shape
    (torch.Size([4, 8]), torch.Size([4, 32]))
    """

    _compiled = None

    def __init__(self, encoder, head, head_by_length=False):
        super().__init__()
        self.head_by_length = head_by_length
        self.encoder = encoder
        self.head = head

    def compile_encoder(self, **options):
        """Compiles the encoder for crops; other uses of it stay as they are.

        ``options`` are those of ``torch.compile``.
        """
        # Not as a module, which the weights would be saved under a second time.
        compiled = torch.compile(self.encoder, **options)
        object.__setattr__(self, "_compiled", compiled)

    def forward(self, feats):
        """Embeddings (N, D) and outputs of crops, (N_i, T_i, F) for each length."""
        encoder = self.encoder if self._compiled is None else self._compiled
        embeddings = [_flat(encoder(crops)) for crops in feats]
        everything = torch.cat(embeddings)
        if not self.head_by_length:
            return everything, self.head(everything)
        return everything, _joined([self.head(part) for part in embeddings])


def _joined(outputs):
    if isinstance(outputs[0], dict):
        return {k: torch.cat([part[k] for part in outputs]) for k in outputs[0]}
    return torch.cat(outputs)


def _flat(embeddings):
    if embeddings.dim() == 3 and embeddings.shape[1] == 1:
        return embeddings.squeeze(1)
    if embeddings.dim() != 2:
        raise ValueError(
            f"the encoder returned {tuple(embeddings.shape)}; expected one embedding "
            "per utterance, (N, D) or (N, 1, D): does it pool over time?"
        )
    return embeddings
