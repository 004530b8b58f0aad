"""Features of the speech in a waveform: silence is dropped as it was for training."""

import numpy as np
import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence

from speechbrain_dino.data.vad import energy_vad
from speechbrain_dino.models.embedder import Embedder, relative_lengths

_LENGTHS = "lengths_of_speech"


class SpeechFeatures(nn.Module):
    """Features of what the energy VAD finds in each waveform, all of it if nothing.

    It stands for ``compute_features`` in the inference folder of a model that was
    trained without silence. `Embedder` asks it for the speech. SpeechBrain's
    ``EncoderClassifier`` does not know that rows of a batch get other lengths: the
    modules that follow are told by what hangs on the features.

    Arguments
    ---------
    features : torch.nn.Module
        Waveforms (batch, time) to features (batch, frames, features).
    followers : sequence of torch.nn.Module
        Those that take the features and relative lengths, in their order.
    sample_rate : int
        In Hz.
    """

    def __init__(self, features, followers=(), sample_rate=16000):
        super().__init__()
        self.features = features
        self.sample_rate = sample_rate
        for module in followers:
            module.register_forward_pre_hook(_take_lengths, with_kwargs=True)
            module.register_forward_hook(_hand_on_lengths)

    def forward(self, wavs):
        """Features (batch, frames, features) of the speech in wavs (batch, time)."""
        rows = self.speech(wavs)
        padded = pad_sequence(rows, batch_first=True)
        feats = self.features(padded)
        num_samples = torch.tensor([len(row) for row in rows], device=feats.device)
        lengths = relative_lengths(self.features, num_samples, padded.shape[1])
        setattr(feats, _LENGTHS, lengths)
        return feats

    def speech(self, wavs, num_samples=None):
        """The speech of each row, (time,), of wavs (batch, time) in -1..1.

        ``num_samples`` (batch,) come before a padding. Where they are not known, zeros
        at the ends of several rows are one; they would lower the threshold.
        """
        samples = (wavs.detach() * 32768).round().clamp(-32768, 32767)
        samples = samples.to("cpu", torch.int16).numpy()
        ends = num_samples
        if ends is None:
            ends = [wavs.shape[1]] * len(wavs)
            if len(wavs) > 1:
                ends = [len(np.trim_zeros(row, "b")) or len(row) for row in samples]
        rows = []
        for wav, row, end in zip(wavs, samples, ends):
            runs = energy_vad(row[: int(end)], self.sample_rate)
            parts = [wav[start:stop] for start, stop in runs.tolist()]
            rows.append(torch.cat(parts) if parts else wav[: int(end)])
        return rows


def with_vad(embedder, vad, sample_rate=16000):
    """The embedder with the VAD (True), without it (False), or as it is (None).

    ValueError at another ``vad``.
    """
    if vad not in (None, True, False):
        raise ValueError(
            f"vad is {vad!r}; expected True, False or null, which is as the model says"
        )
    features = embedder.compute_features
    has = isinstance(features, SpeechFeatures)
    if vad is None or vad == has:
        return embedder
    features = SpeechFeatures(features, (), sample_rate) if vad else features.features
    others = embedder.mean_var_norm, embedder.embedding_model
    return Embedder(features, *others).train(embedder.training)


def _take_lengths(module, args, kwargs):
    lengths = getattr(args[0], _LENGTHS, None)
    return None if lengths is None else ((args[0], lengths), {})


def _hand_on_lengths(module, args, output):
    lengths = getattr(args[0], _LENGTHS, None)
    if lengths is not None:
        setattr(output, _LENGTHS, lengths)
