"""IEMOCAP's label files: EmoEvaluation."""

import math
import os
import re
from pathlib import Path

from speechbrain_dino.corpora.emotion_labels import Labelled, emotion_of, source_at

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


def find_turns(data_folder, codes, left_out):
    """Finds all labelled turns.

    Arguments
    ---------
    data_folder : str
        Folder that holds Session1 to Session5, or IEMOCAP_full_release with them.
    codes : dict
        Code -> name of the emotion.
    left_out : LabelsLeftOut
        Takes hidden files, such as macOS's ``._Ses01F_impro01.txt``.

    Returns
    -------
    tables : list of Path
        The label files.
    items : list of Labelled
        The turns.

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
    tables, items, seen = [], [], {}
    for folder in folders:
        for path in sorted((folder / "dialog" / "EmoEvaluation").glob("*.txt")):
            if path.name.startswith("."):
                left_out.add("hidden", path)
                continue
            tables.append(path)
            for number, turn in read_evaluation(path):
                where = f"{path}, line {number}"
                item = _item(folder, where, path.stem, turn, codes)
                other = seen.setdefault(item.source.id, where)
                if other != where:
                    raise ValueError(
                        f"{where}: the turn {item.source.id} has a label already, in "
                        f"{other}"
                    )
                items.append(item)
    return tables, items


def read_evaluation(path):
    """Reads the turns of one file of EmoEvaluation.

    Arguments
    ---------
    path : str or Path
        The file: a line of the raters' majority per turn, then a line per rater.

    Returns
    -------
    list of tuple
        (line number, (start, stop, turn, code, valence, arousal, dominance)), all
        text but the line number.

    Raises
    ------
    ValueError
        If a line has another form.

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
    return Labelled(source, emotion_of(code, codes, where), columns)
