"""Emotion labels: their names, and what is left out for them."""

import csv
import os
from typing import NamedTuple

from speechbrain_dino.corpora.preparation import Source
from speechbrain_dino.data.checks import LeftOut

NO_AGREEMENT = "no_agreement"
OTHER = "other"


class Labeled(NamedTuple):
    """An utterance with its emotion.

    Arguments
    ---------
    source : Source
        The audio; its size is -1 if it is not there.
    emotion : str
        Name of the emotion.
    columns : dict
        Further columns of the manifest, the same keys in the whole corpus, text.
    """

    source: Source
    emotion: str
    columns: dict


class LabelsLeftOut(LeftOut):
    """Counts what is left out for its audio or for its label.

    Example
    -------
    >>> left_out = LabelsLeftOut()
    >>> left_out.add("silent", "a.wav")
    >>> left_out.add("emotion_fear", "b.wav", "none needed")
    >>> print(left_out.as_dict()["emotion_fear"])
    {'count': 1, 'example': 'b.wav', 'remedy': 'none needed'}
    """

    def add(self, kind, example, remedy=None):
        """Counts one file.

        Arguments
        ---------
        kind : str
            A key of ``checks.REMEDIES``, or anything with a remedy.
        example : str
            The file.
        remedy : str, optional
            What to do about it.
        """
        if remedy is None:
            super().add(kind, example)
        else:
            first = {"count": 0, "example": str(example), "remedy": remedy}
            self._kinds.setdefault(kind, first)["count"] += 1


def choose_classes(classes, known):
    """The classes asked for.

    Arguments
    ---------
    classes : str or sequence of str
        Names of emotions, or "all": every emotion of the corpus that has a name.
    known : iterable of str
        The corpus's emotions.

    Returns
    -------
    list of str
        Names, in the order given.

    Raises
    ------
    ValueError
        If a name is unknown or occurs twice, or there are fewer than two.

    Example
    -------
    >>> choose_classes("all", ["angry", "other", "sad", "no_agreement"])
    ['angry', 'sad']
    """
    known = [name for name in dict.fromkeys(known) if name != NO_AGREEMENT]
    if classes == "all":
        return [name for name in known if name != OTHER]
    chosen = [classes] if isinstance(classes, str) else list(classes)
    strange = [name for name in chosen if name not in known]
    if strange or len(set(chosen)) != len(chosen) or len(chosen) < 2:
        raise ValueError(
            f"classes={classes!r}: expected 'all', or two or more different names out "
            f"of {known}"
        )
    return chosen


def emotion_of(code, codes, where):
    """The name of an emotion.

    Arguments
    ---------
    code : str
        The corpus's code.
    codes : dict
        code -> name
    where : str
        File and line, for the message.

    Returns
    -------
    str
        The name.

    Raises
    ------
    ValueError
        If the code is unknown.
    """
    if code not in codes:
        raise ValueError(
            f"{where}: unknown emotion code {code!r}, expected one of "
            f"{', '.join(codes)}"
        )
    return codes[code]


def source_at(path, name, utterance, spk_id):
    """An audio file that a label names, whether or not it is there.

    Arguments
    ---------
    path : str
        Absolute path.
    name : str
        Path within the corpus, with "/".
    utterance : str
        ID of the utterance.
    spk_id : str
        Speaker, "" if unknown.

    Returns
    -------
    Source
        Its size is -1 if there is no such file.
    """
    try:
        stat = os.stat(path)
        size, changed = stat.st_size, stat.st_mtime_ns
    except FileNotFoundError:
        size, changed = -1, -1
    return Source(utterance, name, path, size, changed, (utterance,), spk_id)


def read_table(path, *columns, optional=()):
    """Reads columns of a table.

    Arguments
    ---------
    path : str or Path
        CSV file.
    *columns : str or tuple of str
        Names; a tuple gives the names that the same column may have.
    optional : sequence of str
        Further columns, empty where the table does not have them.

    Returns
    -------
    list of tuple
        Line number, then one str per column.

    Raises
    ------
    ValueError
        If the table lacks a column.

    Example
    -------
    >>> path = getfixture("tmp_path") / "people.csv"
    >>> _ = path.write_text('"ActorID","Sex"\\n1001,"Male"\\n')
    >>> read_table(path, ("ActorID", "speaker"), "Sex", optional=["Age"])
    [(2, '1001', 'Male', '')]
    """
    with open(path, newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        there = reader.fieldnames or ()
        names = []
        for column in columns:
            known = (column,) if isinstance(column, str) else column
            names += [name for name in known if name in there][:1]
            if not names or names[-1] not in known:
                raise ValueError(
                    f"{path} has no column {' or '.join(known)}: it has {list(there)}"
                )
        names += optional
        return [
            (reader.line_num, *((row.get(name) or "").strip() for name in names))
            for row in reader
        ]
