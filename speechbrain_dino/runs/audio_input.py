"""From a user's audio to embeddings: for the commands and the Python interface."""

import logging
import os
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
import torch
from speechbrain.utils.distributed import if_main_process

from speechbrain_dino.corpora.convert import gain_of
from speechbrain_dino.corpora.utterances import Found, find_audio
from speechbrain_dino.data.checks import LeftOut
from speechbrain_dino.data.manifest import Manifest
from speechbrain_dino.embeddings.bad_audio import ON_BAD, check_on_bad, first_failure
from speechbrain_dino.embeddings.cache import embed_to_folder
from speechbrain_dino.embeddings.extract import embed
from speechbrain_dino.embeddings.table import EmbeddingTable
from speechbrain_dino.utils.distributed import checked_device, on_main_first

logger = logging.getLogger(__name__)


class Embedded(NamedTuple):
    """Embeddings of a user's audio."""

    table: EmbeddingTable
    audio: Found

    def files(self):
        """ID -> the user's file, of all utterances, those that were left out last."""
        manifest = self.audio.manifest
        files = {manifest.ids[k]: self.audio.file_of(k) for k in range(len(manifest))}
        return files | {name: file for name, file, _ in self.audio.left_out}


def embed_audio(
    data,
    model,
    folder=None,
    data_root=None,
    on_bad="skip",
    channel="mix",
    sample_rate=16000,
    **options,
):
    """Embeds whatever a user gives.

    Arguments
    ---------
    data : str, path, Manifest, array, tensor, or a list of paths or of arrays
        What ``corpora.utterances.find_utterances`` reads, or waveforms at
        ``sample_rate``: (time,) or (batch, time), float in -1..1 or int16, named "0",
        "1" ...
    model : Pretrained
    folder : str or path, optional
        Where the table, converted audio and finished parts are kept; nowhere if None.
    data_root : str, optional
        What ``$data_root`` and relative paths in a CSV stand for.
    on_bad : str
        What becomes of files without usable audio: ``skip``, ``fail`` or ``keep``.
    channel : str
        What to take of several channels: ``mix``, ``left`` or ``right``.
    sample_rate : int
        In Hz.
    **options
        For ``embed_parts``.

    Returns
    -------
    Embedded

    Raises
    ------
    FileNotFoundError, ValueError
        If there is no such data or no usable audio; with ``fail`` at the first file
        without.
    """
    check_on_bad(on_bad)
    if on_bad is None:
        raise ValueError(f"on_bad is None; expected one of {', '.join(ON_BAD)}")
    checked_device(options.get("device"))
    if not 0 < sample_rate < 2**31:
        raise ValueError(f"sample_rate is {sample_rate}; expected a rate in Hz")
    options |= {"on_bad": on_bad, "channel": channel, "sample_rate": sample_rate}
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch if folder is None else folder) / "data"

        def find():
            if _is_waveforms(data):
                return write_waveforms(data, Path(scratch) / "waveforms", sample_rate)
            return find_audio(data, place, sample_rate, data_root, channel)

        audio = on_main_first(find)
        bad = {name: kind for name, _, kind in audio.left_out}
        if on_bad == "fail" and bad:
            raise ValueError(first_failure(bad))
        if folder is None:
            table = embed(audio.manifest, model.embedder, **options)
        else:
            parts = model.embedder, model.digest
            options |= {"left_out": audio.left_out, "file_of": audio.file_of}
            table = embed_to_folder(folder, audio.manifest, *parts, **options)
    table.status = bad | table.status
    result = Embedded(table, audio)
    if table.status and if_main_process():
        report(result)
    return result


def report(embedded):
    """Logs what was found wrong: per kind a number, a file, the remedy."""
    table, files = embedded.table, embedded.files()
    without = set(table.status) - set(table.ids)
    logger.warning(
        "%d utterances with bad audio, %d of them without embedding:\n%s",
        len(table.status),
        len(without),
        LeftOut.of((kind, files[name]) for name, kind in table.status.items()),
    )


def _is_waveforms(data):
    if isinstance(data, np.ndarray | torch.Tensor):
        return True
    is_list = isinstance(data, list | tuple) and len(data) > 0
    return is_list and all(isinstance(x, np.ndarray | torch.Tensor) for x in data)


def write_waveforms(waveforms, folder, sample_rate):
    """Writes arrays as files, so that they are checked and read as such.

    Arguments
    ---------
    waveforms : array, tensor, or list of these
        (time,), (batch, time), or a list of (time,); float in -1..1 or int16. Floats
        beyond that range, or with a peak below -40 dB, are scaled.
    folder : Path
        Made for the files.
    sample_rate : int
        In Hz.

    Returns
    -------
    Found
    """
    if not isinstance(waveforms, list | tuple):
        waveforms = [waveforms] if waveforms.ndim == 1 else list(waveforms)
    folder.mkdir(parents=True)
    rows, left_out = [], []
    for number, samples in enumerate(waveforms):
        if isinstance(samples, torch.Tensor):
            samples = samples.detach().cpu()
            # NumPy has no bfloat16.
            samples = (
                samples.float() if samples.is_floating_point() else samples
            ).numpy()
        if samples.ndim != 1 or samples.dtype.kind not in "fi":
            raise ValueError(
                f"a waveform of shape {samples.shape} and type {samples.dtype} was "
                "given: expected (time,), float in -1..1 or int16"
            )
        if samples.dtype.kind == "i" and samples.dtype != np.int16:
            raise ValueError(f"whole numbers of type {samples.dtype}: expected int16")
        wav = str(folder / f"{number}.wav")
        if not len(samples):
            left_out.append((str(number), wav, "empty"))
            continue
        subtype = "FLOAT" if samples.dtype.kind == "f" else "PCM_16"
        if subtype == "FLOAT":
            samples = _scaled(samples.astype(np.float32))
        soundfile.write(wav, samples, sample_rate, subtype=subtype)
        seconds = len(samples) / sample_rate
        row = {"ID": str(number), "duration": seconds, "wav": wav}
        rows.append(row | {"start": 0, "stop": len(samples)})
    if not rows:
        raise ValueError("no waveform holds a sample: there is nothing to embed")
    return Found(Manifest.from_rows(rows), left_out)


def _scaled(samples):
    """Audio that 16 bits would cut, or hold in a few steps, at another level."""
    peak = float(np.abs(samples).max())
    return samples * gain_of(peak)[0] if np.isfinite(peak) else samples


def check_writable(folder):
    """Makes a folder and tries to write there: before long work, not after it.

    Raises OSError if that cannot be.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(b"speech")
        file.flush()
    if not os.access(folder, os.W_OK):
        raise PermissionError(f"{folder} cannot be written to")
