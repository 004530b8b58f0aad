"""The statistics over time that an encoder makes its embedding of."""

import torch
from torch import nn

EMBEDDING_LAYERS = {
    "speechbrain_dino.models.encoders.LResNet34": "embedding",
    "speechbrain_dino.models.encoders.MaskedResNet": "embedding",
    "speechbrain_dino.models.fwse_resnet.FwSEResNet34": "embedding",
    "speechbrain.lobes.models.ECAPA_TDNN.ECAPA_TDNN": "fc",
    "speechbrain.lobes.models.Xvector.Xvector": "blocks.-1",
    "speechbrain.lobes.models.ResNet.ResNet": "fc_embed",
}
"""Encoder -> its layer that turns pooled statistics into the embedding."""


class PooledTap(nn.Module):
    """An encoder that gives its embedding and the input of its layer ``path``.

    Called with features and relative lengths, as the encoder itself.

    Example
    -------
    >>> from speechbrain_dino.models.encoders import LResNet34
    >>> tap = PooledTap(LResNet34(), "embedding").eval()
    >>> tap(torch.rand(2, 50, 80), torch.ones(2)).shape, tap.embedding_size
    (torch.Size([2, 2816]), 256)
    """

    def __init__(self, encoder, path):
        super().__init__()
        self.encoder, self.path = encoder, path
        self.embedding_size = None
        submodule(encoder, path)

    @property
    def masks_padding(self):
        """Whether utterances of several lengths may share a batch."""
        return getattr(self.encoder, "masks_padding", False)

    def forward(self, feats, lengths):
        """Embedding and statistics ``(batch, E + P)`` of features."""
        inputs = []

        def keep(layer, arguments, named):
            inputs.append([*arguments, *named.values()][0])

        layer = submodule(self.encoder, self.path)
        hook = layer.register_forward_pre_hook(keep, with_kwargs=True)
        try:
            embedding = self.encoder(feats, lengths).flatten(start_dim=1)
        finally:
            hook.remove()
        # SpeechBrain's x-vector calls its layers twice, first to learn what they take.
        pooled = inputs[-1] if inputs else None
        if pooled is None or pooled.numel() != len(feats) * max(
            pooled.shape[1:], default=0
        ):
            shape = "nothing" if pooled is None else tuple(pooled.shape)
            raise ValueError(
                f"what goes into {self.path!r} of {type(self.encoder).__name__} is no "
                f"vector per utterance: {shape} for a batch of {len(feats)}. Name the "
                "layer after the pooling over time with embedding_layer"
            )
        self.embedding_size = embedding.shape[1]
        return torch.cat([embedding.float(), pooled.flatten(1).float()], dim=1)


def embedding_layer_of(encoder):
    """The path of the layer that makes the embedding; ValueError if it is unknown."""
    for kind in type(encoder).__mro__:
        name = f"{kind.__module__}.{kind.__qualname__}"
        if name in EMBEDDING_LAYERS:
            return EMBEDDING_LAYERS[name]
    linear = [
        name
        for name, layer in encoder.named_modules()
        if isinstance(layer, nn.Linear | nn.Conv1d)
    ]
    raise ValueError(
        f"the layer of {type(encoder).__name__} that makes the embedding of the "
        "pooled statistics is unknown: name it with embedding_layer (its linear layers "
        f"end with {', '.join(linear[-5:])}), or probe layers: [embedding] alone"
    )


def submodule(encoder, path):
    """A part of an encoder by its path, such as ``fc`` or ``blocks.-1``."""
    part = encoder
    for name in path.split("."):
        try:
            is_index = name.lstrip("-").isdigit()
            part = part[int(name)] if is_index else getattr(part, name)
        except (AttributeError, IndexError, TypeError) as error:
            raise ValueError(
                f"{type(encoder).__name__} has no layer {path!r} ({error}): its parts "
                f"are {', '.join(name for name, _ in encoder.named_children())}"
            ) from error
    return part
