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
from speechbrain_dino.probing.pooled_tap import PooledTap, known_layer

LAYERS = ("embedding", "pooled", "both")


class Loaded(NamedTuple):
    """A source, ready to embed.

    Arguments
    ---------
    embedder : Embedder
        Gives all of its systems, one after the other.
    digest : str or None
        What tells its vectors from those of others.
    columns : dict
        System -> slice of the vectors.
    about : str
        What it is.
    """

    embedder: Embedder
    digest: str
    columns: dict
    about: str


class PretrainedEncoder:
    """Layers of a trained encoder.

    Arguments
    ---------
    source : str
        An inference folder, or a name on the hub. With ``{fold}`` in it a model a fold,
        such as ``results/{fold}/inference``: each fold is tested with the one that has
        not met its speakers.
    layers : sequence of str
        ``embedding``; ``pooled``, the statistics over time that the last layer makes
        the embedding of; ``both``, one beside the other.
    embedding_layer : str, optional
        Path of that last layer in the encoder, such as ``fc``; what goes into it is
        ``pooled``. Known for LResNet34, Res2Net50, ECAPA-TDNN, x-vector and
        SpeechBrain's ResNet.
    """

    def __init__(self, source, layers=LAYERS, embedding_layer=None):
        self.source, self.embedding_layer = str(source), embedding_layer
        self.layers = check_layers(layers)

    @property
    def by_fold(self):
        """Whether there is a model a fold."""
        return "{fold}" in self.source

    def of_fold(self, name):
        """The source of one fold.

        Arguments
        ---------
        name : str
            Name of the fold.

        Returns
        -------
        PretrainedEncoder
            The same with this name in the place of ``{fold}``.

        Example
        -------
        >>> PretrainedEncoder("results/{fold}/inference").of_fold("fold2").source
        'results/fold2/inference'
        """
        one = copy.copy(self)
        one.source = self.source.replace("{fold}", name)
        return one

    def load(self, manifest, sample_rate):
        """Loads the model.

        Arguments
        ---------
        manifest : Manifest
            Not needed here.
        sample_rate : int
            Samples in a second.

        Returns
        -------
        Loaded
        """
        model = load_pretrained(self.source)
        return self.tapped(model.embedder, model.digest, self.source)

    def tapped(self, embedder, digest, about):
        """An embedder of all layers wanted, whose encoder is ``embedder``'s."""
        if self.layers == ["embedding"]:
            return Loaded(embedder, digest, {"embedding": slice(None)}, about)
        path = self.embedding_layer or known_layer(embedder.embedding_model)
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
    """The same layers of the same encoder with random weights: see ``untrained``.

    Arguments
    ---------
    source : str
        An inference folder, or a name on the hub.
    layers, embedding_layer
        As for `PretrainedEncoder`.
    seed : int
        Of the weights.
    """

    def __init__(self, source, layers=LAYERS, embedding_layer=None, seed=0):
        super().__init__(source, layers, embedding_layer)
        self.seed = seed

    def load(self, manifest, sample_rate):
        """Builds the model.

        Arguments
        ---------
        manifest : Manifest
            Utterances by which its batch normalization is set.
        sample_rate : int
            Samples in a second.

        Returns
        -------
        Loaded
        """
        model = load_untrained(self.source, manifest, self.seed, sample_rate)
        return self.tapped(model.embedder, model.digest, model.source)


class MFCCStatistics:
    """Mean and deviation over time of MFCCs (SpeechBrain's) and of their differences.

    Arguments
    ---------
    n_mfcc : int
        Coefficients, the first of which is the level.
    n_mels : int
        Mel bands.
    deltas : bool
        Whether the first and second differences take part.
    """

    by_fold = False

    def __init__(self, n_mfcc=20, n_mels=40, deltas=True):
        self.n_mfcc, self.n_mels, self.deltas = n_mfcc, n_mels, deltas

    def load(self, manifest, sample_rate):
        """Builds the features; arguments as those of the other sources."""
        mfcc = MFCC(
            deltas=self.deltas,
            context=False,
            sample_rate=sample_rate,
            n_mels=self.n_mels,
            n_mfcc=self.n_mfcc,
        )
        embedder = Embedder(mfcc, _AsItIs(), _Statistics()).eval()
        about = f"mean and deviation of {self.n_mfcc} MFCC"
        about += " and their first and second differences" if self.deltas else ""
        return Loaded(embedder, None, {"statistics": slice(None)}, about)


class _AsItIs(nn.Module):
    def forward(self, feats, lengths=None):
        return feats


class _Statistics(nn.Module):
    """Mean and deviation over time; batches hold utterances of equal length alone."""

    def forward(self, feats, lengths=None):
        return torch.cat([feats.mean(dim=1), feats.std(dim=1, unbiased=False)], dim=1)


def check_layers(layers):
    """Layers as a list, each a known one, at least one."""
    layers = [layers] if isinstance(layers, str) else list(layers)
    strange = [layer for layer in layers if layer not in LAYERS]
    if strange or not layers:
        raise ValueError(f"layers {layers}: expected some of {', '.join(LAYERS)}")
    return layers


def compared(systems, further, layers=LAYERS):
    """Adds further trained encoders to the systems of a probe.

    Arguments
    ---------
    systems : dict
        Name -> source.
    further : dict or None
        Name -> inference folder or name on the hub, or a dict of the arguments of
        `PretrainedEncoder`.
    layers : sequence of str
        Layers of those of which only the source is given.

    Returns
    -------
    dict
        Name -> source.

    Raises
    ------
    ValueError
        If a name occurs twice, or cannot be one of a folder.

    Example
    -------
    >>> found = compared({"mfcc": MFCCStatistics()}, {"xvector": "a/b"}, "embedding")
    >>> list(found), found["xvector"].source, found["xvector"].layers
    (['mfcc', 'xvector'], 'a/b', ['embedding'])
    """
    found = dict(systems)
    for name, source in (further or {}).items():
        if name in found or not str(name).replace("_", "a").replace("-", "a").isalnum():
            raise ValueError(
                f"compare: {name!r} is one of {', '.join(found)}, or no plain name "
                "(letters, digits, _ and -): call the model something else"
            )
        options = source if isinstance(source, dict) else {"source": source}
        found[name] = PretrainedEncoder(**{"layers": layers, **options})
    return found
