"""SpeechBrain's log-mels, faster and with a window of choice, and their mean."""

import torch
import torch.nn.functional as F
from speechbrain.lobes.features import Fbank

_VARIANCE_FLOOR = 1e-5  # of torch.nn.InstanceNorm1d


class FastFbank(Fbank):
    """SpeechBrain's log-mels with fewer passes over memory, and a window of choice.

    Values are SpeechBrain's but for rounding. ``window``: "hamming", as SpeechBrain
    has it, or "hann". The Hamming window lets a strong band through into weak ones, at
    -43 dB: after the variance of each mel has been normalized that is heard.
    ``options`` are those of ``speechbrain.lobes.features.Fbank``. Raises ValueError for
    other windows.

    Example
    -------
    >>> FastFbank(n_mels=80)(torch.rand(2, 16000)).shape
    torch.Size([2, 101, 80])
    """

    def __init__(self, window="hamming", **options):
        super().__init__(**options)
        windows = {"hann": torch.hann_window, "hamming": torch.hamming_window}
        if window not in windows:
            raise ValueError(f"window is {window!r}; choose one of {list(windows)}")
        stft, filters = self.compute_STFT, self.compute_fbanks
        stft.window = windows[window](stft.win_length)
        # Filters that are learned or drawn at random change with every call.
        self.plain = filters.freeze and not filters.param_rand_factor
        frequencies = filters.all_freqs_mat.shape[1]
        matrix = filters._create_fbank_matrix(
            filters.f_central.repeat(frequencies, 1).T,
            filters.band.repeat(frequencies, 1).T,
        )
        # Not saved: the options say what they are. They move with the module.
        self.register_buffer("matrix", matrix.detach(), persistent=False)
        self.register_buffer("window", stft.window.clone(), persistent=False)

    def forward(self, wav):
        """Log-mels (batch, frames, n_mels) of waveforms (batch, time)."""
        if not self.plain or wav.dim() != 2:
            return super().forward(wav)
        # SpeechBrain's interfaces feed the device they were loaded on (see MeanNorm).
        wav = wav.to(self.window.device, torch.float32)
        stft = self.compute_STFT
        # A shift of the frame within the transform turns phases alone: the zeros around
        # the window are left out, but for those that fill it to n_fft at its end.
        half = stft.n_fft // 2
        left = half - (stft.n_fft - stft.win_length) // 2
        hops = (wav.shape[1] + 2 * half - stft.n_fft) // stft.hop_length
        right = hops * stft.hop_length + stft.win_length - left - wav.shape[1]
        wav = F.pad(wav, (left, max(right, 0)))
        with torch.autocast(wav.device.type, enabled=False):
            mels = mels_of(wav, self.window, stft.hop_length, stft.n_fft, self.matrix)
            mels = self.compute_fbanks._amplitude_to_DB(mels)
        if self.deltas:
            first = self.compute_deltas(mels)
            mels = torch.cat([mels, first, self.compute_deltas(first)], dim=2)
        return self.context_window(mels) if self.context else mels


_BLOCK = 512  # frames, whose spectra fit into a core's cache


def mels_of(wav, window, hop, n_fft, matrix, prepare=None):
    """Powers (batch, frames, mels) of windowed frames by filters (frequencies, mels).

    On a CPU in blocks that fit into the cache, elsewhere in one go. ``prepare`` changes
    frames (..., frames, size) before they are windowed.
    """

    def powers(frames):
        frames = frames if prepare is None else prepare(frames)
        spectrum = torch.fft.rfft(frames * window, n_fft)
        real, imaginary = spectrum.real, spectrum.imag
        return real.square().addcmul_(imaginary, imaginary) @ matrix

    frames = wav.unfold(1, len(window), hop)
    if wav.device.type != "cpu" or torch.compiler.is_compiling():
        return powers(frames)
    blocks = [powers(part) for row in frames for part in row.split(_BLOCK)]
    return torch.cat(blocks).view(len(wav), -1, matrix.shape[1])


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
    return F.pad(values.cumsum(dim=1), (0, 0, 1, 0))


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
