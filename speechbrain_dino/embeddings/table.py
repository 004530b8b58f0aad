"""A matrix of embeddings with the names of their utterances."""

import csv
import hashlib
import json
from pathlib import Path

import numpy as np
import pandas as pd

from speechbrain_dino.utils.checked_json import read_json
from speechbrain_dino.utils.files import replacing, write_rows

VECTORS, IDS, TABLE, STATUS = "vectors.npy", "ids.txt", "table.json", "status.csv"
_BLOCK = 1 << 22


class EmbeddingTable:
    """Embeddings with the names of their utterances.

    Arguments
    ---------
    ids : sequence of str
        Names of the N utterances, each once.
    vectors : array, shape (N, D)
        One embedding per row, kept as float32.
    status : dict, optional
        What is wrong with utterances' audio, name -> kind such as "silent"; those
        without an embedding are not among ``ids``.

    Raises
    ------
    ValueError
        If the numbers of names and rows differ or a name occurs twice.

    Example
    -------
    >>> table = EmbeddingTable(["a", "b"], [[1.0, 2.0], [3.0, 4.0]])
    >>> table.rows(["b", "a", "b"]).tolist()
    [1, 0, 1]
    >>> folder = getfixture("tmp_path") / "table"
    >>> table.save(folder)
    >>> EmbeddingTable.load(folder).vectors[1].tolist()
    [3.0, 4.0]
    """

    def __init__(self, ids, vectors, status=None):
        self.ids, self.status = list(ids), dict(status or {})
        self.vectors = np.asanyarray(vectors, dtype=np.float32)
        if self.vectors.ndim != 2 or len(self.ids) != len(self.vectors):
            raise ValueError(
                f"{len(self.ids)} names do not fit embeddings of shape "
                f"{self.vectors.shape}: one row a name is needed"
            )
        self._row_of = {name: row for row, name in enumerate(self.ids)}
        if len(self._row_of) != len(self.ids):
            twice = next(x for i, x in enumerate(self.ids) if self._row_of[x] != i)
            raise ValueError(f"the name {twice!r} occurs twice in the table")

    def __len__(self):
        return len(self.ids)

    def rows(self, names):
        """Returns the rows, int64 (M,), of M names; KeyError if one is missing."""
        try:
            return np.array([self._row_of[name] for name in names], dtype=np.int64)
        except KeyError as error:
            name = error.args[0]
            why = f" (its audio: {self.status[name]})" if name in self.status else ""
            raise KeyError(
                f"no embedding of {name!r}{why}; the table holds {len(self)}"
            ) from None

    def of(self, names):
        """Returns vectors (M, D) of M different names, NaN where there is none."""
        if self.ids == list(names):
            return self.vectors
        rows = np.array([self._row_of.get(name, -1) for name in names], dtype=np.int64)
        vectors = np.full((len(rows), self.vectors.shape[1]), np.nan, dtype=np.float32)
        vectors[rows >= 0] = self.vectors[rows[rows >= 0]]
        return vectors

    def to_pandas(self):
        """Returns a DataFrame: names as index, a column per dimension."""
        index = pd.Index(self.ids, name="ID")
        return pd.DataFrame(np.asarray(self.vectors), index=index)

    def save(self, folder):
        """Writes ``vectors.npy``, ``ids.txt`` and what tells whether they are whole."""
        folder = Path(folder)
        with replacing(folder / VECTORS) as draft:
            np.save(draft, self.vectors)
        write_ids(folder, self.ids)
        (folder / STATUS).unlink(missing_ok=True)
        if self.status:
            write_status(folder, [(n, "", kind) for n, kind in self.status.items()])
        with replacing(folder / TABLE) as draft:
            draft.write_text(json.dumps({"checksums": checksums(folder)}) + "\n")

    @classmethod
    def load(cls, folder):
        """Reads a saved table; the matrix is mapped, not copied, into memory.

        Raises
        ------
        FileNotFoundError
            If there is none.
        ValueError
            If one of its files is damaged.
        """
        folder = Path(folder)
        about = read_about(folder)
        if about is None:  # made elsewhere: all that can be checked is the form
            for name in (VECTORS, IDS):
                if not (folder / name).is_file():
                    raise FileNotFoundError(
                        f"{folder} holds no {name}: it is no table of embeddings, or "
                        "the run that computes it has not ended"
                    )
        try:
            vectors = np.load(folder / VECTORS, mmap_mode="r")
            text = (folder / IDS).read_text("utf-8")
            return cls(text.split("\n")[:-1], vectors, _read_status(folder))
        except OSError:
            raise
        except Exception as error:  # NumPy's parser of headers raises almost any
            raise ValueError(damaged(folder, error)) from error


def damaged(path, why):
    """The message on a table that is not as it was written."""
    return f"{path} is damaged ({why}): remove it and embed again"


def read_about(folder):
    """What a table says of itself, after a look whether its files are as written.

    Returns
    -------
    dict or None
        None if there is no table, or one without ``table.json``.

    Raises
    ------
    ValueError
        Names the file that is damaged.
    """
    folder = Path(folder)
    try:
        about = read_json(folder / TABLE)
    except FileNotFoundError:
        return None
    except (ValueError, IsADirectoryError) as error:
        raise ValueError(damaged(folder / TABLE, error)) from error
    if not isinstance(about, dict) or not isinstance(about.get("checksums", {}), dict):
        raise ValueError(damaged(folder / TABLE, "it is no description of a table"))
    now = checksums(folder)
    written = about.get("checksums", now)  # version 0 wrote none at first
    for name in sorted({VECTORS, IDS, *written, *now}):
        if name not in now:
            raise ValueError(damaged(folder, f"{name} is missing"))
        if now[name] != written.get(name):
            raise ValueError(damaged(folder / name, "it is not what was written"))
    return about


def checksums(folder):
    """Name -> checksum of the files of a table that are there."""
    return {
        name: _checksum(folder / name)
        for name in (VECTORS, IDS, STATUS)
        if (folder / name).is_file()
    }


def _checksum(path):
    digest = hashlib.blake2b(digest_size=16)
    with open(path, "rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def write_ids(folder, ids):
    """Writes the names of a table's rows, one a line."""
    with (
        replacing(folder / IDS) as draft,
        open(draft, "w", encoding="utf-8", newline="\n") as file,
    ):
        file.writelines(f"{name}\n" for name in ids)


def write_status(folder, rows):
    """Writes what is wrong with utterances: rows of (ID, wav, status)."""
    with (
        replacing(folder / STATUS) as draft,
        # Names that are no text must not stop the others.
        open(
            draft, "w", encoding="utf-8", errors="surrogateescape", newline=""
        ) as file,
    ):
        write_rows(file, [("ID", "wav", "status"), *rows])


def _read_status(folder):
    if not (folder / STATUS).is_file():
        return {}
    path = folder / STATUS
    with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
        return {row["ID"]: row["status"] for row in csv.DictReader(file)}
