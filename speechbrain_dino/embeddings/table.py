"""A matrix of embeddings with the names of their utterances."""

from pathlib import Path

import numpy as np
import pandas as pd

from speechbrain_dino.utils.files import replacing


class EmbeddingTable:
    """Embeddings with the names of their utterances.

    Arguments
    ---------
    ids : sequence of str
        Names of the N utterances, each once.
    vectors : array, shape (N, D)
        One embedding per row, kept as float32.

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

    def __init__(self, ids, vectors):
        self.ids = list(ids)
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
            raise KeyError(
                f"no embedding of {error.args[0]!r}; the table holds {len(self)}"
            ) from None

    def to_pandas(self):
        """Returns a DataFrame: names as index, a column per dimension."""
        index = pd.Index(self.ids, name="ID")
        return pd.DataFrame(np.asarray(self.vectors), index=index)

    def save(self, folder):
        """Writes ``vectors.npy`` and ``ids.txt`` into a folder."""
        with replacing(Path(folder) / "vectors.npy") as draft:
            np.save(draft, self.vectors)
        with replacing(Path(folder) / "ids.txt") as draft:
            draft.write_text("".join(f"{name}\n" for name in self.ids), "utf-8")

    @classmethod
    def load(cls, folder):
        """Reads a saved table; the matrix is mapped, not copied, into memory."""
        vectors = np.load(Path(folder) / "vectors.npy", mmap_mode="r")
        text = (Path(folder) / "ids.txt").read_text("utf-8")
        return cls(text.split("\n")[:-1], vectors)
