"""An encoder with random weights: what its structure alone is worth."""

import contextlib

import numpy as np
import torch
from hyperpyyaml import load_hyperpyyaml
from speechbrain.utils.fetching import fetch
from torch.nn.modules.batchnorm import _BatchNorm

from speechbrain_dino.data.audio import read_span
from speechbrain_dino.embeddings.bad_audio import MIN_SECONDS
from speechbrain_dino.embeddings.cache import audio_digest
from speechbrain_dino.embeddings.pretrained import (
    PARTS,
    Pretrained,
    load_pretrained,
    resolve_model,
    weights_digest,
)
from speechbrain_dino.models.embedder import Embedder


def load_untrained(source, manifest, seed=0, sample_rate=16000, utterances=64):
    """Builds a model as its YAML describes it, without its weights.

    Batch normalization with its initial statistics would normalize nothing, so that
    signals fade or blow up from layer to layer. Its statistics are those of one batch
    of ``utterances`` spread evenly over the manifest, two seconds from the middle of
    each (less where one is shorter), without labels. That these are utterances of the
    corpus, tested ones among them, can only be in favor of this baseline.

    Arguments
    ---------
    source : str or path
        As `load_pretrained`, which see for what is returned and raised.
    manifest : speechbrain_dino.data.manifest.Manifest
    seed : int
        Of the weights.
    sample_rate : int
        In Hz.
    utterances : int
        How many to set the normalization by.
    """
    with torch.random.fork_rng(devices=[]):
        load_pretrained(source)  # for its messages about what is wrong with a source
        yaml = fetch("hyperparams.yaml", source=resolve_model(source), savedir=None)
        torch.manual_seed(seed)
        with open(yaml, encoding="utf-8") as file:
            hparams = load_hyperpyyaml(file)
    parts = {**hparams, **hparams.get("modules", {})}
    embedder = Embedder(*(parts[name] for name in PARTS))
    chosen = _spread(manifest, utterances, sample_rate)
    wavs = _crops(chosen, 2 * sample_rate)
    # Not of the statistics: their last bits depend on the number of threads.
    digest = weights_digest(embedder, audio_digest(chosen, on_bad="skip").encode())
    for layer in embedder.modules():
        if isinstance(layer, _BatchNorm):
            layer.momentum = 1.0  # the statistics of this batch, nothing of the start
    with torch.no_grad():
        embedder.train()(wavs)
    about = f"{source} with random weights, seed {seed}"
    return Pretrained(embedder.eval(), about, digest)


def _spread(manifest, utterances, sample_rate):
    long_enough = manifest.lengths >= MIN_SECONDS * sample_rate
    if long_enough.any():
        manifest = manifest.subset(long_enough)
    rows = np.linspace(0, len(manifest) - 1, min(utterances, len(manifest)))
    return manifest.subset(np.unique(rows.astype(int)))


def _crops(manifest, samples):
    samples = int(min(samples, manifest.lengths.min()))
    crops = []
    for row, length in enumerate(manifest.lengths):
        first = (int(length) - samples) // 2
        # Files that cannot be read are left out, and named, when they are embedded.
        with contextlib.suppress(ValueError):
            crop = read_span(manifest[row], first, first + samples, finite=True)
            crops.append(crop)
    if not crops:
        raise ValueError(
            "none of the utterances can be read: there is nothing to embed"
        )
    return torch.from_numpy(np.stack(crops)).float() / 32768
