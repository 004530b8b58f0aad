"""Noises as short pieces and impulse responses, held in memory on the device."""

import numpy as np
import pandas as pd
import scipy.fft
import soundfile as sf
import torch

from speechbrain_dino.audio import read_int16
from speechbrain_dino.progress import progress
from speechbrain_dino.randomness import BANK, generator


class NoiseBank(torch.nn.Module):
    """Short pieces of noise, so that a crop never waits for a whole file.

    Files longer than a piece give as many pieces as they have room for; shorter ones
    are repeated. Beyond ``max_hours`` a random part of the pieces is kept.

    Arguments
    ---------
    csv_file : str
        Noises in SpeechBrain's form (ID, duration, wav; ``kind`` as an option).
    kinds : tuple of str
        Kinds to hold.
    piece_seconds : float
        Length of a piece in seconds; longer crops repeat it.
    max_hours : float
        Most hours to hold (1 hour of 16 kHz speech takes 115 MB).
    sample_rate : int
        Sampling rate in Hz that the files must have.
    seed : int
        Chooses the part that is kept.
    """

    def __init__(
        self,
        csv_file,
        kinds=("noise", "music", "speech"),
        piece_seconds=5.0,
        max_hours=5.0,
        sample_rate=16000,
        seed=0,
    ):
        super().__init__()
        self.samples = round(piece_seconds * sample_rate)
        table = _read_csv(csv_file)
        if "kind" not in table:
            table["kind"] = "noise"
        table = table[table["kind"].isin(kinds)]
        if table.empty:
            raise ValueError(
                f"{csv_file} names no noise of the kinds {kinds}: check noise_folder."
            )
        spans = self._spans(table, sample_rate)
        most = max(int(max_hours * 3600 / piece_seconds), 1)
        if len(spans) > most:
            kept = generator(seed, BANK).choice(len(spans), most, replace=False)
            spans = [spans[i] for i in np.sort(kept)]
        spans.sort(key=lambda span: kinds.index(span[0]))
        self.kinds, self._first, self._count = {}, [], []
        for kind in dict.fromkeys(span[0] for span in spans):
            members = [i for i, span in enumerate(spans) if span[0] == kind]
            self.kinds[kind] = len(self.kinds)
            self._first.append(members[0])
            self._count.append(len(members))
        pieces = np.empty((len(spans), self.samples), dtype=np.int16)
        for row, (_, wav, start, stop) in enumerate(
            progress(spans, desc="Reading noises", unit="piece")
        ):
            pieces[row] = np.resize(read_int16(wav, start, stop), self.samples)
        self.register_buffer("pieces", torch.from_numpy(pieces), persistent=False)

    def _spans(self, table, sample_rate):
        spans = []
        for kind, wav in zip(table["kind"], table["wav"]):
            info = _checked_info(wav, sample_rate)
            for start in range(0, max(info.frames - self.samples, 0) + 1, self.samples):
                stop = min(start + self.samples, info.frames)
                spans.append((kind, wav, start, stop))
        return spans

    def __len__(self):
        return len(self.pieces)

    def range_of(self, kinds):
        """First piece and number of pieces of each of ``kinds``, ``(rows,)`` each."""
        number = [self.kinds[kind] for kind in kinds]
        return np.array(self._first)[number], np.array(self._count)[number]

    def cut(self, pieces, begins, weights, length, device):
        """Adds up stretches of pieces, wrapping at a piece's end.

        Arguments
        ---------
        pieces : np.ndarray
            Which pieces, ``(rows, voices)``.
        begins : np.ndarray
            Where to begin, as a share of the piece, ``(rows, voices)``.
        weights : np.ndarray
            1 where a voice is used, else 0, ``(rows, voices)``.
        length : int
            Samples to cut.
        device : torch.device
            Where the result is needed.

        Returns
        -------
        torch.Tensor
            Noise, float32 ``(rows, length)``.
        """
        if self.pieces.device != device:
            self.to(device)
        begins = (begins * self.samples).astype(np.int64)
        noise = torch.zeros(len(pieces), length, device=device)
        steps = torch.arange(length, device=device)
        for voice in range(pieces.shape[1]):
            which = torch.from_numpy(pieces[:, voice]).to(device)
            begin = torch.from_numpy(begins[:, voice]).to(device)
            weight = torch.from_numpy(weights[:, voice]).to(device)
            at = (begin[:, None] + steps) % self.samples
            # Voices of equal loudness: recordings differ by tens of dB.
            heard = self.pieces[which[:, None], at].float() / 32768
            loudness = heard.square().mean(dim=1, keepdim=True).clamp(min=1e-12).sqrt()
            noise += weight[:, None] * heard / loudness
        return noise


class RoomBank(torch.nn.Module):
    """Room impulse responses of one length, and convolution with them.

    Arguments
    ---------
    csv_file : str
        Impulse responses in SpeechBrain's form (ID, duration, wav).
    max_seconds : float
        Longer responses are cut; their tails are far below the speech.
    sample_rate : int
        Sampling rate in Hz that the files must have.
    """

    def __init__(self, csv_file, max_seconds=0.5, sample_rate=16000):
        super().__init__()
        table = _read_csv(csv_file)
        rooms = [self._read(wav, max_seconds, sample_rate) for wav in table["wav"]]
        width = max(len(response) for response, _ in rooms)
        responses = np.zeros((len(rooms), width), dtype=np.float32)
        for row, (response, _) in zip(responses, rooms):
            row[: len(response)] = response
        self.direct = np.array([direct for _, direct in rooms])
        self.register_buffer("responses", torch.from_numpy(responses), persistent=False)

    @staticmethod
    def _read(wav, max_seconds, sample_rate):
        info = _checked_info(wav, sample_rate)
        response = read_int16(wav, 0, info.frames).astype(np.float32)
        direct = int(np.abs(response).argmax())
        response = response[: direct + round(max_seconds * sample_rate)]
        energy = np.sqrt(np.square(response).sum())
        if energy == 0:
            raise ValueError(f"{wav} is silent: remove it from the impulse responses.")
        return response / energy, direct

    def __len__(self):
        return len(self.responses)

    def convolve(self, waveforms, rooms):
        """Convolves each waveform with a room, its direct sound kept in place.

        Arguments
        ---------
        waveforms : torch.Tensor
            Speech ``(batch, time)``.
        rooms : np.ndarray
            Which response for each waveform, ``(batch,)``.

        Returns
        -------
        torch.Tensor
            Same shape as ``waveforms``.
        """
        device = waveforms.device
        if self.responses.device != device:
            self.to(device)
        time = waveforms.shape[1]
        size = scipy.fft.next_fast_len(time + self.responses.shape[1] - 1, real=True)
        responses = self.responses[torch.from_numpy(rooms).to(device)]
        spectrum = torch.fft.rfft(waveforms, size) * torch.fft.rfft(responses, size)
        wet = torch.fft.irfft(spectrum, size)
        direct = torch.from_numpy(self.direct[rooms]).to(device)
        at = direct[:, None] + torch.arange(time, device=device)
        return wet.gather(1, at)


def _read_csv(csv_file):
    table = pd.read_csv(csv_file, dtype={"ID": str, "wav": str})
    if table.empty:
        raise ValueError(
            f"{csv_file} names no file: check noise_folder and rir_folder."
        )
    return table


def _checked_info(wav, sample_rate):
    info = sf.info(wav)
    if info.samplerate != sample_rate:
        raise ValueError(
            f"{wav} has {info.samplerate} Hz, {sample_rate} Hz was expected: run "
            "prepare_noise_rir, which resamples, or resample it."
        )
    return info
