"""MSP-Podcast, as it is distributed, in its older and newer releases.

Lotfian and Busso, "Building naturalistic emotionally balanced speech corpus by
retrieving emotional speech from existing podcast recordings", IEEE Transactions on
Affective Computing 10, 2019. https://ecs.utdallas.edu/research/researchlabs/msp-lab/
"""

import math
import os
from pathlib import Path

from speechbrain_dino.corpora.emotion_corpus import prepare_emotion
from speechbrain_dino.corpora.emotion_labels import (
    Labeled,
    LabelsLeftOut,
    choose_classes,
    emotion_of,
    read_table,
)
from speechbrain_dino.corpora.preparation import Source, list_files
from speechbrain_dino.data.fold_makers import official
from speechbrain_dino.utils.checked_json import read_checked

CODES = {
    "A": "angry",
    "S": "sad",
    "H": "happy",
    "U": "surprise",
    "F": "fear",
    "D": "disgust",
    "C": "contempt",
    "N": "neutral",
    "O": "other",
    "X": "no_agreement",
}
PARTITIONS = {
    "train": "train",
    "development": "development",
    "validation": "development",
    "test1": "test1",
    "test2": "test2",
    "test3": "test3",
}
_DIMENSIONS = {"EmoAct": "arousal", "EmoVal": "valence", "EmoDom": "dominance"}
_COLUMNS = ("FileName", "EmoClass", *_DIMENSIONS, "SpkrID", "Gender", "Split_Set")
_NO_LABEL = "none needed: some utterances come without a label, such as Test3's"
# The older releases' own spelling is the second one.
_LABELS = [
    f"Labels/labels_{word}.{end}"
    for word in ("consensus", "concensus")
    for end in ("csv", "json")
]


def prepare_msp_podcast(
    data_folder,
    save_folder,
    classes=("angry", "happy", "neutral", "sad", "disgust"),
    test_sets=("test1",),
    labels=None,
    shared_speakers="error",
    allow_missing=False,
    sample_rate=16000,
    min_duration=0.3,
    check="full",
    num_workers=None,
):
    """Writes utterances.csv and folds.json of MSP-Podcast.

    Labels are ``Labels/labels_consensus.csv`` or ``.json``, audio is in ``Audios``, at
    any depth. The folds are the official partitions: one per test set, all with the
    same Train and Development (called Validation in older releases). The manifest has
    the columns emotion, gender, arousal, valence and dominance (raters' means, 1 to 7)
    and partition (train, development, test1 ...); spk_id is empty for "Unknown".

    Arguments
    ---------
    data_folder : str
        Folder that holds Labels and Audios.
    classes : str or sequence of str
        Emotions to keep, or "all": the eight with a name (not O and X).
    test_sets : str or sequence of str
        Test1, Test2 or Test3, a fold for each.
    labels : str, optional
        Another label file of the same form.
    shared_speakers : str
        What to do with a speaker in two partitions of a fold: "error", or
        "leave_out": they leave training, or validation, in favor of the test sets.
    allow_missing : bool
        Whether to go on without audio that the labels name.
    save_folder, sample_rate, min_duration, check, num_workers
        See ``corpora.preparation``; for what is returned, ``corpora.emotion_corpus``.

    Raises
    ------
    ValueError
        If a label is unknown, audio is missing, or a speaker is in two partitions.
    FileNotFoundError
        If there are no labels or no audio.
    """
    test_sets = [test_sets] if isinstance(test_sets, str) else test_sets
    arguments = {
        "corpus": "msp_podcast",
        "data_folder": os.path.abspath(data_folder),
        "classes": choose_classes(classes, CODES.values()),
        "test_sets": [_partition(name, "test_sets") for name in test_sets],
        "labels": labels and os.path.abspath(labels),
        "shared_speakers": shared_speakers,
        "allow_missing": allow_missing,
        "sample_rate": sample_rate,
        "min_duration": min_duration,
        "check": check,
        "num_workers": num_workers,
    }
    left_out = LabelsLeftOut()
    table = _find_labels(data_folder, labels)
    audio = _find_audio(data_folder, save_folder, left_out)
    items, labeled = [], {}
    for where, name, *fields in read_labels(table):
        if labeled.setdefault(name, where) != where:
            raise ValueError(f"{where}: {name} has a label already, {labeled[name]}")
        if fields[0]:
            items.append(_item(where, name, fields, audio, data_folder))
        else:
            left_out.add("no_label", name, _NO_LABEL)
    for name in sorted(audio.keys() - labeled.keys()):
        left_out.add("no_label", audio[name][0], _NO_LABEL)

    def folds(manifest):
        how = f"the official partitions, tested on {', '.join(arguments['test_sets'])}"
        options = (arguments["test_sets"], shared_speakers, arguments["classes"])
        return official(manifest, "partition", "train", "development", *options), how

    return prepare_emotion(items, [table], folds, save_folder, left_out, arguments)


