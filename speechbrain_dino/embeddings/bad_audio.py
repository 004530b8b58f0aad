"""Audio that gives no embedding worth the name: found while it is read."""

import logging

import numpy as np

from speechbrain_dino.data.audio import CHANNELS, read_span
from speechbrain_dino.data.audio_facts import inspect, is_silent
from speechbrain_dino.data.checks import MIN_SECONDS, REMEDIES, LeftOut

logger = logging.getLogger(__name__)

ON_BAD = ("skip", "fail", "keep")
"""What to do with bad audio: leave it out, stop, embed what can be embedded."""

OVERFLOW = "overflow"


def check_on_bad(on_bad):
    """Raises ValueError unless ``on_bad`` is one of `ON_BAD`, or None."""
    if on_bad is not None and on_bad not in ON_BAD:
        raise ValueError(f"on_bad is {on_bad!r}; expected one of {', '.join(ON_BAD)}")


class Reader:
    """Reads and checks stretches of utterances.

    Arguments
    ---------
    manifest : Manifest
    sample_rate : int
        In Hz.
    on_bad : str or None
        One of `ON_BAD`; None looks for nothing and lets errors pass.
    channel : str
        What to take of several channels, one of `CHANNELS`.
    """

    def __init__(self, manifest, sample_rate, on_bad, channel):
        if channel not in CHANNELS:
            raise ValueError(
                f"channel is {channel!r}; expected one of {', '.join(CHANNELS)}"
            )
        self.manifest, self.on_bad = manifest, on_bad
        self._how = {"channel": CHANNELS[channel], "sample_rate": sample_rate}
        self._min_samples = round(MIN_SECONDS * sample_rate)

    def read(self, row, lo, hi):
        """Samples ``lo`` to ``hi`` of a row's speech, int16, or None, and the problem.

        Without a problem that is ""; ``keep`` gives both where there are samples.
        Raises ValueError if there is a problem and ``on_bad`` is ``fail`` or None.
        """
        utterance = self.manifest[row]
        if self.on_bad is None:
            try:
                return read_span(utterance, lo, hi, **self._how), ""
            except ValueError as error:
                raise ValueError(f"utterance {utterance.id!r}: {error}") from error
        try:
            signal = read_span(utterance, lo, hi, finite=True, **self._how)
        except ValueError as error:
            return None, self.problem(row, _kind(error, utterance, self._how))
        if len(signal) < self._min_samples:
            problem = self.problem(row, "too_short")
        elif is_silent(signal.min(), signal.max()):
            problem = self.problem(row, "silent", windowed=(lo, hi))
        else:
            return signal, ""
        return (signal if self.on_bad == "keep" else None), problem

    def problem(self, row, kind, windowed=None):
        """Returns the kind; raises ValueError instead where ``on_bad`` is ``fail``."""
        # A silent window does not make a longer recording silent.
        whole = windowed is None or windowed == (0, int(self.manifest.lengths[row]))
        if self.on_bad == "fail" and whole:
            utterance = self.manifest[row]
            raise ValueError(bad_audio(utterance.id, utterance.wav, kind))
        return kind


def bad_audio(name, wav, kind):
    """The message on an utterance that cannot be embedded."""
    return (
        f"the audio of {name!r} is bad ({kind}): {wav}. Remedy: {REMEDIES[kind]}; or "
        "on_bad: skip leaves such utterances out and names them"
    )


def first_failure(status):
    """The message on a table of which some audio is bad: name -> kind."""
    name, kind = next(iter(status.items()))
    return (
        f"the audio of {len(status)} utterances is bad, such as that of {name!r} "
        f"({kind}). Remedy: {REMEDIES[kind]}; or on_bad: skip leaves such utterances "
        "out and names them"
    )


def report_left_out(left_out, on_bad):
    """Logs the files, (ID, file, kind), whose audio is bad; ``fail``: ValueError."""
    if not left_out:
        return
    if on_bad == "fail":
        raise ValueError(first_failure({name: kind for name, _, kind in left_out}))
    counts = LeftOut.of((kind, file) for _, file, kind in left_out)
    logger.warning("%d utterances are left out:\n%s", len(left_out), counts)


def no_embedding(trials, status, kept):
    """The message on trials that were not ``kept``, bool (M,), as audio is bad."""
    first = np.flatnonzero(~kept)[0]
    sides = trials.enrol[first], trials.test[first]
    name = next(side for side in sides if side in status)
    return (
        f"{trials.path}: {(~kept).sum()} of {len(kept)} trials name utterances without "
        f"embedding, such as {name!r}, whose audio is bad ({status[name]}). Remedy: "
        f"{REMEDIES[status[name]]}; or on_bad: skip leaves these trials out"
    )


def _kind(error, utterance, how):
    """Which of the kinds of bad audio an error of reading stands for."""
    if str(error) in REMEDIES:
        return str(error)
    facts = inspect((utterance.wav, False, False))
    if not facts.problem and facts.rate != how["sample_rate"]:
        return "wrong_rate"
    if not facts.problem and utterance.stop > facts.frames:
        return "past_end"
    return facts.problem or "unreadable"


def of_utterances(problems, owner):
    """What is wrong with utterances, of what is wrong with their pieces.

    Pieces that are only silent are no problem of an utterance in which others are not;
    one that cannot be read is.

    Arguments
    ---------
    problems : object array (P,)
        Of str, "" where nothing is wrong.
    owner : int array (P,)
        The utterance of each piece, rising.

    Returns
    -------
    problems : object array (N,)
    lost : bool array (N,)
        Where a part of the audio is missing, so that there can be no embedding.

    Example
    -------
    >>> problems = np.array(["", "silent", "silent", "unreadable", ""], object)
    >>> problems, lost = of_utterances(problems, np.array([0, 0, 1, 2, 2]))
    >>> problems.tolist(), lost.tolist()
    (['', 'silent', 'unreadable'], [False, False, True])
    """
    number = int(owner[-1]) + 1 if len(owner) else 0
    result, lost = np.full(number, "", dtype=object), np.zeros(number, dtype=bool)
    good = np.bincount(owner[problems == ""], None, number)
    for piece in np.flatnonzero(problems != ""):
        k, passing = owner[piece], problems[piece] in ("silent", "too_short")
        if not passing:
            result[k], lost[k] = problems[piece], True
        elif not good[k] and not lost[k]:
            result[k] = problems[piece]
    return result, lost
