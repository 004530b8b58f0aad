"""Utterances in whatever form they are given: manifest, prepared or plain folder."""

import logging
import os
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from speechbrain_dino.corpora.audio_files import is_audio, prepare_audio_files
from speechbrain_dino.corpora.audio_folder import prepare_audio_folder
from speechbrain_dino.corpora.preparation import SUMMARY, list_files
from speechbrain_dino.corpora.speech_corpus import read_left_out
from speechbrain_dino.corpora.usable import usable_utterances
from speechbrain_dino.data.audio import CHANNELS
from speechbrain_dino.data.checks import MIN_SECONDS, LeftOut, report
from speechbrain_dino.data.folds import read_folds
from speechbrain_dino.data.manifest import Manifest
from speechbrain_dino.utils.distributed import alone_on_main

logger = logging.getLogger(__name__)

PREPARED = ("train.csv", "test.csv")
_COLUMNS = ("ID", "duration", "wav", "start", "stop", "spk_id", "speech")


class Found(NamedTuple):
    """The utterances that a user's data hold, and the files whose audio is bad."""

    manifest: Manifest
    left_out: list
    """(ID, file, kind) of files that are not in the manifest."""
    folder: str = ""
    """Where the IDs are paths of files; "" where the manifest names the files."""
    files: list | None = None
    """The user's files, a row each, where some were converted."""

    def file_of(self, row):
        """The user's file, not its converted copy, of a row of the manifest."""
        if self.folder:
            return os.path.join(self.folder, self.manifest.ids[row])
        return self.manifest[row].wav if self.files is None else self.files[row]


def find_utterances(
    data, save_folder, sample_rate=16000, data_root=None, channel="mix"
):
    """Reads a manifest or prepared folder, or finds the audio in a folder or list.

    Audio of another rate, format, level or number of channels is converted, whatever
    names it; what cannot be used is left out, with a warning that says why.

    Arguments
    ---------
    data : str, path, Manifest, or list of these
        A manifest (CSV), a folder with ``train.csv`` and ``test.csv`` or one of them
        as the preparation of a corpus writes them (all their utterances), any folder
        of wav, flac, ogg, opus, mp3 or m4a files (IDs are the paths within it), or one
        such file, or a list of them (IDs are the paths as given).
    save_folder : str or path
        Where a manifest of files is kept, and audio that had to be converted.
    sample_rate : int
        In Hz.
    data_root : str, optional
        What ``$data_root`` and relative paths in a CSV stand for.
    channel : str
        What to convert several channels to: ``mix``, ``left`` or ``right``.

    Returns
    -------
    Manifest

    Raises
    ------
    FileNotFoundError
        If ``data`` does not exist.
    ValueError
        If the CSV is malformed, or there is no usable audio.
    """
    audio = find_audio(data, save_folder, sample_rate, data_root, channel)
    if audio.left_out and not audio.folder:  # of a folder its preparation reports
        left_out = LeftOut.of((kind, file) for _, file, kind in audio.left_out)
        report(len(audio.manifest), left_out, "usable utterance")
    return audio.manifest


def find_audio(data, save_folder, sample_rate=16000, data_root=None, channel="mix"):
    """As `find_utterances`, but returns `Found`, which has what was left out too."""
    save_folder = Path(save_folder)
    options = {"sample_rate": sample_rate, "channel": CHANNELS[channel]}
    if isinstance(data, list | tuple):
        prepare_audio_files(data, save_folder, **options)
        return _prepared_here(save_folder, {os.path.abspath(x): str(x) for x in data})
    if isinstance(data, Manifest):
        return _of_manifest(data, save_folder, **options)
    data = Path(data)
    if data.is_file() and is_audio(data):
        return find_audio([data], save_folder, sample_rate, None, channel)
    if not data.is_file() and not data.is_dir():
        raise FileNotFoundError(
            f"{data} does not exist: give a manifest (CSV), a prepared folder, an "
            "audio file or a folder of audio files"
        )
    tables = [data] if data.is_file() else _tables(data)
    if tables:
        manifest = joined([Manifest.from_csv(path, data_root) for path in tables])
        return _of_manifest(manifest, save_folder, **options)
    options |= {"min_duration": MIN_SECONDS, "check": "headers"}
    prepare_audio_folder(data, save_folder, **options)
    return _prepared_here(save_folder, {}, os.path.abspath(data))


def _tables(folder):
    """The manifests of a folder that a preparation wrote, or that holds no audio."""
    tables = [folder / name for name in PREPARED if (folder / name).is_file()]
    if not tables or (folder / SUMMARY).is_file():
        return tables
    # Corpora come with a train.csv of their own.
    return [] if list_files(folder, LeftOut()) else tables


def _of_manifest(manifest, save_folder, **options):
    options["min_duration"] = MIN_SECONDS
    usable = usable_utterances(manifest, save_folder, **options)
    return Found(usable.manifest, usable.left_out, files=usable.files)


def _prepared_here(save_folder, name_of, folder=None):
    manifest = Manifest.from_csv(save_folder / "train.csv")
    left_out = []
    for wav, kind in read_left_out(save_folder):
        name = name_of.get(wav) or os.path.relpath(wav, folder).replace(os.sep, "/")
        left_out.append((name, wav, kind))
    return Found(manifest, left_out, folder or os.getcwd())


def joined(manifests):
    """Returns all utterances of several manifests, whose names must differ."""
    if len(manifests) == 1:
        return manifests[0]
    return Manifest.from_rows(
        dict(zip(_COLUMNS, manifest[row]))
        for manifest in manifests
        for row in range(len(manifest))
    )


def add_unlabeled(run, manifest, prepare, folder, fold, min_duration=0.0):
    """Adds, without labels, what a fold does not test on to the training utterances.

    For the key ``set_up`` of a YAML that pretrains. Neither labels nor speakers are
    taken over; no speaker of the fold's test part is among the added utterances.

    Arguments
    ---------
    run : Run
        Not read.
    manifest : Manifest
        The training utterances so far.
    prepare : callable
        Prepares the labeled corpus, called without arguments by the first process.
    folder : str or path
        Where ``prepare`` leaves ``utterances.csv`` and ``folds.json``.
    fold : str
        Name of the fold; its training and validation parts are added.
    min_duration : float
        Seconds below which an utterance is not added.

    Returns
    -------
    Manifest

    Raises
    ------
    ValueError
        If there is no such fold, or an utterance has the ID of another one.
    """
    alone_on_main(prepare)
    folder = Path(folder)
    labeled = Manifest.from_csv(folder / "utterances.csv")
    folds = {f.name: f for f in read_folds(folder / "folds.json", labeled)}
    if fold not in folds:
        raise ValueError(
            f"fold={fold!r}: the folds of {folder} are {', '.join(folds)}, name one"
        )
    rows = sorted(chain(folds[fold].train.tolist(), folds[fold].valid.tolist()))
    added = [u for u in map(labeled.__getitem__, rows) if u.duration >= min_duration]
    logger.info(
        "%d utterances and, without labels, %d of fold %s; the %d of its test stay out",
        len(manifest),
        len(added),
        fold,
        len(folds[fold].test),
    )
    unlabeled = (u._replace(spk_id=None, speech=None) for u in added)
    given = map(manifest.__getitem__, range(len(manifest)))
    return Manifest.from_rows(
        dict(zip(_COLUMNS, utterance)) for utterance in chain(given, unlabeled)
    )
