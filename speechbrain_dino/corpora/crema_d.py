"""CREMA-D, and any corpus of acted emotions whose files are named like its own.

Cao et al., "CREMA-D: Crowd-sourced Emotional Multimodal Actors Dataset", IEEE
Transactions on Affective Computing 5, 2014.
https://github.com/CheyneyComputerScience/CREMA-D (Open Database License)
"""

import logging
import os
from pathlib import Path

from speechbrain_dino.corpora.crema_d_tables import (
    CODES,
    DEMOGRAPHICS,
    SENTENCES,
    VOTES,
    canonical,
    expected_names,
    fields_of,
    find_table,
    find_tables,
    read_people,
    read_votes,
)
from speechbrain_dino.corpora.download import download, is_pointer, is_whole
from speechbrain_dino.corpora.emotion_corpus import prepare_emotion
from speechbrain_dino.corpora.emotion_labels import (
    Labeled,
    LabelsLeftOut,
    choose_classes,
    emotion_of,
    read_table,
    source_at,
)
from speechbrain_dino.corpora.preparation import Source, list_files
from speechbrain_dino.data.fold_makers import disjoint_groups, group_kfold

ACTORS = range(1001, 1092)
FILES = 7442
_LABELS = ("intended", "VoiceVote", "MultiModalVote")

logger = logging.getLogger(__name__)

# The audio is kept with Git LFS, the tables are not.
AUDIO_URL = (
    "https://media.githubusercontent.com/media/CheyneyComputerScience/CREMA-D/master"
)
TABLES_URL = "https://raw.githubusercontent.com/CheyneyComputerScience/CREMA-D/master"
_FORMATS = (".wav", ".flac", ".mp3")
_POINTER_BYTES = 300


def find_utterances(data_folder, save_folder, left_out):
    """Returns ID -> Source of the files in AudioWAV.

    One name of the real corpus ends in X where the tables have XX; the ID is the
    tables' one. ``left_out`` takes files with other names and second copies; what is
    in ``save_folder`` is not read.

    Raises
    ------
    FileNotFoundError
        If there is no AudioWAV.
    ValueError
        If files are Git LFS pointers.
    """
    folder = os.path.join(os.path.abspath(data_folder), "AudioWAV")
    if not os.path.isdir(folder):
        raise FileNotFoundError(
            f"{data_folder} has no folder AudioWAV: give the folder that holds it, or "
            "download: True to fetch it"
        )
    by_id = {}
    for name, path, size, changed in list_files(folder, left_out, [save_folder]):
        stem, extension = os.path.splitext(os.path.basename(name))
        fields = fields_of(stem)
        if not fields or extension.lower() not in _FORMATS:
            remedy = "rename to <actor>_<sentence>_<emotion>_<level>.wav, or remove it"
            left_out.add("other_name", path, remedy)
            continue
        key = canonical(stem)
        source = Source(
            key, f"AudioWAV/{key}", path, size, changed, (key,), spk_id=fields[0]
        )
        other = by_id.setdefault(key, source)
        if other is not source:
            worse = max(other, source, key=_rank)
            by_id[key] = other if worse is source else source
            same = _rank(other)[0] == _rank(source)[0]
            left_out.add("same_id" if same else "other_format", worse.path)
    _refuse_pointers(by_id.values(), folder)
    return by_id


def _rank(source):
    extension = os.path.splitext(source.path)[1].lower()
    return (_FORMATS.index(extension), source.path)


def _refuse_pointers(sources, folder):
    small = [s.path for s in sources if 0 < s.size <= _POINTER_BYTES]
    pointers = [path for path in small if is_pointer(path)]
    if pointers:
        raise ValueError(
            f"{len(pointers)} files in {folder} are Git LFS pointers, not audio, such "
            f"as {pointers[0]}: run 'git lfs pull' there, or prepare with "
            "download: True"
        )


def fetch(data_folder, audio_url, tables_url, connections, **options):
    """Downloads the tables and the files of AudioWAV that are missing.

    For ``options``, and what is raised, see
    :func:`~speechbrain_dino.corpora.download.download`.
    """
    folder = Path(data_folder)
    tables = {
        name: [f"{tables_url.rstrip('/')}/{name}"]
        for name in (SENTENCES, DEMOGRAPHICS, VOTES)
        if find_table(folder, name) is None
    }
    absent = download(tables, folder, audio=False, connections=1, **options)
    if absent:
        raise FileNotFoundError(f"{tables[absent[0]][0]} is not there")
    files = {}
    for _, name in read_table(find_table(folder, SENTENCES), "Filename"):
        # One file lies in AudioWAV with a single X, see canonical.
        names = [name, name[:-1]] if name.endswith("_XX") else [name]
        inside = [f"AudioWAV/{name}.wav" for name in names]
        if not any(is_whole(folder / path) for path in inside):
            files[inside[0]] = [f"{audio_url.rstrip('/')}/{path}" for path in inside]
    absent = download(files, folder, connections=connections, **options)
    if absent:
        logger.warning("%d files are not at %s: %s", len(absent), audio_url, absent)


