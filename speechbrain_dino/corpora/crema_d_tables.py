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
    """A file's name as the tables have it.

    Arguments
    ---------
    stem : str
        Name without extension.

    Returns
    -------
    str
        The same, ending in XX where it ends in a single X.

    Example
    -------
    >>> canonical("1040_ITH_SAD_X"), canonical("1001_IEO_ANG_HI")
    ('1040_ITH_SAD_XX', '1001_IEO_ANG_HI')
    """
    return f"{stem}X" if stem.endswith("_X") else stem


def fields_of(name):
    """Actor, sentence, emotion code and level of a name.

    Arguments
    ---------
    name : str
        Such as ``1001_DFA_ANG_XX``.

    Returns
    -------
    tuple of str or None
        None if the name has another form.

    Example
    -------
    >>> fields_of("1001_DFA_ANG_XX")
    ('1001', 'DFA', 'ANG', 'XX')
    """
    match = _NAME.fullmatch(name)
    return match and match.groups()


def find_table(data_folder, name):
    """Path of a table, None if it is not there.

    Arguments
    ---------
    data_folder : str
        Folder of the corpus.
    name : str
        Absolute path, or path within the folder, with or without its own folders.

    Returns
    -------
    Path or None
        The table.
    """
    for path in (Path(data_folder, name), Path(data_folder, Path(name).name)):
        if path.is_file():
            return path.absolute()
    return None


def find_tables(data_folder, votes, demographics):
    """Paths of the tables.

    Arguments
    ---------
    data_folder : str
        Folder of the corpus.
    votes : bool
        Whether the votes are needed.
    demographics : str or None
        Name of the table of actors, None if there is none.

    Returns
    -------
    dict
        "sentences", "votes", "demographics" -> Path, None for those that are not
        there and not needed.

    Raises
    ------
    FileNotFoundError
        If one is needed and not there.
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
    """The files that the corpus should have.

    Arguments
    ---------
    tables : dict
        Of :func:`find_tables`.

    Returns
    -------
    list of str or None
        Names without extension, None if no table says.

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
    """Emotions that the raters voted for.

    Arguments
    ---------
    path : str or Path
        processedResults/summaryTable.csv
    column : str
        "VoiceVote" or "MultiModalVote".

    Returns
    -------
    dict
        Name of the file without extension -> name of the emotion; "no_agreement" at a
        tie such as "A:D".

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
    """Sex and age of the actors.

    Arguments
    ---------
    path : str or Path
        Table with ActorID and Sex, or speaker and gender, and perhaps Age.

    Returns
    -------
    dict
        Actor -> {"gender", "age"}
    """
    rows = read_table(path, ("ActorID", "speaker"), ("Sex", "gender"), optional=["Age"])
    return {actor: {"gender": sex.lower(), "age": age} for _, actor, sex, age in rows}
