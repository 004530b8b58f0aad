"""Mean normalization of log-mels; the log-mels themselves are SpeechBrain's Fbank."""

import torch


class MeanNorm(torch.nn.Module):
    """Subtracts the mean of each feature, of the whole utterance or a sliding window.

    The paper uses a window of 3 s and the utterance mean for crops no longer than
    that; the variance is left alone.

    Arguments
    ---------
    window_seconds : float, optional
        Length of the centered window in seconds, shortened at both ends of the
        utterance; the whole utterance if not given.
    hop_seconds : float
        Time between two frames in seconds.

    Example
    -------
    >>> feats = torch.arange(4.0).reshape(1, 4, 1)
    >>> MeanNorm()(feats).flatten()
    tensor([-1.5000, -0.5000,  0.5000,  1.5000])
    >>> MeanNorm(window_seconds=0.03)(feats).flatten()
    tensor([-0.5000,  0.0000,  0.0000,  0.5000])
    """

    def __init__(self, window_seconds=None, hop_seconds=0.01):
        super().__init__()
        # SpeechBrain's interfaces feed the device they were loaded on, also after
        # ``.to(...)``: this empty buffer moves along and says where the encoder is.
        self.register_buffer("place", torch.empty(0), persistent=False)
        self.window = None
        if window_seconds is not None:
            self.window = max(round(window_seconds / hop_seconds), 1)

    def forward(self, feats, lengths=None):
        """Normalizes a batch.

        Arguments
        ---------
        feats : torch.Tensor
            Log-mels ``(batch, frames, features)``.
        lengths : torch.Tensor, optional
            Relative lengths ``(batch,)``; padded frames take no part and become 0.

        Returns
        -------
        torch.Tensor
            Same shape as ``feats``, on the device that the module was moved to.
        """
        feats = feats.to(self.place.device)
        frames = feats.shape[1]
        mask = None
        if lengths is not None:
            ends = (lengths * frames).round().long().to(feats.device)
            mask = torch.arange(frames, device=feats.device) < ends[:, None]
            feats = feats * mask[..., None]
        count = frames if mask is None else mask.sum(1)[:, None, None]
        mean = feats.sum(dim=1, keepdim=True) / count
        if self.window is not None and frames > self.window:
            sliding = self._sliding_mean(feats, mask)
            short = torch.as_tensor(count <= self.window, device=feats.device)
            mean = torch.where(short, mean, sliding)
        feats = feats - mean
        return feats if mask is None else feats * mask[..., None]

    def _sliding_mean(self, feats, mask):
        frames = feats.shape[1]
        left = self.window // 2
        position = torch.arange(frames, device=feats.device)
        lo = (position - left).clamp(min=0)
        hi = (position - left + self.window).clamp(max=frames)
        # Sums in double: the difference of two long running sums loses digits.
        total = _running_sum(feats.double())
        window_sum = (total[:, hi] - total[:, lo]).to(feats.dtype)
        if mask is None:
            return window_sum / (hi - lo)[:, None]
        counted = _running_sum(mask[..., None].double())
        count = (counted[:, hi] - counted[:, lo]).clamp(min=1)
        return window_sum / count.to(feats.dtype)


def _running_sum(values):
    return torch.nn.functional.pad(values.cumsum(dim=1), (0, 0, 1, 0))


def move_constants(module, device):
    """Moves what a module keeps outside its parameters and buffers, once for all steps.

    ``Module.to`` leaves plain attributes alone. SpeechBrain's STFT would copy its
    window to the device at every call, for which the host waits; its Filterbank makes
    tensors on ``device_inp``, and its InputNormalization loads a checkpoint to
    ``device``: tensors and devices have to go together.

    Arguments
    ---------
    module : torch.nn.Module
        The module, its parts included.
    device : torch.device or str
        Where to.

    Example
    -------
    >>> from speechbrain.lobes.features import Fbank
    >>> fbank = Fbank(n_mels=80)
    >>> move_constants(fbank, "meta")
    >>> fbank.compute_fbanks.f_central.device, fbank.compute_fbanks.device_inp
    (device(type='meta'), device(type='meta'))
    """
    device = torch.device(device)
    for part in module.modules():
        for name, value in vars(part).items():
            if isinstance(value, torch.Tensor):
                setattr(part, name, value.to(device))
            elif isinstance(value, torch.device):
                setattr(part, name, device)
            elif name == "device" and isinstance(value, str):
                setattr(part, name, str(device))
