"""Writing files so that a reader never finds half of one."""

import contextlib
import csv
import os
import shutil
import tempfile
from pathlib import Path


@contextlib.contextmanager
def replacing(path):
    """Gives a path to write to, and moves what was written there to ``path``.

    If the block raises, ``path`` stays as it was. Missing parents are made. For files;
    folders are replaced by ``ownership.replacing_folder``: IsADirectoryError.

    Example
    -------
    >>> target = getfixture("tmp_path") / "eer.txt"
    >>> with replacing(target) as draft:
    ...     _ = draft.write_text("EER 0.1")
    >>> target.read_text()
    'EER 0.1'
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(
            f"{path} is a folder, and a file of this name is to be written: name a "
            "file, or move the folder away"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    # A part of the name: with all of a long one this would be too long.
    scratch = Path(tempfile.mkdtemp(prefix=f".{path.name[:32]}-", dir=path.parent))
    try:
        draft = scratch / path.name
        yield draft
        os.replace(draft, path)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


@contextlib.contextmanager
def open_text(path):
    """Opens a list or table to read, UTF-8 with or without byte order mark.

    Raises
    ------
    ValueError
        Where the text turns out not to be UTF-8, as spreadsheets write it, or no CSV.

    Example
    -------
    >>> path = getfixture("tmp_path") / "a.csv"
    >>> _ = path.write_bytes(b"\\xef\\xbb\\xbfID")
    >>> with open_text(path) as file:
    ...     file.read()
    'ID'
    """
    with open(path, newline="", encoding="utf-8-sig") as file:
        try:
            yield file
        except csv.Error as error:
            raise ValueError(f"{path} is no CSV: {error}") from error
        except UnicodeDecodeError as error:
            raise ValueError(
                f"{path} is not UTF-8, {_first_odd_line(path)}: save it as UTF-8, and "
                "rename files whose names are not"
            ) from error


def _first_odd_line(path):
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                return f"see line {number}, {line[:80]!r}"
    return "it ends in the middle of a character"


def write_rows(file, rows):
    """Writes rows of text as CSV; a name with a carriage return comes back as it was.

    Before Python 3.13 the csv module quotes for line feeds alone.
    """
    rows = [[str(value) for value in row] for row in rows]
    odd = any("\r" in value for row in rows for value in row)
    quoting = csv.QUOTE_ALL if odd else csv.QUOTE_MINIMAL
    csv.writer(file, lineterminator="\n", quoting=quoting).writerows(rows)
