"""CREMA-D's names and tables."""

import re
from pathlib import Path

from speechbrain_dino.corpora.emotion_labels import NO_AGREEMENT, emotion_of, read_table

SENTENCES = "SentenceFilenames.csv"
DEMOGRAPHICS = "VideoDemographics.csv"
VOTES = "processedResults/summaryTable.csv"
CODES = {
    "ANG": "angry",
    "DIS": "disgust",
    "FEA": "fear",
    "HAP": "happy",
    "NEU": "neutral",
    "SAD": "sad",
}
_VOTES = {code[0]: name for code, name in CODES.items()}
_NAME = re.compile(r"(\d+)_([A-Za-z0-9]+)_([A-Z]+)_(X|XX|LO|MD|HI)")


def canonical(stem):
    """Returns a file's name as the tables have it, ending in XX for a single X.

    Example
    -------
    >>> canonical("1040_ITH_SAD_X"), canonical("1001_IEO_ANG_HI")
    ('1040_ITH_SAD_XX', '1001_IEO_ANG_HI')
    """
    return f"{stem}X" if stem.endswith("_X") else stem


def fields_of(name):
    """Returns actor, sentence, emotion code and level of a name, None for other forms.

    Example
    -------
    >>> fields_of("1001_DFA_ANG_XX")
    ('1001', 'DFA', 'ANG', 'XX')
    """
    match = _NAME.fullmatch(name)
    return match and match.groups()


def find_table(data_folder, name):
    """Returns the path of a table, in its own folder or not, None if it is missing."""
    for path in (Path(data_folder, name), Path(data_folder, Path(name).name)):
        if path.is_file():
            return path.absolute()
    return None


def find_tables(data_folder, votes, demographics):
    """Returns "sentences", "votes", "demographics" -> Path, None for what is missing.

    ``votes``: whether these are needed; ``demographics``: the table of actors, or None.

    Raises
    ------
    FileNotFoundError
        If a table is needed and missing.
    """
    paths = {"demographics": None}
    for key, name, needed in (
        ("sentences", SENTENCES, False),
        ("votes", VOTES, votes),
        ("demographics", demographics, True),
    ):
        if name is None:
            continue
        paths[key] = find_table(data_folder, name)
        if needed and paths[key] is None:
            raise FileNotFoundError(
                f"{name} is not in {data_folder}: copy it there, fetch it with "
                "download: True, or do without (label: intended, demographics: null)"
            )
    return paths


def expected_names(tables):
    """Returns the names that the corpus should have, None if no table lists them.

    Raises
    ------
    ValueError
        If a table has a name of another form.
    """
    for key, column in (("sentences", "Filename"), ("votes", "FileName")):
        if tables[key] is None:
            continue
        names = []
        for number, name in read_table(tables[key], column):
            names.append(canonical(name))
            if fields_of(name) is None:
                raise ValueError(
                    f"{tables[key]}, line {number}: {name!r} is no name like "
                    "1001_DFA_ANG_XX"
                )
        return names
    return None


def read_votes(path, column):
    """Returns file name without extension -> emotion that the raters voted for.

    ``column`` of summaryTable.csv is "VoiceVote" or "MultiModalVote"; a tie such as
    "A:D" is "no_agreement".

    Raises
    ------
    ValueError
        If a vote is unknown; names file, line and letter.
    """
    votes = {}
    for number, name, vote in read_table(path, "FileName", column):
        where = f"{path}, line {number}"
        emotions = [emotion_of(letter, _VOTES, where) for letter in vote.split(":")]
        votes[canonical(name)] = emotions[0] if len(emotions) == 1 else NO_AGREEMENT
    return votes


def read_people(path):
    """Returns actor -> {"gender", "age"} of a table with ActorID, Sex, perhaps Age."""
    rows = read_table(path, ("ActorID", "speaker"), ("Sex", "gender"), optional=["Age"])
    return {actor: {"gender": sex.lower(), "age": age} for _, actor, sex, age in rows}