def prepare_crema_d(
    data_folder,
    save_folder,
    classes=("angry", "happy", "neutral", "sad"),
    label="intended",
    demographics=DEMOGRAPHICS,
    num_folds=1,
    valid_actors=8,
    test_actors=32,
    fold_seed=1234,
    download=False,
    audio_url=AUDIO_URL,
    tables_url=TABLES_URL,
    connections=8,
    allow_missing=False,
    sample_rate=16000,
    min_duration=0.3,
    check="full",
    num_workers=None,
):
    """Writes utterances.csv and folds.json of CREMA-D.

    Audio is ``AudioWAV/<actor>_<sentence>_<emotion>_<level>.wav`` (or .flac, .mp3).
    All files that SentenceFilenames.csv or summaryTable.csv names must be there. The
    manifest has the columns emotion, gender, age, sentence and level (LO, MD, HI, or
    XX where none was asked of the actor). Actors are divided by the seed and their
    number alone, women and men alike in all parts.

    Arguments
    ---------
    data_folder : str
        Folder that holds AudioWAV and the tables.
    classes : str or sequence of str
        Emotions to keep, or "all": the six of the corpus.
    label : str
        "intended": what the actor was asked for, from the file's name; "VoiceVote" or
        "MultiModalVote": what raters chose by ear, or by ear and eye, from
        processedResults/summaryTable.csv. Ties are left out.
    demographics : str, optional
        Table with ActorID, Sex and Age, or speaker and gender; None if there is none.
    num_folds : int
        1: one division of the actors into training, validation and test; more: every
        actor is tested on in one of so many folds.
    valid_actors, test_actors : int
        Number of actors to validate and to test on in each fold, the rest is trained
        on; test_actors is not read if num_folds is more than 1.
    fold_seed : int
        Another seed gives another division.
    download : bool
        Whether to fetch missing tables and audio (about 600 MB); resumed if stopped.
    audio_url, tables_url, connections
        See `fetch`.
    allow_missing : bool
        Whether to go on without files that the tables name.
    save_folder, sample_rate, min_duration, check, num_workers
        See ``corpora.preparation``; for what is returned, ``corpora.emotion_corpus``.

    Raises
    ------
    ValueError
        If a name or a vote has an unknown emotion, or files are missing.
    FileNotFoundError
        If there is no audio, or a table that is needed does not exist.
    OSError
        If a file could not be fetched.
    """
    if label not in _LABELS:
        raise ValueError(f"label={label!r}: expected one of {', '.join(_LABELS)}")
    arguments = {
        "corpus": "crema_d",
        "data_folder": os.path.abspath(data_folder),
        "classes": choose_classes(classes, CODES.values()),
        "label": label,
        "demographics": demographics and str(demographics),
        "num_folds": num_folds,
        "valid_actors": valid_actors,
        "test_actors": test_actors,
        "fold_seed": fold_seed,
        "allow_missing": allow_missing,
        "sample_rate": sample_rate,
        "min_duration": min_duration,
        "check": check,
        "num_workers": num_workers,
    }
    if download:
        fetch(data_folder, audio_url, tables_url, connections)
    left_out = LabelsLeftOut()
    sources = find_utterances(data_folder, save_folder, left_out)
    voted = label != "intended"
    tables = find_tables(data_folder, voted, demographics)
    _add_missing(sources, data_folder, tables, allow_missing)
    votes = read_votes(tables["votes"], label) if voted else None
    people = read_people(tables["demographics"]) if demographics else {}
    items = [_item(source, votes, people, tables) for source in sources.values()]
    labels = arguments["classes"]
    strata = "gender" if people else None

    def folds(manifest):
        if num_folds > 1:
            how = f"{num_folds} folds, every actor in one test set"
            options = (num_folds, valid_actors, strata, fold_seed, labels)
            return group_kfold(manifest, "spk_id", *options), how
        how = "one division of the actors, no actor in two parts"
        sizes = (None, valid_actors, test_actors)
        options = (sizes, strata, fold_seed, labels)
        return disjoint_groups(manifest, "spk_id", *options), how

    used = [path for path in tables.values() if path]
    return prepare_emotion(items, used, folds, save_folder, left_out, arguments)


def _add_missing(sources, data_folder, tables, allow_missing):
    """Adds the files that should be there, so that their absence is reported."""
    names = expected_names(tables)
    if names is None:
        _check_total(sources, allow_missing)
        return
    for name in names:
        if name not in sources:
            inside = f"AudioWAV/{name}.wav"
            path = os.path.join(os.path.abspath(data_folder), inside)
            sources[name] = source_at(path, inside, name, fields_of(name)[0])


def _check_total(sources, allow_missing):
    """Without tables only the numbers of actors and files are known."""
    actors = {int(source.spk_id) for source in sources.values()}
    if not actors <= set(ACTORS) or len(sources) == FILES:
        return
    absent = sorted(set(ACTORS) - actors)
    message = (
        f"CREMA-D has {FILES} files of {len(ACTORS)} actors, here are "
        f"{len(sources)} of {len(actors)}"
    )
    if absent:
        message += f"; these actors are missing: {', '.join(map(str, absent))}"
    if not allow_missing:
        raise ValueError(
            f"{message}. Fetch them with download: True, or continue with "
            "allow_missing: True"
        )
    logger.warning("%s", message)


def _item(source, votes, people, tables):
    actor, sentence, code, level = fields_of(source.id)
    emotion = emotion_of(code, CODES, source.path)
    if votes is not None:
        if source.id not in votes:
            raise ValueError(f"{source.path} has no vote in {tables['votes']}")
        emotion = votes[source.id]
    if people and actor not in people:
        raise ValueError(
            f"{source.path}: the actor {actor} is not in {tables['demographics']}; add "
            "the actor, or prepare with demographics: null"
        )
    person = people.get(actor, {"gender": "", "age": ""})
    return Labeled(source, emotion, {**person, "sentence": sentence, "level": level})
