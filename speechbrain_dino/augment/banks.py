"""Noises as short pieces and impulse responses, held in memory on the device."""

import logging

import numpy as np
import pandas as pd
import scipy.fft
import soundfile as sf
import torch
from speechbrain.utils.distributed import if_main_process

from speechbrain_dino.augment.draws import on_device, power
from speechbrain_dino.data.audio import read_int16
from speechbrain_dino.utils.progress import progress
from speechbrain_dino.utils.randomness import BANK, generator

logger = logging.getLogger(__name__)

_LEAD_SECONDS = 0.05
_HOURS_ON_GPU, _HOURS_ON_CPU = 20.0, 5.0


def default_hours():
    """Hours of noise that are held where nothing else is said: 20 with a GPU, else 5.

    Runs keep the number with their values, so that they go on with it anywhere.
    """
    return _HOURS_ON_GPU if torch.cuda.is_available() else _HOURS_ON_CPU


class NoiseBank(torch.nn.Module):
    """Short pieces of noise, so that a crop never waits for a whole file.

    Files longer than a piece are divided, shorter ones repeated. Beyond ``max_hours`` a
    random part is kept, evenly over the kinds as far as there are enough; the log says
    which share of the noise that is.

    Arguments
    ---------
    csv_file, kinds : str, tuple of str
        Noises in SpeechBrain's form (ID, duration, wav; ``kind``), and kinds to hold.
    piece_seconds, max_hours : float
        Length of a piece, repeated for longer crops; one hour takes 115 MB at 16 kHz.
        None: 20 hours where there is a CUDA GPU, else 5.
    sample_rate, seed : int
        Rate in Hz that the files must have; choice of the pieces that are kept.
    """

    def __init__(
        self,
        csv_file,
        kinds=("noise", "music", "speech"),
        piece_seconds=5.0,
        max_hours=None,
        sample_rate=16000,
        seed=0,
    ):
        super().__init__()
        if max_hours is None:
            max_hours = default_hours()
        self.samples = round(piece_seconds * sample_rate)
        table = _read_csv(csv_file)
        table = table[table["kind"].isin(kinds)]
        if table.empty:
            raise ValueError(
                f"{csv_file} names no noise of the kinds {kinds}: check noise_folder."
            )
        rng = generator(seed, BANK)
        spans = {
            kind: self._spans(table.loc[table["kind"] == kind, "wav"], sample_rate)
            for kind in kinds
        }
        offered = spans
        spans = _evenly(spans, max(int(max_hours * 3600 / piece_seconds), 1), rng)
        self.kinds = list(spans)
        if if_main_process():
            logger.info("%s", _hours_held(offered, spans, sample_rate))
        self.count = np.array([len(spans[kind]) for kind in self.kinds])
        self.first = np.cumsum(self.count) - self.count
        spans = [span for members in spans.values() for span in members]
        pieces = np.empty((len(spans), self.samples), dtype=np.int16)
        for row, (wav, start, stop) in enumerate(
            progress(spans, desc="Reading noises", unit="piece")
        ):
            pieces[row] = np.resize(read_int16(wav, start, stop), self.samples)
        self.register_buffer("pieces", torch.from_numpy(pieces), persistent=False)

    def _spans(self, wavs, sample_rate):
        spans = []
        for wav in wavs:
            frames = _checked_info(wav, sample_rate).frames
            for start in range(0, max(frames - self.samples, 0) + 1, self.samples):
                spans.append((wav, start, min(start + self.samples, frames)))
        return spans

    def __len__(self):
        return len(self.pieces)

    def cut(self, pieces, begins, use, length, device):
        """Sum of stretches of pieces, float32 ``(rows, length)``.

        A stretch wraps at its piece's end. Piece numbers, ``begins`` (share of a piece)
        and ``use`` (bool, the voices to add up) are ``(rows, voices)``.
        """
        if self.pieces.device != device:
            self.to(device)
        begins = (begins * self.samples).astype(np.int64)
        noise = torch.zeros(len(pieces), length, device=device)
        for voice in np.flatnonzero(use.any(axis=0)):
            rows = np.flatnonzero(use[:, voice])
            chosen = pieces[rows, voice], begins[rows, voice]
            voices = self._stretches(*chosen, length) / 32768
            # Voices of equal loudness: recordings differ by tens of dB.
            loudness = power(voices).clamp(min=1e-12).sqrt()
            noise.index_add_(0, on_device(rows, device), voices / loudness)
        return noise

    def _stretches(self, pieces, begins, length):
        """Samples from ``begins`` of pieces (rows,) on, float32 (rows, length)."""
        device = self.pieces.device
        if device.type != "cpu":
            steps = torch.arange(length, device=device)
            at = (on_device(begins, device)[:, None] + steps) % self.samples
            return self.pieces[on_device(pieces, device)[:, None], at].float()
        # Copies of whole stretches: an index for each sample costs ten times as much.
        stretches = torch.empty(len(pieces), length)
        for row, piece, begin in zip(stretches, pieces, begins):
            done = 0
            while done < length:
                taken = self.pieces[piece, begin : begin + length - done]
                row[done : done + len(taken)] = taken
                done, begin = done + len(taken), 0
        return stretches


