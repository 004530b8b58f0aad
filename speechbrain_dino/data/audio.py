"""Reading speech as 16-bit samples, the form in which it travels to the device."""

import numpy as np
import soundfile as sf

_FLOAT_SUBTYPES = ("FLOAT", "DOUBLE")
CHANNELS = {"mix": None, "left": 0, "right": 1}
"""What is made of several channels: their mean, or one of them by number."""


def read_int16(wav, start=0, stop=None, channel=None, finite=False):
    """Reads samples ``start`` to ``stop`` of an audio file, int16 ``(time,)``, mono.

    Any file that libsndfile reads; to its end if ``stop`` is None. Floating-point files
    are scaled by 32768 (libsndfile would cut every sample to zero). Of several channels
    the mean, or the one with the number ``channel``, the last where there are fewer.

    Raises
    ------
    ValueError
        If the file cannot be read, or ends before ``start`` or ``stop``; with
        ``finite``, "non_finite" at NaN or infinite samples.

    Example
    -------
    >>> path = getfixture("tmp_path") / "a.wav"
    >>> sf.write(path, np.arange(8, dtype=np.int16), 16000)
    >>> read_int16(path, 2, 5)
    array([2, 3, 4], dtype=int16)
    """
    try:
        samples = _read(wav, start, stop, finite)
    except sf.LibsndfileError as error:
        raise ValueError(
            f"{wav} cannot be read ({error}): it is missing or damaged. Repair or "
            "remove it and prepare the data again."
        ) from error
    if samples.ndim == 2:
        if channel is not None:
            return np.ascontiguousarray(samples[:, min(channel, samples.shape[1] - 1)])
        samples = np.rint(samples.mean(axis=1)).astype(np.int16)
    return samples


def _read(wav, start, stop, finite):
    with sf.SoundFile(str(wav)) as file:
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


def read_span(utterance, lo, hi, channel=None, finite=False):
    """Reads samples ``lo`` to ``hi`` of an utterance's speech, int16, in one go.

    Positions count the samples that the voice activity detector kept; without its
    runs they count the samples from the utterance's start. The rest, and what is
    raised, as for `read_int16`.
    """
    if utterance.speech is None:
        lo, hi = utterance.start + lo, utterance.start + hi
        return read_int16(utterance.wav, lo, hi, channel=channel, finite=finite)
    runs = np.asarray(utterance.speech)
    begin = np.concatenate(([0], np.cumsum(runs[:, 1] - runs[:, 0])))
    first = np.searchsorted(begin, lo, side="right") - 1
    last = np.searchsorted(begin, hi, side="left") - 1
    file_lo = runs[first, 0] + lo - begin[first]
    file_hi = runs[last, 0] + hi - begin[last]
    samples = read_int16(
        utterance.wav, file_lo, file_hi, channel=channel, finite=finite
    )
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
