"""The list of utterances that training reads: packed, SpeechBrain's columns."""

import csv
from functools import cached_property
from typing import NamedTuple

import numpy as np

from speechbrain_dino.data.manifest_builder import REQUIRED, STANDARD, ManifestBuilder
from speechbrain_dino.data.packed import CHUNK, row_number
from speechbrain_dino.utils.files import open_text, replacing


class Utterance(NamedTuple):
    """One row of a manifest.

    Arguments
    ---------
    id : str
        Name of the utterance, unique in the manifest.
    duration : float
        Seconds from start to stop.
    wav : str
        Absolute path of the audio file.
    start, stop : int
        First sample, and the one after the last.
    spk_id : str or None
        Speaker, where given. Self-supervised training does not read it.
    speech : numpy.ndarray or None
        int64 (R, 2), sample runs with speech inside [start, stop), in file
        coordinates; None means everything from start to stop.
    """

    id: str
    duration: float
    wav: str
    start: int
    stop: int
    spk_id: str | None
    speech: np.ndarray | None


class Manifest:
    """Utterances in a few flat arrays, so that worker processes share the memory.

    Build one with `from_csv` or `from_rows`. A million rows take about 0.1 GB
    and no Python object per row, so that forked workers copy nothing on reading.

    Example
    -------
    >>> row = dict(ID="a", duration=1.0, wav="/c/a.wav", start=0, stop=16000)
    >>> manifest = Manifest.from_rows([row])
    >>> manifest[0].wav, manifest.lengths.tolist(), len(manifest)
    ('/c/a.wav', [16000], 1)
    """

    def __init__(self, columns):
        self._columns = columns

    @classmethod
    def from_csv(cls, path, data_root=None):
        """Reads a manifest, one row per line.

        Arguments
        ---------
        path : str or Path
            CSV with the columns ID, duration (s), wav, start, stop (samples) and
            perhaps spk_id, speech ("start-stop;start-stop", samples) and labels.
        data_root : str, optional
            What ``$data_root`` and relative paths in the column wav stand for
            (relative paths: the current folder if None).

        Raises
        ------
        ValueError
            If a column is missing, a number cannot be read or an ID occurs twice.
        """
        with open_text(path) as file:
            reader = csv.reader(file, skipinitialspace=True)
            names = next(reader, [])
            builder = ManifestBuilder(str(path), names, data_root)
            rows = []
            for row in reader:
                if row:
                    rows.append(row)
                if len(rows) == CHUNK:
                    builder.extend(rows)
                    rows = []
            builder.extend(rows)
        return cls(builder.finish())

    @classmethod
    def from_rows(cls, rows):
        """Packs dicts with the columns of `from_csv`, all with the keys of the first.

        ``speech`` may be an array (R, 2) or None, ``spk_id`` may be None.
        """
        builder, names, chunk = None, list(REQUIRED), []
        for row in rows:
            if builder is None:
                names = list(row)
                builder = ManifestBuilder("rows", names, None)
            if row.keys() != set(names):
                raise ValueError(
                    f"row {row.get('ID')!r} has the keys {sorted(row)}, but the first "
                    f"row has {sorted(names)}: give every row the same keys"
                )
            chunk.append([_text(row[name]) for name in names])
            if len(chunk) == CHUNK:
                builder.extend(chunk)
                chunk = []
        builder = builder or ManifestBuilder("rows", names, None)
        builder.extend(chunk)
        return cls(builder.finish())

    def to_csv(self, path):
        """Writes the manifest in SpeechBrain's form, whole or not at all."""
        names = list(self._columns)
        with (
            replacing(path) as draft,
            open(draft, "w", newline="", encoding="utf-8") as file,
        ):
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(names)
            for i in range(len(self)):
                row = self.row(i)
                writer.writerow([_text(row[name]) for name in names])

    def row(self, i):
        """A row as a dict, as `from_rows` takes it."""
        row = self[i]._asdict()
        row["ID"] = row.pop("id")
        row.update({n: self._columns[n][i] for n in self._columns if n not in STANDARD})
        return {name: row[name] for name in self._columns}

    def __len__(self):
        return len(self._columns["ID"])

    def __getitem__(self, i):
        i = row_number(i, len(self))
        columns = self._columns
        speech = columns.get("speech")
        return Utterance(
            columns["ID"][i],
            float(columns["duration"][i]),
            columns["wav"][i],
            int(columns["start"][i]),
            int(columns["stop"][i]),
            (columns["spk_id"][i] or None) if "spk_id" in columns else None,
            speech[i] if speech is not None else None,
        )

    @property
    def ids(self):
        """Names of the utterances, list-like, without an object per row."""
        return self._columns["ID"]

    @property
    def names_speech(self):
        """Whether utterances come with the speech in them, and the rest is not read."""
        return "speech" in self._columns

    @cached_property
    def lengths(self):
        """Usable samples of each utterance, int64 (N,): its speech where known."""
        columns = self._columns
        whole = columns["stop"].astype(np.int64) - columns["start"]
        if "speech" not in columns:
            return whole
        speech = columns["speech"].samples()
        return np.where(speech > 0, speech, whole)

    def column(self, name):
        """One column: numbers (N,), labels as str objects (N,), list-like otherwise.

        Raises KeyError if the manifest has no such column.
        """
        if name not in self._columns:
            raise KeyError(
                f"no column {name!r} in this manifest, which has {list(self._columns)}"
            )
        column = self._columns[name]
        return column.array() if hasattr(column, "array") else column

    def subset(self, indices):
        """A manifest of rows with these numbers, in order, or of a mask, bool (N,)."""
        indices = np.asarray(indices)
        if indices.dtype == bool:
            indices = np.flatnonzero(indices)
        indices = indices.astype(np.int64)
        take = {
            name: column.take(indices) if hasattr(column, "take") else column[indices]
            for name, column in self._columns.items()
        }
        return Manifest(take)


def _text(value):
    if value is None:
        return ""
    if isinstance(value, np.ndarray):
        return ";".join(f"{start}-{stop}" for start, stop in value.tolist())
    return str(value)
