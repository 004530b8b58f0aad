"""Bad audio is found before training: counted, named, with a remedy."""

import logging

import numpy as np

from speechbrain_dino.data.audio_facts import look_up

logger = logging.getLogger(__name__)

REMEDIES = {
    "missing": "restore the file, or take it out of the list",
    "empty": "extract or download the file again",
    "unreadable": "extract or download the file again: it is cut short or no audio",
    "wrong_rate": "resample the file, or let prepare_audio_folder do it",
    "stereo": "mix the file down to one channel, or let prepare_audio_folder do it",
    "non_finite": "create the file again: it holds NaN or infinite samples",
    "silent": "none needed, unless it should hold speech: then record it again",
    "too_short": "none needed; lower min_duration to keep it",
    "past_end": "prepare the data again: the file is shorter than the manifest says",
    "duplicate": "none needed: the same audio is kept once, or is test data",
    "same_id": "remove one of the two files with this speaker, session and utterance",
    "other_format": "none needed: the same utterance is there in another format",
    "hidden": "none needed: hidden files hold no speech",
    "layout": "move it to <speaker>/<session>/<utterance> below wav/, or remove it",
    "other_split": "none needed, unless train_splits shall name its split as well",
    "test_speaker": "none needed: speakers of trial lists never enter training",
    "test_file": "none needed: files of trial lists never enter training",
}


class LeftOut:
    """Counts what is left out: per kind a number, the first file, the remedy.

    Example
    -------
    >>> left_out = LeftOut()
    >>> left_out.add("empty", "a.wav")
    >>> left_out.add("empty", "b.wav")
    >>> left_out.as_dict()["empty"]["count"], left_out.as_dict()["empty"]["example"]
    (2, 'a.wav')
    """

    def __init__(self):
        self._kinds = {}

    def add(self, kind, example):
        """Counts one file of a kind, a key of ``REMEDIES``."""
        first = {"count": 0, "example": str(example), "remedy": REMEDIES[kind]}
        self._kinds.setdefault(kind, first)["count"] += 1

    def as_dict(self):
        """kind -> {"count", "example", "remedy"}, the kind most frequent first."""
        order = sorted(self._kinds, key=lambda kind: -self._kinds[kind]["count"])
        return {kind: self._kinds[kind] for kind in order}

    def __str__(self):
        return "\n".join(
            f"  {entry['count']} {kind}, such as {entry['example']}: {entry['remedy']}"
            for kind, entry in self.as_dict().items()
        )


def problem_of(facts, sample_rate, min_duration):
    """Why a file cannot be trained on, a key of ``REMEDIES``; "" if nothing is wrong.

    ``sample_rate`` in Hz; ``min_duration`` of the speech in seconds.

    Example
    -------
    >>> from speechbrain_dino.data.audio_facts import Facts
    >>> problem_of(Facts(frames=100, rate=8000, channels=1), 16000, 1.0)
    'wrong_rate'
    """
    if facts.problem:
        return facts.problem
    if facts.rate != sample_rate:
        return "wrong_rate"
    if facts.channels != 1:
        return "stereo"
    return "too_short" if speech_samples(facts) < min_duration * sample_rate else ""


def speech_samples(facts):
    """Samples with speech in a file, all of them where speech was not looked for."""
    if facts.speech is None:
        return facts.frames
    runs = [run.split("-") for run in facts.speech.split(";") if run]
    return sum(int(stop) - int(start) for start, stop in runs)


def check_manifest(
    manifest,
    sample_rate=16000,
    min_duration=0.0,
    check="full",
    num_workers=None,
    ledger=None,
):
    """The good utterances, in order, and ``LeftOut.as_dict`` of the others.

    Arguments
    ---------
    manifest : Manifest
        The utterances.
    sample_rate, min_duration : int, float
        Hz expected; seconds below which an utterance is too short.
    check : str
        "full" reads all samples (silent, non-finite, cut short, duplicate);
        "headers" finds the other kinds without reading samples.
    num_workers, ledger : optional
        As in :func:`~speechbrain_dino.data.audio_facts.look_up`.

    Raises
    ------
    ValueError
        If nothing is left, or ``check`` is neither "full" nor "headers".
    """
    full = reads_samples(check)
    wavs = [manifest[i].wav for i in range(len(manifest))]
    unique = list(dict.fromkeys(wavs))
    facts_of = dict(zip(unique, look_up(unique, full, False, num_workers, ledger)))
    left_out, keep, contents = LeftOut(), np.zeros(len(manifest), dtype=bool), set()
    for i, wav in enumerate(wavs):
        utterance, facts = manifest[i], facts_of[wav]
        problem = problem_of(facts, sample_rate, 0.0)
        if not problem and utterance.stop > facts.frames:
            problem = "past_end"
        if not problem and manifest.lengths[i] < min_duration * sample_rate:
            problem = "too_short"
        content = (facts.digest or wav, utterance.start, utterance.stop)
        if not problem and content in contents:
            problem = "duplicate"
        if problem:
            left_out.add(problem, wav)
        else:
            contents.add(content)
            keep[i] = True
    report(int(keep.sum()), left_out)
    return manifest.subset(keep), left_out.as_dict()


def reads_samples(check):
    """Whether ``check`` is "full"; ValueError if it is neither that nor "headers"."""
    if check not in ("full", "headers"):
        raise ValueError(f"check={check!r}: expected 'full' or 'headers'")
    return check == "full"


def report(kept, left_out, what="utterance to train on"):
    """Logs what was left out; raises ValueError if the number ``kept`` is 0."""
    if not kept:
        raise ValueError(
            f"there is no {what}. "
            + (
                f"What was left out:\n{left_out}"
                if str(left_out)
                else "None was found."
            )
        )
    if str(left_out):
        logger.warning("%d files kept, left out:\n%s", kept, left_out)
