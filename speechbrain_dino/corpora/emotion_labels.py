"""Emotion labels: their names, and what is left out for them."""

import csv
import os
from typing import NamedTuple

from speechbrain_dino.corpora.preparation import Source
from speechbrain_dino.data.checks import LeftOut
from speechbrain_dino.utils.files import open_text

NO_AGREEMENT = "no_agreement"
OTHER = "other"


class Labeled(NamedTuple):
    """An utterance with its emotion; ``source.size`` is -1 if audio is missing."""

    source: Source
    emotion: str
    columns: dict  # further columns of the manifest, text, alike in all the corpus


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
        """Counts a file of a kind: a key of ``checks.REMEDIES``, or with a remedy."""
        if remedy is None:
            super().add(kind, example)
        else:
            first = {"count": 0, "example": str(example), "remedy": remedy}
            self._kinds.setdefault(kind, first)["count"] += 1


def choose_classes(classes, emotions):
    """Returns the chosen emotions; "all" are those of the corpus that have a name.

    Raises
    ------
    ValueError
        If a name is unknown or occurs twice, or there are fewer than two.

    Example
    -------
    >>> choose_classes("all", ["angry", "other", "sad", "no_agreement"])
    ['angry', 'sad']
    """
    emotions = [name for name in dict.fromkeys(emotions) if name != NO_AGREEMENT]
    if classes == "all":
        return [name for name in emotions if name != OTHER]
    chosen = [classes] if isinstance(classes, str) else list(classes)
    unknown = [name for name in chosen if name not in emotions]
    if unknown or len(set(chosen)) != len(chosen) or len(chosen) < 2:
        raise ValueError(
            f"classes={classes!r}: expected 'all', or two or more different names out "
            f"of {emotions}"
        )
    return chosen


def emotion_of(code, codes, where):
    """Returns the name of a code; ValueError with the place ``where`` if unknown."""
    if code not in codes:
        raise ValueError(
            f"{where}: unknown emotion code {code!r}, expected one of "
            f"{', '.join(codes)}"
        )
    return codes[code]


def source_at(path, name, utterance, spk_id):
    """Returns the Source of a file that a label names, of size -1 if it is missing."""
    try:
        stat = os.stat(path)
        size, changed = stat.st_size, stat.st_mtime_ns
    except FileNotFoundError:
        size, changed = -1, -1
    return Source(utterance, name, path, size, changed, (utterance,), spk_id)


def read_table(path, *columns, optional=()):
    """Reads columns of a CSV file.

    Arguments
    ---------
    path : str or Path
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
    with open_text(path) as file:
        reader = csv.DictReader(file)
        header = reader.fieldnames or ()
        names = []
        for column in columns:
            aliases = (column,) if isinstance(column, str) else column
            names += [name for name in aliases if name in header][:1]
            if not names or names[-1] not in aliases:
                raise ValueError(
                    f"{path} has no column {' or '.join(aliases)}: it has "
                    f"{list(header)}"
                )
        names += optional
        return [
            (reader.line_num, *((row.get(name) or "").strip() for name in names))
            for row in reader
        ]