class RoomBank(torch.nn.Module):
    """Room impulse responses of one length, and convolution with them.

    Arguments
    ---------
    csv_file : str
        Impulse responses in SpeechBrain's form (ID, duration, wav).
    max_seconds : float
        Longer responses are cut; their tails are far below the speech.
    max_rooms : int
        Most responses to hold, a random part if there are more (RIRS_NOISES has 60000);
        10000 take about 350 MB.
    sample_rate, seed : int
        Rate in Hz that the files must have; choice of the responses that are kept.
    kinds : sequence of str, optional
        Kinds to hold, by the CSV's column ``kind``, as even in number as there are
        rooms. None, or of which the CSV has none: all, as one kind.
    """

    def __init__(
        self,
        csv_file,
        max_seconds=0.5,
        max_rooms=10000,
        sample_rate=16000,
        seed=0,
        kinds=None,
    ):
        super().__init__()
        table = _read_csv(csv_file)
        wavs = {kind: list(table["wav"][table["kind"] == kind]) for kind in kinds or ()}
        if not any(wavs.values()):
            wavs = {"room": list(table["wav"])}
        wavs = _evenly(wavs, max_rooms, generator(seed, BANK))
        self.kinds = list(wavs)
        self.count = np.array([len(wavs[kind]) for kind in self.kinds])
        self.first = np.cumsum(self.count) - self.count
        wavs = [wav for members in wavs.values() for wav in members]
        rooms = [
            self._read(wav, max_seconds, sample_rate)
            for wav in progress(wavs, desc="Reading impulse responses", unit="room")
        ]
        width = max(len(response) for response, _ in rooms)
        responses = np.zeros((len(rooms), width), dtype=np.float32)
        for row, (response, _) in zip(responses, rooms):
            row[: len(response)] = response
        self.direct = np.array([direct for _, direct in rooms])
        self.register_buffer("responses", torch.from_numpy(responses), persistent=False)

    @staticmethod
    def _read(wav, max_seconds, sample_rate):
        _checked_info(wav, sample_rate)
        # Not as 16-bit samples: responses may exceed 1, and their tails are faint.
        response = sf.read(wav, dtype="float32", always_2d=True)[0][:, 0]
        direct = int(np.abs(response).argmax())
        # What comes long before the loudest sample is the recording's noise.
        begin = max(direct - round(_LEAD_SECONDS * sample_rate), 0)
        response = response[begin : direct + round(max_seconds * sample_rate)]
        energy = np.sqrt(np.square(response, dtype=np.float64).sum())
        if energy == 0:
            raise ValueError(f"{wav} is silent: remove it from the impulse responses.")
        return response / np.float32(energy), direct - begin

    def __len__(self):
        return len(self.responses)

    def convolve(self, waveforms, rooms):
        """Convolves ``(batch, time)`` by rooms ``(batch,)``; direct sound in place."""
        device = waveforms.device
        if self.responses.device != device:
            self.to(device)
        time = waveforms.shape[1]
        size = scipy.fft.next_fast_len(time + self.responses.shape[1] - 1, real=True)
        responses = self.responses[on_device(rooms, device)]
        spectrum = torch.fft.rfft(waveforms, size) * torch.fft.rfft(responses, size)
        wet = torch.fft.irfft(spectrum, size)
        direct = self.direct[rooms]
        if device.type == "cpu":
            return torch.stack([row[d : d + time] for row, d in zip(wet, direct)])
        at = on_device(direct, device)[:, None] + torch.arange(time, device=device)
        return wet.gather(1, at)


def _evenly(spans, most, rng):
    """At most ``most`` spans, shared evenly by the kinds that have any."""
    kept = {}
    present = [kind for kind in spans if spans[kind]]
    for number, kind in enumerate(sorted(present, key=lambda kind: len(spans[kind]))):
        # At least one of a kind, even in the smallest bank.
        share = max((most - sum(map(len, kept.values()))) // (len(present) - number), 1)
        members = spans[kind]
        if len(members) > share:
            chosen = rng.choice(len(members), share, replace=False)
            members = [members[i] for i in np.sort(chosen)]
        kept[kind] = members
    return {kind: kept[kind] for kind in present}


def _hours_held(offered, kept, sample_rate):
    def hours(spans):
        return sum(stop - start for _, start, stop in spans) / sample_rate / 3600

    pairs = {kind: (hours(kept[kind]), hours(offered[kind])) for kind in kept}
    held, whole = (sum(pair) for pair in zip(*pairs.values()))
    by_kind = (f"{kind} {a:.3g} of {b:.3g}" for kind, (a, b) in pairs.items())
    return (
        f"{held:.3g} of {whole:.3g} hours of noise are held to augment with, "
        f"{held / max(whole, 1e-9):.0%}: {', '.join(by_kind)}"
    )


def _read_csv(csv_file):
    table = pd.read_csv(csv_file, dtype={"ID": str, "wav": str})
    if table.empty:
        raise ValueError(
            f"{csv_file} names no file: check noise_folder and rir_folder."
        )
    return table if "kind" in table else table.assign(kind="noise")


def _checked_info(wav, sample_rate):
    info = sf.info(wav)
    if info.samplerate != sample_rate:
        raise ValueError(
            f"{wav} has {info.samplerate} Hz, {sample_rate} Hz was expected: run "
            "prepare_noise_rir, which resamples, or resample it."
        )
    return info
