"""Bad audio is found before training: counted, named, with a remedy."""

import logging

import numpy as np

from speechbrain_dino.data.audio_facts import look_up
from speechbrain_dino.data.audio_source import name_problem, printable
from speechbrain_dino.utils.files import replacing, write_rows

logger = logging.getLogger(__name__)

REMEDIES = {
    "missing": "restore the file, or take it out of the list",
    "denied": "give yourself the right to read the file (chmod +r)",
    "special": "none needed: FIFOs, devices and folders are no audio files",
    "name": "rename the file: its name is not UTF-8, too long or holds a line break",
    "empty": "extract or download the file again",
    "unreadable": "extract or download the file again: it is cut short or no audio",
    "wrong_rate": "resample the file, or let prepare_audio_folder do it",
    "codec": "make a 16-bit WAV or FLAC of it, or let prepare_audio_folder do it",
    "stereo": "mix the file down to one channel, or let prepare_audio_folder do it",
    "non_finite": "create the file again: it holds NaN or infinite samples",
    "silent": "none needed, unless it should hold speech: then record it again",
    "too_short": "none needed; lower min_duration to keep it",
    "past_end": "prepare the data again: the file is shorter than the manifest says",
    "overflow": "embed with precision fp32; if it was, the weights are not finite",
    "duplicate": "none needed: the same audio is kept once, or is test data",
    "same_id": "remove one of the two files with this speaker, session and utterance",
    "other_format": "none needed: the same utterance is there in another format",
    "hidden": "none needed: hidden files hold no speech",
    "layout": "move it to <speaker>/<session>/<utterance> below wav/, or remove it",
    "other_split": "none needed, unless train_splits shall name its split as well",
    "test_speaker": "none needed: speakers of trial lists never enter training",
    "test_file": "none needed: files of trial lists never enter training",
}

MIN_SECONDS = 0.1
"""The shortest that encoders of several layers can make something of."""

NO_FAULT = ("duplicate", "same_id", "other_format", "hidden", "layout")
NO_FAULT += ("test_speaker", "test_file")
"""Kinds that say nothing against the audio of a file."""

NOTES = {
    "quiet": "none needed: its peak was below -40 dB, it was amplified",
    "loud": "none needed: its peak was above full scale, it was turned down",
    "length": "look at the file: it holds over 2 % more or less than it declares, as "
    "files do that are cut short or joined; what it holds is used",
    "joined": "none needed: it is several files, one after the other, and all are used",
    "trailing": "look at the file: over 2 % of it follow its audio, and are not read",
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
        self.files = []
        """(kind, file) of each, in order."""

    @classmethod
    def of(cls, files):
        """Counts (kind, file) of each."""
        left_out = cls()
        for kind, file in files:
            left_out.add(kind, file)
        return left_out

    def add(self, kind, example):
        """Counts one file of a kind, a key of ``REMEDIES`` or ``NOTES``."""
        self.files.append((kind, str(example)))
        remedy = REMEDIES.get(kind) or NOTES[kind]
        first = {"count": 0, "example": printable(example), "remedy": remedy}
        self._kinds.setdefault(kind, first)["count"] += 1

    def as_dict(self):
        """kind -> {"count", "example", "remedy"}, the kind most frequent first."""
        order = sorted(self._kinds, key=lambda kind: -self._kinds[kind]["count"])
        return {kind: self._kinds[kind] for kind in order}

    def write(self, path):
        """Writes a CSV of wav and status, a line per file whose audio is bad."""
        with (
            replacing(path) as draft,
            # Names that are no text must not stop the others.
            open(
                draft, "w", encoding="utf-8", errors="surrogateescape", newline=""
            ) as file,
        ):
            bad = [(wav, kind) for kind, wav in self.files if kind not in NO_FAULT]
            write_rows(file, [("wav", "status"), *bad])

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
    >>> problem_of(Facts(100, rate=8000, channels=1, codec="WAV/PCM_16"), 16000, 1.0)
    'wrong_rate'
    """
    if facts.problem:
        return facts.problem
    if facts.rate != sample_rate:
        return "wrong_rate"
    if facts.channels != 1:
        return "stereo"
    if not facts.seekable:
        return "codec"
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
    problems = problems_of(manifest, facts_of, sample_rate, min_duration)
    left_out = LeftOut()
    for wav, problem in zip(wavs, problems):
        if problem:
            left_out.add(problem, wav)
    keep = np.array([not problem for problem in problems], dtype=bool)
    report(int(keep.sum()), left_out)
    return manifest.subset(keep), left_out.as_dict()


def problems_of(manifest, facts_of, sample_rate, min_duration=0.0, copies=False):
    """Why utterances cannot be used, keys of ``REMEDIES``; "" where nothing is wrong.

    Arguments
    ---------
    manifest : Manifest
        N utterances.
    facts_of : dict
        Path -> Facts of every file that they are in.
    sample_rate, min_duration : int, float
        Hz expected; seconds below which an utterance is too short.
    copies : bool
        Whether the same audio may occur twice.

    Returns
    -------
    list of str
        (N,)
    """
    problems, contents = [], set()
    for i in range(len(manifest)):
        utterance = manifest[i]
        facts = facts_of[utterance.wav]
        problem = name_problem(utterance.id) or problem_of(facts, sample_rate, 0.0)
        if not problem and utterance.stop > facts.frames:
            problem = "past_end"
        if not problem and manifest.lengths[i] < min_duration * sample_rate:
            problem = "too_short"
        content = (facts.digest or utterance.wav, utterance.start, utterance.stop)
        if not problem and content in contents and not copies:
            problem = "duplicate"
        if not problem:
            contents.add(content)
        problems.append(problem)
    return problems


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
