"""Audio of any kind into 16-bit mono WAV, once, in parallel."""

import importlib.util
import os
from functools import partial
from pathlib import Path

import numpy as np
import soundfile as sf
import soxr

from speechbrain_dino.data.audio_facts import map_parallel
from speechbrain_dino.data.file_notes import Ledger
from speechbrain_dino.utils.files import replacing

AV_EXTENSIONS = (".m4a", ".aac", ".mp4")
_BLOCK_SECONDS = 30


def convert(source, target, sample_rate=16000, channel=None):
    """Makes a 16-bit mono WAV of a file; ``target`` appears when it is complete.

    Arguments
    ---------
    source : str or Path
        What libsndfile reads, or m4a, aac, mp4 (these need PyAV).
    target : str or Path
    sample_rate : int
        Rate to write, in Hz.
    channel : int, optional
        Channel to take, or the last one if there are fewer; the mean of all if None.

    Raises
    ------
    ValueError
        If the file has no audio ("empty") or samples that are not finite
        ("non_finite"); the message is that kind.

    Example
    -------
    >>> folder = getfixture("tmp_path")
    >>> sf.write(folder / "a.flac", np.zeros((8000, 2)), 8000)
    >>> convert(folder / "a.flac", folder / "a.wav")
    >>> sf.info(folder / "a.wav").frames, sf.info(folder / "a.wav").channels
    (16000, 1)
    """
    extension = os.path.splitext(source)[1].lower()
    blocks = _decode_av if extension in AV_EXTENSIONS else _decode
    with (
        replacing(target) as draft,
        sf.SoundFile(
            draft, "w", sample_rate, 1, subtype="PCM_16", format="WAV"
        ) as file,
    ):
        stream = None
        for block, rate in blocks(source):
            if not np.isfinite(block).all():
                raise ValueError("non_finite")
            column = None if channel is None else min(channel, block.shape[1] - 1)
            mono = block.mean(axis=1) if column is None else block[:, column]
            stream = stream or soxr.ResampleStream(rate, sample_rate, 1, "float64")
            file.write(_int16(stream.resample_chunk(mono)))
        if stream is None:
            raise ValueError("empty")
        file.write(_int16(stream.resample_chunk(np.zeros(0), last=True)))


def _int16(samples):
    return np.clip(np.rint(samples * 32768), -32768, 32767).astype(np.int16)


def _decode(source):
    with sf.SoundFile(source) as file:
        size = _BLOCK_SECONDS * file.samplerate
        for block in file.blocks(size, dtype="float64", always_2d=True):
            yield block, file.samplerate


def _decode_av(source):
    import av

    with av.open(str(source)) as container:
        for frame in container.decode(audio=0):
            samples = frame.to_ndarray()
            if not frame.format.is_planar:
                samples = samples.reshape(-1, frame.layout.nb_channels).T
            scale = 1.0 if samples.dtype.kind == "f" else -np.iinfo(samples.dtype).min
            yield samples.T.astype(np.float64) / scale, frame.sample_rate


def require_av(sources):
    """Raises an ImportError with the remedy if a file needs PyAV and it is missing."""
    needy = [s for s in sources if os.path.splitext(s)[1].lower() in AV_EXTENSIONS]
    if needy and importlib.util.find_spec("av") is None:
        raise ImportError(
            f"{len(needy)} files, such as {needy[0]}, are AAC, which needs PyAV: "
            'pip install "speechbrain-dino[m4a]"'
        )


def _convert_job(job, sample_rate, channel):
    source, target = job
    try:
        convert(source, target, sample_rate, channel)
    except ValueError as error:
        named = str(error) in ("empty", "non_finite")
        return str(error) if named else "unreadable"
    except (sf.SoundFileError, OSError, EOFError, IndexError):
        # PyAV's errors are OSError, ValueError or EOFError; IndexError: no audio track.
        return "unreadable"
    return ""


def convert_all(jobs, ledger, sample_rate=16000, channel=None, num_workers=None):
    """Converts files in parallel; what an earlier run has done is not done again.

    Arguments
    ---------
    jobs : list of tuple
        (source, target), paths as str.
    ledger : str or Path
        File in which finished conversions are noted.
    sample_rate, channel
        As for `convert`.
    num_workers : int, optional
        Number of processes, one per processor if None.

    Returns
    -------
    list of str
        Per job "", or "missing", "empty", "unreadable", "non_finite".

    Raises
    ------
    ImportError
        If PyAV is needed and missing.
    """
    settings = [sample_rate, channel]
    problems = {}
    with Ledger(ledger) as notes:
        todo = []
        for source, target in jobs:
            done = [target, *settings]
            if notes.get(source) == done and os.path.exists(target):
                problems[source] = ""
            elif not os.path.exists(source):
                problems[source] = "missing"
            else:
                todo.append((source, target))
        require_av(source for source, _ in todo)
        work = partial(_convert_job, sample_rate=sample_rate, channel=channel)
        fresh = map_parallel(work, todo, num_workers, "converting audio")
        for (source, target), problem in zip(todo, fresh):
            problems[source] = problem
            if not problem:
                notes.put(source, [target, *settings])
            else:
                Path(target).unlink(missing_ok=True)
    return [problems[source] for source, _ in jobs]
