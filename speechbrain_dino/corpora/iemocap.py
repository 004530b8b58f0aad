"""IEMOCAP, as it is distributed.

Busso et al., "IEMOCAP: Interactive emotional dyadic motion capture database",
Language Resources and Evaluation 42, 2008. https://sail.usc.edu/iemocap/
"""

import logging
import math
import os
import re
from collections import Counter
from pathlib import Path

from speechbrain_dino.corpora.emotion_corpus import prepare_emotion
from speechbrain_dino.corpora.emotion_labels import (
    Labeled,
    LabelsLeftOut,
    choose_classes,
    emotion_of,
    source_at,
)
from speechbrain_dino.data.fold_makers import leave_one_group_out

# Code -> name, and the turns of the whole release: 10,039, of which 5,531 are angry,
# happy or excited, neutral or sad.
CODES = {
    "neu": ("neutral", 1708),
    "hap": ("happy", 595),
    "sad": ("sad", 1084),
    "ang": ("angry", 1103),
    "sur": ("surprise", 107),
    "fea": ("fear", 40),
    "dis": ("disgust", 2),
    "fru": ("frustrated", 1849),
    "exc": ("excited", 1041),
    "oth": ("other", 3),
    "xxx": ("no_agreement", 2507),
}
SESSIONS = dict(zip(range(1, 6), (1819, 1811, 2136, 2103, 2170)))
SCRIPTS = {"impro": "improvised", "script": "scripted"}
_NUMBER = r"(-?\d+(?:\.\d+)?|nan)"
_TURN = re.compile(
    rf"\[(\d+\.\d+) - (\d+\.\d+)\]\s+(\S+)\s+(\S+)\s+"
    rf"\[{_NUMBER}, {_NUMBER}, {_NUMBER}\]"
)
_NAME = re.compile(r"((Ses(\d\d))[FM]_(impro|script)\w+)_([FM])\w+")

logger = logging.getLogger(__name__)

_COLUMNS = {"speaker": "spk_id", "session": "session"}


def prepare_iemocap(
    data_folder,
    save_folder,
    classes=("angry", "happy", "neutral", "sad"),
    merge_excited=True,
    script="all",
    leave_out="session",
    validation="speaker",
    allow_missing=False,
    sample_rate=16000,
    min_duration=0.3,
    check="full",
    num_workers=None,
):
    """Writes utterances.csv and folds.json of IEMOCAP.

    Labels are the raters' majority in ``SessionN/dialog/EmoEvaluation/*.txt``, audio
    is ``SessionN/sentences/wav/<dialog>/<turn>.wav``. The speaker is the one of the
    turn (``Ses01F_impro01_M003`` is said by Ses01M), not of the dialog's name. The
    manifest has the columns emotion, gender, session, script (improvised, scripted),
    valence, arousal and dominance (raters' means, 1 to 5).

    Arguments
    ---------
    data_folder : str
        Folder that holds Session1 to Session5, or IEMOCAP_full_release with them.
    classes : str or sequence of str
        Emotions to keep, or "all": those with a name (not xxx and oth).
    merge_excited : bool
        Whether excited turns count as happy (5,531 turns in the usual four classes).
    script : str
        "all", or "improvised" or "scripted" for only such dialogs.
    leave_out : str
        What a fold tests on: "session" (5 folds) or "speaker" (10 folds).
    validation : str
        What is held out of the rest: "speaker" (one of the next session, a woman and
        a man in turn) or "session" (the whole next one). With leave_out "speaker":
        "speaker" is the next speaker, "session" the other one of the same session.
    allow_missing : bool
        Whether to go on without turns or audio that the release has.
    save_folder, sample_rate, min_duration, check, num_workers
        See ``corpora.preparation``; for what is returned, ``corpora.emotion_corpus``.

    Raises
    ------
    ValueError
        If a label file has an unknown code or a line of another form, or turns or
        audio are missing.
    FileNotFoundError
        If there is no session.
    """
    for name, value, choices in (
        ("script", script, ("all", *SCRIPTS.values())),
        ("leave_out", leave_out, _COLUMNS),
        ("validation", validation, _COLUMNS),
    ):
        if value not in choices:
            raise ValueError(f"{name}={value!r}: expected one of {', '.join(choices)}")
    codes = {code: name for code, (name, _) in CODES.items()}
    if merge_excited:
        codes["exc"] = codes["hap"]
    arguments = {
        "corpus": "iemocap",
        "data_folder": os.path.abspath(data_folder),
        "classes": choose_classes(classes, codes.values()),
        "merge_excited": merge_excited,
        "script": script,
        "leave_out": leave_out,
        "validation": validation,
        "allow_missing": allow_missing,
        "sample_rate": sample_rate,
        "min_duration": min_duration,
        "check": check,
        "num_workers": num_workers,
    }
    left_out = LabelsLeftOut()
    tables, items = find_turns(data_folder, codes, left_out)
    _check_complete(items, codes, allow_missing)
    chosen = []
    for item in items:
        if script in ("all", item.columns["script"]):
            chosen.append(item)
        else:
            remedy = f"none needed: script: {script} leaves such dialogs out"
            left_out.add(item.columns["script"], item.source.path, remedy)
    labels = arguments["classes"]

    def folds(manifest):
        column, held = _COLUMNS[leave_out], _COLUMNS[validation]
        how = (
            f"leave one {leave_out} out, validation on one {validation} of the "
            "others, no speaker in two parts of a fold"
        )
        return leave_one_group_out(manifest, column, held, labels), how

    return prepare_emotion(chosen, tables, folds, save_folder, left_out, arguments)


