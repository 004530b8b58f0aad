"""Audio of any kind into 16-bit mono WAV, once, in parallel."""

import importlib.util
import os
import wave
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile as sf
import soxr

from speechbrain_dino.data import mp3
from speechbrain_dino.data.audio_facts import QUIET, Facts, length_note, map_parallel
from speechbrain_dino.data.audio_source import (
    BadAudio,
    decoding,
    file_problem,
    is_for_av,
)
from speechbrain_dino.data.file_notes import Ledger
from speechbrain_dino.data.joined import parts_of
from speechbrain_dino.data.ogg import ogg_links
from speechbrain_dino.utils.files import replacing

AV_EXTENSIONS = (".m4a", ".aac", ".mp4", ".mka", ".webm", ".wma", ".amr", ".wv")
_BLOCK_SECONDS = 30
_VERSION = 3  # of what conversion gives: copies of an earlier one are made again
_AMPLIFIED = 0.5  # peak, of full scale, of what was below QUIET
_STEP = 1 / 32768
_TOLERANCE = 0.02  # by which a length may differ from the one declared
_DELAY = 4  # frames that encoders of MP3 add and decoders take off


class Conversion(NamedTuple):
    """What was converted."""

    rate: int  # Hz of the source
    notes: tuple  # of str, keys of ``checks.NOTES``


def convert(source, target, sample_rate=16000, channel=None):
    """Makes a 16-bit mono WAV of a file; ``target`` appears when it is complete.

    Audio with a peak below -40 dB or above full scale is scaled, as 16 bits would not
    hold it. As long as what was decoded, whatever length the file declares.

    Arguments
    ---------
    source : str or Path
        What libsndfile reads, or MP4, AAC, WebM, WMA, AMR (these need PyAV).
    target : str or Path
    sample_rate : int
        Rate to write, in Hz.
    channel : int, optional
        Channel to take, or the last one if there are fewer; the mean of all if None.

    Returns
    -------
    Conversion

    Raises
    ------
    BadAudio
        If the file cannot be decoded ("unreadable"), is not there ("missing"), may not
        be read ("denied"), is no regular file ("special"), has no audio ("empty") or
        samples that are not finite ("non_finite").
    OSError
        If the system fails, not the file: a full disk, too many open files.

    Example
    -------
    >>> folder = getfixture("tmp_path")
    >>> sf.write(folder / "a.flac", np.full((8000, 2), 0.25), 8000)
    >>> convert(folder / "a.flac", folder / "a.wav")
    Conversion(rate=8000, notes=())
    >>> sf.info(folder / "a.wav").frames, sf.info(folder / "a.wav").channels
    (16000, 1)
    """
    problem = file_problem(source)
    if problem:
        raise BadAudio(problem)
    notes = []
    try:
        with replacing(target) as draft:
            written = _write(draft, source, sample_rate, channel, 1.0)
            gain, note = gain_of(written.peak)
            if note:
                notes.append(note)
                written = _write(draft, source, sample_rate, channel, gain)
    except OSError as error:
        # Not every error of writing names the file.
        error.filename = error.filename or str(target)
        raise
    note = length_note(source)
    if note != "joined":
        declared = _declared_seconds(source)
        allowed = _TOLERANCE * written.seconds
        other = declared and abs(declared - written.seconds) > allowed
        note = "length" if other else note
    if note:
        notes.append(note)
    return Conversion(written.rate, tuple(notes))


class _Written(NamedTuple):
    rate: int  # Hz, of the source
    seconds: float
    peak: float  # of full scale


def _write(draft, source, sample_rate, channel, gain):
    """Decodes, resamples and writes a file once."""
    stream, rate, seconds, peak, written = None, 0, 0.0, 0.0, 0
    # Not by libsndfile, which does not say what kept it from writing.
    with wave.open(str(draft), "wb") as file:
        file.setparams((1, 2, sample_rate, 0, "NONE", None))

        def write(samples):
            nonlocal peak, written
            peak = max(peak, float(np.abs(samples).max(initial=0.0)))
            written += len(samples)
            file.writeframes(_int16(samples * gain).tobytes())

        last = np.zeros(0)
        for block, block_rate in _decoder(source)(source):
            if not np.isfinite(block).all():
                raise BadAudio("non_finite")
            if block_rate != rate:  # files that were joined may have several
                if stream is not None:
                    write(stream.resample_chunk(last, last=True))
                stream = soxr.ResampleStream(block_rate, sample_rate, 1, "float64")
                rate = block_rate
            column = None if channel is None else min(channel, block.shape[1] - 1)
            mono = block.mean(axis=1) if column is None else block[:, column]
            seconds += len(mono) / rate
            write(stream.resample_chunk(mono))
        if stream is None:
            raise BadAudio("empty")
        write(stream.resample_chunk(last, last=True))
    return _Written(rate, seconds, peak)


def _int16(samples):
    return np.clip(np.rint(samples * 32768), -32768, 32767).astype("<i2")


