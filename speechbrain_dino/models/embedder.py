"""Waveforms to embeddings, as training and the inference folder compute them."""

import torch
from torch.nn.utils.rnn import pad_sequence


class Embedder(torch.nn.Module):
    """Waveforms to embeddings: features, normalization, encoder.

    The same three parts as in SpeechBrain's ``EncoderClassifier``, which gives the
    same embedding from the exported inference folder. Where the features have a method
    ``speech``, (wavs, num_samples) to a list of waveforms, and their own ``features``,
    the embedding is that of the speech.

    Example
    -------
    >>> from speechbrain.lobes.features import Fbank
    >>> from speechbrain_dino.models.encoders import LResNet34
    >>> from speechbrain_dino.models.features import MeanNorm
    >>> embedder = Embedder(Fbank(n_mels=80), MeanNorm(), LResNet34()).eval()
    >>> embedder(torch.rand(2, 16000)).shape
    torch.Size([2, 256])
    """

    def __init__(self, compute_features, mean_var_norm, embedding_model):
        super().__init__()
        self.compute_features = compute_features
        self.mean_var_norm = mean_var_norm
        self.embedding_model = embedding_model

    @property
    def masks_padding(self):
        """Whether lengths may mix in a batch: the encoder's attribute of this name."""
        return getattr(self.embedding_model, "masks_padding", False)

    def frames(self, num_samples):
        """Feature frames of samples; utterances of equal frames may share a batch.

        A short-time Fourier transform that is centered and padded with zeros gives an
        utterance the same frames, whether zeros follow it or nothing. Features with a
        method ``frames`` say themselves. For others every number of samples counts as
        different.
        """
        return frames_of(self.compute_features, num_samples)

    def forward(self, wavs, num_samples=None):
        """Embeddings (batch, D) of waveforms (batch, time) in -1..1.

        ``num_samples`` (batch,) come before a padding of zeros; all if not given.
        """
        if hasattr(self.compute_features, "speech"):
            return self._of_speech(self.compute_features.speech(wavs, num_samples))
        lengths = torch.ones(len(wavs), device=wavs.device)
        if num_samples is not None:
            lengths = relative_lengths(
                self.compute_features, num_samples.to(wavs.device), wavs.shape[1]
            )
        feats = self.mean_var_norm(self.compute_features(wavs), lengths)
        return self.embedding_model(feats, lengths).flatten(start_dim=1)

    def _of_speech(self, rows):
        """Embeddings (batch, D) of rows (time,) of several lengths."""
        features = self.compute_features.features
        plain = Embedder(features, self.mean_var_norm, self.embedding_model)
        if not self.masks_padding:
            return torch.cat([plain(row[None]) for row in rows])
        num_samples = torch.tensor([len(row) for row in rows])
        return plain(pad_sequence(rows, batch_first=True), num_samples)


def frames_of(features, num_samples):
    """Frames that features make of samples, see `Embedder.frames`."""
    if hasattr(features, "frames"):
        return features.frames(num_samples)
    stft = getattr(features, "compute_STFT", None)
    exact = stft is not None and stft.center and stft.pad_mode == "constant"
    return 1 + num_samples // (stft.hop_length if exact else 1)


def relative_lengths(features, num_samples, time):
    """Lengths in 0..1 (batch,) of num_samples (batch,) padded to ``time`` samples."""
    # In frames, not samples: equal frames must give exactly 1, as alone.
    lengths = frames_of(features, num_samples) / frames_of(features, time)
    # SpeechBrain's normalization rounds the product of length and frames up: a last
    # bit too many would take a frame of padding into the mean.
    return torch.where(lengths < 1, lengths * (1 - 1e-6), lengths)