def _check_complete(items, codes, allow_missing):
    """Compares with the release's numbers of turns: nothing else shows a lost part."""
    expected = {f"Session{number}": turns for number, turns in SESSIONS.items()}
    for code, (_, turns) in CODES.items():
        expected[codes[code]] = expected.get(codes[code], 0) + turns
    counts = Counter(item.columns["session"] for item in items)
    counts += Counter(item.emotion for item in items)
    wrong = [
        f"{name}: {counts[name]} of {turns} turns"
        for name, turns in expected.items()
        if counts[name] != turns
    ]
    if not wrong:
        return
    message = (
        f"IEMOCAP has {sum(SESSIONS.values())} labeled turns, here are {len(items)}:"
        "\n  " + "\n  ".join(wrong)
    )
    if not allow_missing:
        raise ValueError(
            f"{message}\nExtract the whole release, or go on with allow_missing: True"
        )
    logger.warning("%s", message)


def find_turns(data_folder, codes, left_out):
    """Returns the label files, list of Path, and the turns in them, list of Labeled.

    ``codes``: code -> name of the emotion; ``left_out`` takes hidden files, such as
    macOS's ``._Ses01F_impro01.txt``.

    Raises
    ------
    ValueError
        If a code is unknown, a line has another form, or a turn occurs twice.
    FileNotFoundError
        If there is no session.
    """
    root = Path(os.path.abspath(data_folder))
    inner = root / "IEMOCAP_full_release"
    root = inner if inner.is_dir() else root
    folders = [root / f"Session{number}" for number in SESSIONS]
    folders = [folder for folder in folders if folder.is_dir()]
    if not folders:
        raise FileNotFoundError(
            f"{data_folder} has no Session1 to Session5: give the folder that holds "
            "them, often called IEMOCAP_full_release"
        )
    tables, items, places = [], [], {}
    for folder in folders:
        for path in sorted((folder / "dialog" / "EmoEvaluation").glob("*.txt")):
            if path.name.startswith("."):
                left_out.add("hidden", path)
                continue
            tables.append(path)
            for number, turn in read_evaluation(path):
                where = f"{path}, line {number}"
                item = _item(folder, where, path.stem, turn, codes)
                other = places.setdefault(item.source.id, where)
                if other != where:
                    raise ValueError(
                        f"{where}: the turn {item.source.id} has a label already, in "
                        f"{other}"
                    )
                items.append(item)
    return tables, items


def read_evaluation(path):
    """Reads a file of EmoEvaluation: a line of the raters' majority per turn.

    Returns
    -------
    list of tuple
        (line number, (start, stop, turn, code, valence, arousal, dominance)), all
        text but the line number.

    Raises
    ------
    ValueError
        If a line of a turn has another form.

    Example
    -------
    >>> path = getfixture("tmp_path") / "Ses01F_impro01.txt"
    >>> turn = "[6.29 - 8.23]\\tSes01F_impro01_F000\\tneu\\t[2.5000, 2.5000, 2.0000]"
    >>> _ = path.write_text(f"{turn}\\nC-E2:\\tNeutral;\\t()\\n")
    >>> read_evaluation(path)[0][1][2:]
    ('Ses01F_impro01_F000', 'neu', '2.5000', '2.5000', '2.0000')
    """
    turns = []
    # Raters' remarks are not always ASCII.
    with open(path, encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, 1):
            line = line.strip()
            # All else is a comment or the vote of one rater.
            if not line.startswith("["):
                continue
            turn = _TURN.fullmatch(line)
            if turn is None:
                raise ValueError(
                    f"{path}, line {number}: {line!r} is no turn, '[start - end]<TAB>"
                    "name<TAB>emotion<TAB>[valence, arousal, dominance]'"
                )
            turns.append((number, turn.groups()))
    return turns


def _item(folder, where, dialog, turn, codes):
    _, _, name, code, *dimensions = turn
    match = _NAME.fullmatch(name)
    if not match or match[1] != dialog or int(match[3]) != int(folder.name[-1]):
        raise ValueError(
            f"{where}: {name!r} is no turn of the dialog {dialog} in {folder.name}"
        )
    inside = f"{folder.name}/sentences/wav/{dialog}/{name}.wav"
    path = str(folder.parent / inside)
    source = source_at(path, inside, name, match[2] + match[5])
    texts = ["" if math.isnan(float(text)) else text for text in dimensions]
    columns = {
        "gender": {"F": "female", "M": "male"}[match[5]],
        "session": folder.name,
        "script": SCRIPTS[match[4]],
        **dict(zip(("valence", "arousal", "dominance"), texts)),
    }
    return Labeled(source, emotion_of(code, codes, where), columns)