def gain_of(peak):
    """What to multiply by for 16 bits to hold the audio, and the note that says so."""
    if peak > 1 + _STEP:
        return 1 / peak, "loud"
    # Below a step or two nothing but noise of quantization would be amplified.
    if 1.5 * _STEP < peak < QUIET:
        return _AMPLIFIED / peak, "quiet"
    return 1.0, ""


def _decoder(source):
    return _decode_av if _needs_av(source) else _decode


def _needs_av(source):
    """By its name or, as names may be wrong, by what is in it."""
    named = os.path.splitext(source)[1].lower() in AV_EXTENSIONS
    try:
        return named or (not file_problem(source) and is_for_av(source))
    except BadAudio:
        return False  # decoding says why


def _decode(source):
    with decoding(source):
        if parts := parts_of(source):
            yield from _decode_pieces(parts)
            return
        with sf.SoundFile(source) as file:
            yield from _decode_file(source, file)


def _decode_file(source, file):
    if file.format == "MP3":
        yield from _decode_mp3(source, file)
        return
    if file.format == "OGG" and len(links := ogg_links(source)) > 1:
        yield from _decode_pieces(links)
        return
    read = 0
    for block in _blocks(file):
        read += len(block)
        yield block, file.samplerate
    if file.format == "FLAC" and read < file.frames:
        raise BadAudio("unreadable", f"{read} of {file.frames} samples")


def _blocks(file):
    """Not ``file.blocks``, which fills up what cannot be decoded."""
    size = _BLOCK_SECONDS * file.samplerate
    while len(block := file.read(size, dtype="float64", always_2d=True)):
        yield block


def _decode_mp3(source, file):
    data = Path(source).read_bytes()
    frames = mp3.audio_frames(data)
    samples = sum(frame.samples for frame in frames)
    slack = _TOLERANCE * samples + _DELAY * frames[0].samples if frames else 0
    if not frames or (mp3.is_whole(frames) and samples - file.frames <= slack):
        for block in _blocks(file):
            yield block, file.samplerate
        return
    yield from _decode_pieces(mp3.rebuilt(data, frames))


def _decode_pieces(files):
    for file in files:
        with sf.SoundFile(file) as piece:
            for block in _blocks(piece):
                yield block, piece.samplerate


def _decode_av(source):
    import av

    with decoding(source, av.error.FFmpegError, IndexError):
        for part in parts_of(source) or [str(source)]:
            yield from _av_blocks(av.open(part))


def _av_blocks(opened):
    with opened as container:
        for frame in container.decode(audio=0):
            samples = frame.to_ndarray()
            if not frame.format.is_planar:
                samples = samples.reshape(-1, frame.layout.nb_channels).T
            scale = 1.0 if samples.dtype.kind == "f" else -np.iinfo(samples.dtype).min
            yield samples.T.astype(np.float64) / scale, frame.sample_rate


def _declared_seconds(source):
    """The length that a file's header gives, 0 where it gives none."""
    if not _needs_av(source):
        info = sf.info(source)
        return info.frames / info.samplerate
    import av

    with av.open(str(source)) as container:
        if container.format.name == "aac":  # a stream without header: estimated
            return 0.0
        stream = container.streams.audio[0]
        return float((stream.duration or 0) * stream.time_base)


def require_av(sources):
    """Raises an ImportError with the remedy if a file needs PyAV and it is missing."""
    needy = [source for source in sources if _needs_av(source)]
    if needy and importlib.util.find_spec("av") is None:
        raise ImportError(
            f"{len(needy)} files, such as {needy[0]}, need PyAV to be read: "
            'pip install "speechbrain-dino[m4a]"'
        )


def _convert_job(job, sample_rate, channel):
    """The problem of a file, and what is noted of its conversion."""
    source, target = job
    try:
        rate, notes = convert(source, target, sample_rate, channel)
    except BadAudio as error:
        return str(error), None
    return "", [rate, ",".join(notes)]


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
    list of Facts
        Per job the ``problem``, "" if there is none; ``source_rate`` and ``notes``.

    Raises
    ------
    ImportError
        If PyAV is needed and missing.
    OSError
        As `convert`: the files that are finished stay.
    """
    settings = [sample_rate, channel, _VERSION]
    results = {}
    with Ledger(ledger) as notes:
        todo = []
        for source, target in jobs:
            noted = notes.get(source)
            done = noted and noted[:-2] == [target, *settings]
            if done and os.path.exists(target):
                results[source] = Facts(source_rate=noted[-2], notes=noted[-1])
            elif problem := file_problem(source):
                results[source] = Facts(problem=problem)
            else:
                todo.append((source, target))
        require_av(source for source, _ in todo)
        work = partial(_convert_job, sample_rate=sample_rate, channel=channel)
        fresh = map_parallel(work, todo, num_workers, "converting audio")
        for (source, target), (problem, about) in zip(todo, fresh):
            if problem:
                Path(target).unlink(missing_ok=True)
                results[source] = Facts(problem=problem)
            else:
                notes.put(source, [target, *settings, *about])
                results[source] = Facts(source_rate=about[0], notes=about[1])
    return [results[source] for source, _ in jobs]
