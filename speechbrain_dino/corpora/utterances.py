"""Utterances in whatever form they are given: manifest, prepared or plain folder."""

import logging
from itertools import chain
from pathlib import Path

from speechbrain.utils.distributed import run_on_main

from speechbrain_dino.corpora.audio_folder import prepare_audio_folder
from speechbrain_dino.data.folds import read_folds
from speechbrain_dino.data.manifest import Manifest

logger = logging.getLogger(__name__)

PREPARED = ("train.csv", "test.csv")
SOURCE = "source"
"""Column of the files that were converted into those in the column wav."""

_COLUMNS = ("ID", "duration", "wav", "start", "stop", "spk_id", "speech")


def find_utterances(data, save_folder, sample_rate=16000, data_root=None):
    """Reads a manifest, a prepared folder, or finds the audio files in a folder.

    Audio of another rate, format, level or number of channels is converted, whatever
    names it, and what cannot be used is left out with a warning that says how many and
    why. Where files were converted, the column ``source`` has the files themselves.

    Arguments
    ---------
    data : str or path
        A manifest (CSV), a folder that the preparation of a corpus wrote (all the
        utterances of its ``train.csv`` and ``test.csv``), or any folder of wav, flac,
        ogg, opus, mp3 or m4a files (IDs are the paths within it).
    save_folder : str or path
        Where a plain folder's manifest is kept, and audio that had to be converted.
    sample_rate : int
        In Hz.
    data_root : str, optional
        What ``$data_root`` and relative paths in a CSV stand for.

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
    data = Path(data)
    if data.is_dir() and not (tables := _prepared(data)):
        return _of_folder(data, save_folder, sample_rate)
    if data.is_file():
        tables = [data]
    elif not data.is_dir():
        raise FileNotFoundError(
            f"{data} does not exist: give a manifest (CSV), a prepared folder or a "
            "folder of audio files"
        )
    manifest = joined([Manifest.from_csv(path, data_root) for path in tables])
    return usable_utterances(manifest, save_folder, sample_rate)


def _prepared(folder):
    """The manifests of a folder that a preparation wrote, or that holds nothing else."""
    tables = [folder / name for name in PREPARED if (folder / name).is_file()]
    if not tables or (folder / SUMMARY).is_file():
        return tables
    # Other corpora have a train.csv of their own beside their audio.
    return [] if list_files(folder, LeftOut()) else tables


def _of_folder(data, save_folder, sample_rate):
    # The shortest that encoders of several layers can make something of.
    prepare_audio_folder(
        data, save_folder, sample_rate=sample_rate, min_duration=0.1, check="headers"
    )
    manifest = Manifest.from_csv(Path(save_folder) / "train.csv")
    sources = [os.path.join(os.path.abspath(data), name) for name in manifest.ids]
    if any(map(str.__ne__, sources, manifest.column("wav"))):
        return _with_sources(manifest, sources)
    return manifest


def usable_utterances(
    manifest, save_folder, sample_rate=16000, check="headers", num_workers=None
):
    """What a manifest names, checked and converted as the files of a folder are.

    ``start`` and ``stop`` of a file that is converted from another rate may count its
    samples or those of ``sample_rate``: ``duration`` tells which.

    Arguments
    ---------
    manifest : Manifest
        The utterances.
    save_folder : str or path
        Where audio that has to be converted is kept.
    sample_rate : int
        In Hz.
    check : str
        "full" reads all samples, "headers" only what the files declare.
    num_workers : int, optional
        Number of processes, one per processor if None.

    Returns
    -------
    Manifest
        The same where nothing had to be left out or converted.

    Raises
    ------
    ValueError
        If nothing is left.
    """
    wavs = list(dict.fromkeys(manifest.column("wav")))
    odd = {wav: Facts(problem="name") for wav in wavs if name_problem(wav)}
    sources = [_source(wav) for wav in wavs if wav not in odd]
    save_folder = Path(os.path.abspath(save_folder))
    options = (sample_rate, reads_samples(check), False, num_workers)
    audio = usable_audio(sources, save_folder, *options)
    path_of = {source.path: path for source, (path, _) in zip(sources, audio)}
    facts_of = odd | {path: facts for path, facts in audio}
    facts_of |= {source.path: facts for source, (_, facts) in zip(sources, audio)}
    if any(path != wav for wav, path in path_of.items()):
        given = manifest
        rows = (
            _converted(given.row(i), path_of, facts_of) for i in range(len(given))
        )
        manifest = _with_sources(Manifest.from_rows(rows), given.column("wav"))
    problems = problems_of(manifest, facts_of, sample_rate, copies=True)
    left_out = LeftOut()
    for wav, problem in zip(_files(manifest), problems):
        if problem:
            left_out.add(problem, wav)
    keep = np.array([not problem for problem in problems], dtype=bool)
    report(int(keep.sum()), left_out, "utterance that can be used")
    return manifest if keep.all() else manifest.subset(keep)


def _source(wav):
    name = os.path.splitdrive(wav)[1].replace(os.sep, "/").lstrip("/")
    return Source(wav, name, wav, -1, -1, order=())


def _converted(row, path_of, facts_of):
    """A row of a manifest that names the converted file, and its samples there."""
    facts = facts_of[row["wav"]]
    row["wav"] = path_of.get(row["wav"], row["wav"])
    if facts.source_rate in (0, facts.rate):
        return row
    counted = (row["stop"] - row["start"]) / max(row["duration"], 1e-9)
    own, other = abs(counted / facts.source_rate - 1), abs(counted / facts.rate - 1)
    if own > other:
        return row
    scale = facts.rate / facts.source_rate
    last = max(facts.frames, 1)

    def scaled(samples):
        return np.minimum(np.rint(np.asarray(samples) * scale).astype(np.int64), last)

    # Half a sample of rounding may lie beyond the end; a second does not.
    if row["stop"] * scale <= facts.frames + 1:
        row["start"] = int(min(scaled(row["start"]), last - 1))
        row["stop"] = int(max(scaled(row["stop"]), row["start"] + 1))
    else:
        row["start"], row["stop"] = round(row["start"] * scale), round(row["stop"] * scale)
    if row.get("speech") is not None:
        row["speech"] = scaled(row["speech"])
    return row


def source_files(manifest):
    """The file of each row as it was given, list-like: not its converted copy."""
    try:
        return manifest.column(SOURCE)
    except KeyError:
        return manifest.column("wav")


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
    run_on_main(prepare)
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
