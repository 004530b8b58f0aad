"""Log-mels as Kaldi computes them, for a whole batch on the device."""

import torch
import torch.nn.functional as F
from torch import nn
from torchaudio.compliance.kaldi import get_mel_banks

from speechbrain_dino.models.features import mels_of

WINDOWS = {
    "povey": lambda size: torch.hann_window(size, periodic=False).pow(0.85),
    "hamming": lambda size: torch.hamming_window(size, periodic=False),
    "hanning": lambda size: torch.hann_window(size, periodic=False),
    "rectangular": torch.ones,
}


class KaldiFbank(nn.Module):
    """Kaldi's log-mels: those of ``torchaudio.compliance.kaldi.fbank``, batched.

    Each frame loses its mean, is pre-emphasized, windowed and filled with zeros to a
    power of two; triangular filters on Kaldi's mel scale sum its power spectrum, and
    the natural logarithm is taken. Called as SpeechBrain's ``Fbank``.

    Arguments
    ---------
    sample_rate, n_mels, f_min, f_max : int
        In Hz; ``f_max`` is half the rate if not given.
    win_length, hop_length : float
        Of frames, in milliseconds.
    window : str
        "povey" (Kaldi's own), "hamming", "hanning" or "rectangular".
    preemphasis : float
        Share of the sample before that each sample loses.
    remove_dc : bool
        Whether frames lose their mean.
    dither : float
        Deviation of the Gaussian noise added while training, in steps of 16 bit; it
        comes from torch's generator. In evaluation mode there is none.
    snip_edges : bool
        True: frames lie within the samples, so that zeros that follow them change
        none. False: a frame for each hop, the samples reflected at both ends.
    energy_floor : float
        Least energy of a band, of samples up to 32768; Kaldi's is that of float32.

    Raises
    ------
    ValueError
        For a window that is not one of these, or frequencies out of range.

    Example
    -------
    >>> KaldiFbank(n_mels=80)(torch.rand(2, 16000)).shape
    torch.Size([2, 98, 80])
    """

    def __init__(
        self,
        sample_rate=16000,
        n_mels=80,
        f_min=20,
        f_max=None,
        win_length=25,
        hop_length=10,
        window="povey",
        preemphasis=0.97,
        remove_dc=True,
        dither=0.0,
        snip_edges=True,
        energy_floor=2**-23,
    ):
        super().__init__()
        f_max = sample_rate / 2 if f_max is None else f_max
        if window not in WINDOWS:
            raise ValueError(f"window is {window!r}; choose one of {list(WINDOWS)}")
        if not 0 <= f_min < f_max <= sample_rate / 2:
            raise ValueError(
                f"f_min is {f_min} Hz and f_max {f_max} Hz; expected 0 <= f_min < "
                f"f_max <= {sample_rate / 2:g} Hz, half of sample_rate"
            )
        self.size = int(sample_rate * win_length / 1000)
        self.hop = int(sample_rate * hop_length / 1000)
        self.n_fft = 2 ** (self.size - 1).bit_length()
        self.preemphasis, self.remove_dc = preemphasis, remove_dc
        self.dither, self.snip_edges = dither, snip_edges
        self.energy_floor = energy_floor
        filters, _ = get_mel_banks(
            n_mels, self.n_fft, sample_rate, f_min, f_max, 100.0, -500.0, 1.0
        )
        # Not saved: the arguments say what they are. They move with the module.
        filters = F.pad(filters, (0, 1)).T.contiguous()  # (frequencies, mels)
        self.register_buffer("filters", filters, persistent=False)
        self.register_buffer("window", WINDOWS[window](self.size), persistent=False)

    def frames(self, num_samples):
        """Frames of samples, where zeros that follow them make no difference."""
        if not self.snip_edges:
            return num_samples  # every number of samples gives other ones
        return 1 + (num_samples - self.size) * (num_samples > self.size) // self.hop

    @torch.no_grad()
    def forward(self, wav):
        """Log-mels (batch, frames, n_mels) of waveforms (batch, time) in -1..1.

        Waveforms shorter than a frame are filled with zeros.
        """
        # SpeechBrain's interfaces feed the device they were loaded on (see MeanNorm).
        wav = wav.to(self.window.device, torch.float32) * 32768
        if wav.shape[1] < self.size:
            wav = F.pad(wav, (0, self.size - wav.shape[1]))
        if self.dither and self.training:
            wav = wav + self.dither * torch.randn_like(wav)
        if not self.snip_edges:
            wav = self._reflected(wav)
        with torch.autocast(wav.device.type, enabled=False):
            sizes = self.window, self.hop, self.n_fft
            mels = mels_of(wav, *sizes, self.filters, self._emphasized)
            return mels.clamp_(min=self.energy_floor).log_()

    def _emphasized(self, frames):
        """Frames (..., frames, size), centered and pre-emphasized.

        In Kaldi's order: where a band has next to no energy, rounding counts.
        """
        if self.remove_dc:
            frames = frames - frames.mean(-1, keepdim=True)
        before = torch.cat([frames[..., :1], frames[..., :-1]], dim=-1)
        return before.mul_(-self.preemphasis).add_(frames)

    def _reflected(self, wav):
        """Samples such that the middle of each hop is that of a frame."""
        time = wav.shape[1]
        left = self.size // 2 - self.hop // 2
        hops = (time + self.hop // 2) // self.hop
        right = max((hops - 1) * self.hop + self.size - left - time, 0)
        mirrored = wav.flip(1)
        start = mirrored[:, time - left :] if left > 0 else wav[:, :0]
        return torch.cat([start, wav[:, max(-left, 0) :], mirrored[:, :right]], dim=1)
