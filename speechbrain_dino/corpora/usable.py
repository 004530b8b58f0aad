"""What a manifest names, checked and converted as the files of a folder are."""

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from speechbrain_dino.corpora.preparation import Source, usable_audio
from speechbrain_dino.data.audio_facts import Facts
from speechbrain_dino.data.audio_source import name_problem
from speechbrain_dino.data.checks import problems_of, reads_samples
from speechbrain_dino.data.manifest import Manifest

_SLACK, _SLACK_SECONDS = 0.02, 0.1
_NEAR = 0.1  # by which the logarithm of a rate may be off, as durations are rounded
_OPUS_RATE, _MAYBE_OPUS = 48000, (".opus", ".ogg", ".oga")


class Usable(NamedTuple):
    """What can be used of a manifest."""

    manifest: Manifest
    left_out: list
    """(ID, file, kind of ``checks.REMEDIES``) of the rest."""
    files: list | None
    """The file of each row as it was given, None where none was converted."""


def usable_utterances(
    manifest,
    save_folder,
    sample_rate=16000,
    min_duration=0.0,
    check="headers",
    channel=None,
    num_workers=None,
):
    """Checks the audio of a manifest, and converts it where it cannot be read in place.

    ``start`` and ``stop`` of a file of another rate may count its own samples or those
    of ``sample_rate``: ``duration`` tells which.

    Arguments
    ---------
    manifest : Manifest
        The utterances.
    save_folder : str or path
        Where audio that has to be converted is kept.
    sample_rate, min_duration : int, float
        In Hz; seconds below which an utterance is left out.
    check : str
        "full" reads all samples, "headers" only what the files declare.
    channel : int, optional
        Channel to take of files with several; their mean if None.
    num_workers : int, optional
        Number of processes, one per processor if None.

    Returns
    -------
    Usable

    Example
    -------
    >>> import soundfile
    >>> folder = getfixture("tmp_path")
    >>> samples = np.random.default_rng(0).uniform(-0.5, 0.5, 8000)
    >>> soundfile.write(folder / "a.wav", samples, 8000)
    >>> row = {"ID": "a", "duration": 1.0, "wav": str(folder / "a.wav")}
    >>> given = Manifest.from_rows([row | {"start": 0, "stop": 8000}])
    >>> usable_utterances(given, folder / "save").manifest[0].stop
    16000
    """
    wavs = [manifest[row].wav for row in range(len(manifest))]
    unique = dict.fromkeys(wavs)
    facts_of = {wav: Facts(problem="name") for wav in unique if name_problem(wav)}
    sources = [_source(wav) for wav in unique if wav not in facts_of]
    save_folder = Path(os.path.abspath(save_folder))
    options = (sample_rate, reads_samples(check), False, num_workers, channel)
    path_of, files = {}, None
    audio = usable_audio(sources, save_folder, *options)
    for source, (path, facts) in zip(sources, audio):
        facts_of[source.path] = facts_of[path] = facts
        if path != source.path:
            path_of[source.path] = path
    if path_of:
        rows = map(manifest.row, range(len(manifest)))
        rows = (_converted(row, path_of, facts_of) for row in rows)
        manifest, files = Manifest.from_rows(rows), wavs
    rules = (sample_rate, min_duration)
    problems = problems_of(manifest, facts_of, *rules, copies=True)
    if not any(problems):
        return Usable(manifest, [], files)
    left_out = [
        (manifest.ids[row], wavs[row], problem)
        for row, problem in enumerate(problems)
        if problem
    ]
    kept = [row for row, problem in enumerate(problems) if not problem]
    files = files and [files[row] for row in kept]
    return Usable(manifest.subset(np.array(kept, int)), left_out, files)


def _source(wav):
    # With ".." the copy would lie outside its folder.
    path = os.path.realpath(wav) if ".." in Path(wav).parts else wav
    name = os.path.splitdrive(path)[1].replace(os.sep, "/").lstrip("/")
    return Source(wav, name, wav, -1, -1, order=())


def _converted(row, path_of, facts_of):
    """A row of a manifest that names the converted file, and its samples there."""
    if row["wav"] not in path_of:
        return row
    facts = facts_of[row["wav"]]
    scale = facts.rate / _counted_rate(row, facts)
    row["wav"] = path_of[row["wav"]]
    row["start"] = _scaled(row["start"], scale, facts)
    row["stop"] = max(_scaled(row["stop"], scale, facts), row["start"] + 1)
    if row.get("speech") is not None:
        runs = row["speech"].tolist()
        scaled = [[_scaled(position, scale, facts) for position in run] for run in runs]
        row["speech"] = np.array([run for run in scaled if run[0] < run[1]])
    return row


def _counted_rate(row, facts):
    """The rate, in Hz, of the samples that a row's positions count.

    They are the file's own, as SpeechBrain takes them, unless ``duration`` says that
    they are those of the converted file. Of chunks SpeechBrain gives the duration of
    the whole recording, which carries no information.
    """
    rate = (row["stop"] - row["start"]) / max(row["duration"], 1e-9)
    # Opus decodes to 48 kHz, whatever rate its header has, so that programs differ.
    opus = (_OPUS_RATE,) if row["wav"].lower().endswith(_MAYBE_OPUS) else ()
    rates = (facts.source_rate, facts.rate, *opus)
    distance, best = min((abs(np.log(rate / other)), other) for other in rates)
    return best if distance < _NEAR else facts.source_rate


def _scaled(position, scale, facts):
    position = round(position * scale)
    # Programs differ by a few frames in the length of lossy files, as in what they
    # round; more than that is missing.
    most = facts.frames * (1 + _SLACK) + _SLACK_SECONDS * facts.rate
    return min(position, facts.frames) if position <= most else position
