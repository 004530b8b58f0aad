"""Reading speech as 16-bit samples, the form in which it travels to the device."""

import numpy as np
import soundfile as sf

from speechbrain_dino.data.audio_source import BadAudio, decoding, file_problem

_FLOAT_SUBTYPES = ("FLOAT", "DOUBLE")
CHANNELS = {"mix": None, "left": 0, "right": 1}
"""What is made of several channels: their mean, or one of them by number."""

_WHY = {
    "missing": "missing",
    "denied": "not yours to read",
    "special": "no regular file",
    "name": "not a name that a file can have",
    "unreadable": "damaged",
}


def read_int16(wav, start=0, stop=None, channel=None, finite=False, sample_rate=None):
    """Reads samples ``start`` to ``stop`` of an audio file, int16 ``(time,)``, mono.

    Any file that libsndfile reads; to its end if ``stop`` is None. Floating-point files
    are scaled by 32768 (libsndfile would cut every sample to zero). Of several channels
    the mean, or the one with the number ``channel``, the last where there are fewer.

    Raises
    ------
    ValueError
        If the file cannot be read, ends before ``start`` or ``stop``, or has another
        rate than ``sample_rate`` (Hz), where that is given; with ``finite``,
        "non_finite" at NaN or infinite samples.
    OSError
        If the system fails, not the file: too many open files, a failing disk.

    Example
    -------
    >>> path = getfixture("tmp_path") / "a.wav"
    >>> sf.write(path, np.arange(8, dtype=np.int16), 16000)
    >>> read_int16(path, 2, 5)
    array([2, 3, 4], dtype=int16)
    """
    try:
        # A FIFO or a device could be waited for without end.
        problem = file_problem(wav)
        if problem:
            raise BadAudio(problem, problem)
        with decoding(wav):
            samples = _read(wav, start, stop, finite, sample_rate)
    except BadAudio as error:
        why = _WHY[str(error)]
        raise ValueError(
            f"{wav} cannot be read ({error.detail}): it is {why}. Repair or remove it "
            "and prepare the data again."
        ) from error
    if samples.ndim == 2:
        if channel is not None:
            return np.ascontiguousarray(samples[:, min(channel, samples.shape[1] - 1)])
        samples = np.rint(samples.mean(axis=1)).astype(np.int16)
    return samples


def _read(wav, start, stop, finite, sample_rate):
    with sf.SoundFile(str(wav)) as file:
        if sample_rate not in (None, file.samplerate):
            raise ValueError(
                f"{wav} has {file.samplerate} Hz, {sample_rate} Hz were expected: "
                "prepare the data for this rate; what a manifest names is converted by "
                "speechbrain_dino.corpora.usable.usable_utterances"
            )
        stop = file.frames if stop is None else stop
        if max(start, stop) > file.frames:
            raise ValueError(_shortened(wav, file.frames, max(start, stop)))
        if start:
            file.seek(start)
        if file.subtype in _FLOAT_SUBTYPES:
            scaled = file.read(stop - start, dtype="float32") * 32768.0
            if finite and not np.isfinite(scaled).all():
                raise ValueError("non_finite")
            samples = np.clip(np.rint(scaled), -32768, 32767).astype(np.int16)
        else:
            samples = file.read(stop - start, dtype="int16")
    if len(samples) != stop - start:
        raise ValueError(_shortened(wav, start + len(samples), stop))
    return samples


def _shortened(wav, frames, expected):
    return (
        f"{wav} holds {frames} samples, {expected} were expected: the file changed "
        "after the manifest was written. Prepare the data again (remove the save "
        "folder's train.csv)."
    )


def read_span(utterance, lo, hi, **options):
    """Reads samples ``lo`` to ``hi`` of an utterance's speech, int16, in one go.

    Positions count the samples that the voice activity detector kept; without its
    runs they count the samples from the utterance's start. The options (channel,
    finite, sample_rate), and what is raised, as for `read_int16`.
    """
    if utterance.speech is None:
        lo, hi = utterance.start + lo, utterance.start + hi
        return read_int16(utterance.wav, lo, hi, **options)
    runs = np.asarray(utterance.speech)
    begin = np.concatenate(([0], np.cumsum(runs[:, 1] - runs[:, 0])))
    first = np.searchsorted(begin, lo, side="right") - 1
    last = np.searchsorted(begin, hi, side="left") - 1
    file_lo = runs[first, 0] + lo - begin[first]
    file_hi = runs[last, 0] + hi - begin[last]
    samples = read_int16(utterance.wav, file_lo, file_hi, **options)
    if first == last:
        return samples
    pieces = [
        samples[max(start - file_lo, 0) : stop - file_lo]
        for start, stop in runs[first : last + 1]
    ]
    return np.concatenate(pieces)


def read_utterance(utterance):
    """Reads the whole speech of an utterance, int16 ``(time,)``."""
    if utterance.speech is None:
        return read_int16(utterance.wav, utterance.start, utterance.stop)
    runs = np.asarray(utterance.speech)
    return read_span(utterance, 0, int((runs[:, 1] - runs[:, 0]).sum()))
