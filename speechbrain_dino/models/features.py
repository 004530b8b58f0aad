"""Log-mels, SpeechBrain's Fbank or one with another window, and their mean."""

import torch
from speechbrain.lobes.features import Fbank

_VARIANCE_FLOOR = 1e-5  # of torch.nn.InstanceNorm1d


class WindowedFbank(Fbank):
    """SpeechBrain's log-mels with the window "hann" or "hamming", as it has them.

    The Hamming window lets a strong band through into weak ones, at -43 dB: after the
    variance of each mel has been normalized that is heard. ``options`` are those of
    ``speechbrain.lobes.features.Fbank``. Raises ValueError for other windows.
    """

    def __init__(self, window="hann", **options):
        super().__init__(**options)
        windows = {"hann": torch.hann_window, "hamming": torch.hamming_window}
        if window not in windows:
            raise ValueError(f"window is {window!r}; choose one of {list(windows)}")
        self.compute_STFT.window = windows[window](self.compute_STFT.win_length)


class MeanNorm(torch.nn.Module):
    """Subtracts the mean of each feature, of the whole utterance or a sliding window.

    The paper uses a window of 3 s, centered and shortened at both ends of the
    utterance, and the utterance mean for crops no longer than that; the variance is
    left alone. ``variance``: each feature is divided by its standard deviation over
    the utterance too, as ``torch.nn.InstanceNorm1d`` does. Frames are ``hop_seconds``
    apart. Raises ValueError for ``variance`` with a window.

    Example
    -------
    >>> MeanNorm(window_seconds=0.03)(torch.arange(4.0).reshape(1, 4, 1)).flatten()
    tensor([-0.5000,  0.0000,  0.0000,  0.5000])
    """

    def __init__(self, window_seconds=None, hop_seconds=0.01, variance=False):
        super().__init__()
        if variance and window_seconds is not None:
            raise ValueError(
                f"window_seconds is {window_seconds} and variance is {variance}; the "
                "variance is normalized over whole utterances: leave one of them out"
            )
        self.variance = variance
        # SpeechBrain's interfaces feed the device they were loaded on, also after
        # ``.to(...)``: this empty buffer moves along and says where the encoder is.
        self.register_buffer("place", torch.empty(0), persistent=False)
        self.window = None
        if window_seconds is not None:
            self.window = max(round(window_seconds / hop_seconds), 1)

    def forward(self, feats, lengths=None):
        """Normalizes log-mels (batch, frames, features), on the module's device.

        Frames padded by relative ``lengths`` (batch,) take no part and become 0.
        """
        feats = feats.to(self.place.device)
        frames = feats.shape[1]
        mask = frame_mask(lengths, feats)
        if mask is not None:
            feats = feats * mask[..., None]
        count = frames if mask is None else mask.sum(1)[:, None, None]
        mean = feats.sum(dim=1, keepdim=True) / count
        if self.window is not None and frames > self.window:
            sliding = self._sliding_mean(feats, mask)
            short = torch.as_tensor(count <= self.window, device=feats.device)
            mean = torch.where(short, mean, sliding)
        feats = feats - mean
        if mask is not None:
            feats = feats * mask[..., None]
        if self.variance:
            variance = feats.square().sum(dim=1, keepdim=True) / count
            feats = feats * (variance + _VARIANCE_FLOOR).rsqrt()
        return feats

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


def frame_mask(lengths, feats):
    """Frames (batch, frames) within relative lengths (batch,), None without these."""
    if lengths is None:
        return None
    frames = feats.shape[1]
    ends = (lengths.to(feats.device) * frames).round()
    return torch.arange(frames, device=feats.device) < ends[:, None]


def _running_sum(values):
    return torch.nn.functional.pad(values.cumsum(dim=1), (0, 0, 1, 0))


def move_constants(module, device):
    """Moves what a module keeps outside its parameters and buffers, once for all steps.

    ``Module.to`` leaves plain attributes alone. SpeechBrain's STFT would copy its
    window to the device at every call, for which the host waits; its Filterbank makes
    tensors on ``device_inp``, its InputNormalization loads a checkpoint to ``device``.
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
