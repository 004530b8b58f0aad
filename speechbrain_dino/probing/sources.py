"""What is probed: layers of an encoder, baselines without training or without encoder.

A source has ``load(manifest, sample_rate)``, which gives a `Loaded`: an embedder whose
vectors hold one or more systems side by side, so that audio passes the encoder once.
One that is ``by_fold`` has ``of_fold(name)``, a source for each fold, instead.
"""

import copy
from typing import NamedTuple

import torch
from speechbrain.lobes.features import MFCC
from torch import nn

from speechbrain_dino.embeddings.pretrained import load_pretrained
from speechbrain_dino.embeddings.untrained import load_untrained
from speechbrain_dino.models.embedder import Embedder
from speechbrain_dino.probing.pooled_tap import PooledTap, embedding_layer_of

LAYERS = ("embedding", "pooled", "both")


class Loaded(NamedTuple):
    """A source, ready to embed."""

    embedder: Embedder
    """Gives the vectors of all systems, one after the other."""
    digest: str
    """Tells its vectors from those of others; None where nothing was trained."""
    columns: dict
    """System -> slice of the vectors."""
    about: str
    """One line for the report."""


class PretrainedEncoder:
    """Layers of a trained encoder.

    Arguments
    ---------
    source : str
        An inference folder, or a name on the hub. With ``{fold}`` in it a model per
        fold, such as ``results/{fold}/inference``, trained without its test speakers.
    layers : sequence of str
        ``embedding``; ``pooled``, the statistics over time that the last layer makes
        the embedding of; ``both``, one beside the other.
    embedding_layer : str, optional
        Path of that last layer in the encoder, such as ``fc``; not needed for
        LResNet34, Res2Net50, ECAPA-TDNN, x-vector and SpeechBrain's ResNet.
    """

    def __init__(self, source, layers=LAYERS, embedding_layer=None):
        self.source, self.embedding_layer = str(source), embedding_layer
        self.layers = check_layers(layers)

    @property
    def by_fold(self):
        """Whether there is a model per fold."""
        return "{fold}" in self.source

    def of_fold(self, name):
        """The source of the fold ``name``: ``{fold}`` replaced."""
        one = copy.copy(self)
        one.source = self.source.replace("{fold}", name)
        return one

    def load(self, manifest, sample_rate):
        """Loads the model; the arguments are for other sources."""
        model = load_pretrained(self.source)
        return self.tapped(model.embedder, model.digest, self.source)

    def tapped(self, embedder, digest, about):
        """A `Loaded` of all layers wanted, whose encoder is ``embedder``'s."""
        if self.layers == ["embedding"]:
            return Loaded(embedder, digest, {"embedding": slice(None)}, about)
        path = self.embedding_layer or embedding_layer_of(embedder.embedding_model)
        tap = PooledTap(embedder.embedding_model, path)
        parts = embedder.compute_features, embedder.mean_var_norm, tap
        whole = Embedder(*parts).eval()
        with torch.no_grad():
            device = next(embedder.parameters()).device
            whole(torch.zeros(1, 16000, device=device))  # for the sizes
        size = tap.embedding_size
        columns = {"embedding": slice(0, size), "pooled": slice(size, None)}
        columns["both"] = slice(None)
        columns = {layer: columns[layer] for layer in self.layers}
        return Loaded(whole, f"{digest} and what goes into {path}", columns, about)


class UntrainedEncoder(PretrainedEncoder):
    """The same layers of the same encoder with random weights drawn from ``seed``."""

    def __init__(self, source, layers=LAYERS, embedding_layer=None, seed=0):
        super().__init__(source, layers, embedding_layer)
        self.seed = seed

    def load(self, manifest, sample_rate):
        """Builds the model; the manifest's utterances set its batch normalization."""
        model = load_untrained(self.source, manifest, self.seed, sample_rate)
        return self.tapped(model.embedder, model.digest, model.source)


class MFCCStatistics:
    """Mean and deviation over time of SpeechBrain's MFCCs, the first being the level.

    ``deltas`` adds their first and second differences.
    """

    by_fold = False

    def __init__(self, n_mfcc=20, n_mels=40, deltas=True):
        self.n_mfcc, self.n_mels, self.deltas = n_mfcc, n_mels, deltas

    def load(self, manifest, sample_rate):
        """Builds the features at ``sample_rate``."""
        mfcc = MFCC(
            deltas=self.deltas,
            context=False,
            sample_rate=sample_rate,
            n_mels=self.n_mels,
            n_mfcc=self.n_mfcc,
        )
        embedder = Embedder(mfcc, _NoNorm(), _Statistics()).eval()
        about = f"mean and deviation of {self.n_mfcc} MFCC"
        about += " and their first and second differences" if self.deltas else ""
        return Loaded(embedder, None, {"statistics": slice(None)}, about)


class _NoNorm(nn.Module):
    def forward(self, feats, lengths=None):
        return feats


class _Statistics(nn.Module):
    """Mean and deviation over time; batches hold utterances of equal length alone."""

    def forward(self, feats, lengths=None):
        return torch.cat([feats.mean(dim=1), feats.std(dim=1, unbiased=False)], dim=1)


def check_layers(layers):
    """Layers as a list, each in LAYERS, at least one."""
    layers = [layers] if isinstance(layers, str) else list(layers)
    unknown = [layer for layer in layers if layer not in LAYERS]
    if unknown or not layers:
        raise ValueError(f"layers {layers}: expected some of {', '.join(LAYERS)}")
    return layers


def compared(systems, further, layers=LAYERS):
    """Adds further encoders to the systems (name -> source) of a probe.

    ``further`` maps names to an inference folder, a name on the hub, or a dict of
    arguments of `PretrainedEncoder`; ``layers`` is the default. Raises ValueError if a
    name occurs twice, or cannot be that of a folder.

    Example
    -------
    >>> sources = compared({"mfcc": MFCCStatistics()}, {"xvector": "a/b"}, "embedding")
    >>> list(sources), sources["xvector"].source, sources["xvector"].layers
    (['mfcc', 'xvector'], 'a/b', ['embedding'])
    """
    sources = dict(systems)
    for name, source in (further or {}).items():
        plain = str(name).replace("_", "a").replace("-", "a").isalnum()
        if name in sources or not plain:
            raise ValueError(
                f"compare: {name!r} is one of {', '.join(sources)}, or no plain name "
                "(letters, digits, _ and -): call the model something else"
            )
        options = source if isinstance(source, dict) else {"source": source}
        sources[name] = PretrainedEncoder(**{"layers": layers, **options})
    return sources