def _find_labels(data_folder, labels):
    paths = [Path(data_folder, name) for name in _LABELS]
    for path in [Path(labels)] if labels else paths:
        if path.is_file():
            return path.absolute()
    raise FileNotFoundError(
        f"{labels} is no file"
        if labels
        else f"{data_folder} has no Labels/labels_consensus.csv or .json: give the "
        "folder that holds Labels and Audios, or labels: the file"
    )


def _find_audio(data_folder, save_folder, left_out):
    """File name -> path, bytes and time; the names of the corpus are unique."""
    folder = Path(data_folder, "Audios")
    if not folder.is_dir():
        raise FileNotFoundError(
            f"{data_folder} has no folder Audios: extract the audio"
        )
    files = {}
    for _, path, size, changed in list_files(folder, left_out, [save_folder]):
        name = os.path.basename(path)
        if name in files:
            raise ValueError(
                f"{files[name][0]} and {path} have the same name: remove one of them"
            )
        files[name] = (path, size, changed)
    return files


def read_labels(path):
    """Reads labels_consensus.csv or .json; raises ValueError if a column is missing.

    Returns
    -------
    list of tuple
        Place in the file, FileName, EmoClass, EmoAct, EmoVal, EmoDom, SpkrID, Gender,
        Split_Set, all text.
    """
    if path.suffix.lower() != ".json":
        rows = read_table(path, *_COLUMNS)
        return [(f"{path}, line {number}", *fields) for number, *fields in rows]
    rows = []
    labels = read_checked(path, "give the file as it is distributed")
    for name, entry in labels.items():
        if not isinstance(entry, dict):
            raise ValueError(f"{path}: {name} holds {entry!r}: expected its labels")
        missing = [column for column in _COLUMNS[1:] if column not in entry]
        if missing:
            raise ValueError(
                f"{path}: {name} has no {missing[0]}: it has {list(entry)}"
            )
        fields = (str(entry[column]).strip() for column in _COLUMNS[1:])
        rows.append((f"{path}, {name}", name, *fields))
    return rows


def _item(where, name, fields, audio, data_folder):
    code, *dimensions, speaker, gender, split = fields
    absent = (os.path.abspath(os.path.join(data_folder, "Audios", name)), -1, -1)
    path, size, changed = audio.get(name, absent)
    utterance = os.path.splitext(name)[0]
    spk_id = speaker if speaker.lower() != "unknown" else ""
    source = Source(
        utterance, f"Audios/{utterance}", path, size, changed, (utterance,), spk_id
    )
    columns = {"gender": gender.lower() if gender.lower() != "unknown" else ""}
    for column, text in zip(_DIMENSIONS.values(), dimensions):
        columns[column] = _number(text, column, where)
    columns["partition"] = _partition(split, where)
    return Labeled(source, emotion_of(code, CODES, where), columns)


def _partition(name, where):
    if name.lower() not in PARTITIONS:
        raise ValueError(
            f"{where}: unknown partition {name!r}, expected one of "
            f"{', '.join(PARTITIONS)}"
        )
    return PARTITIONS[name.lower()]


def _number(text, column, where):
    try:
        return "" if not text or math.isnan(float(text)) else text
    except ValueError:
        raise ValueError(f"{where}: {column} {text!r} is no number") from None
