"""Rows of text, chunk by chunk, into the packed columns of a manifest."""

import os
import re

import numpy as np

from speechbrain_dino.data.packed import (
    LabelsBuilder,
    Strings,
    StringsBuilder,
    give_back_memory,
    row_number,
    smallest,
)

REQUIRED = ("ID", "duration", "wav", "start", "stop")
RUNS = re.compile(r"\d+-\d+(;\d+-\d+)*")
STANDARD = (*REQUIRED, "spk_id", "speech")


class Paths:
    """Paths of files: the folder as label, as many files share it, and the name."""

    def __init__(self, folders, files):
        self._folders, self._files = folders, files

    def __len__(self):
        return len(self._files)

    def __getitem__(self, i):
        return self._folders[i] + self._files[i]

    def take(self, indices):
        """The paths in some rows, int (M,)."""
        return Paths(self._folders.take(indices), self._files.take(indices))


class Runs:
    """Runs of samples per row: (total, 2), and offsets (N + 1,) of each row's first."""

    def __init__(self, runs, offsets):
        self._runs, self._offsets = runs, offsets

    def __len__(self):
        return len(self._offsets) - 1

    def __getitem__(self, i):
        i = row_number(i, len(self))
        runs = self._runs[self._offsets[i] : self._offsets[i + 1]]
        return runs.astype(np.int64) if len(runs) else None

    def samples(self):
        """Samples in the runs of each row, int64 (N,)."""
        total = np.zeros(len(self._runs) + 1, dtype=np.int64)
        np.cumsum(self._runs[:, 1] - self._runs[:, 0], out=total[1:])
        return np.diff(total[self._offsets])

    def take(self, indices):
        """Runs of some rows."""
        counts = np.diff(self._offsets)[indices]
        offsets = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
        shift = np.repeat(self._offsets[indices] - offsets[:-1], counts)
        return Runs(self._runs[np.arange(offsets[-1]) + shift], smallest(offsets))


class ManifestBuilder:
    """Rows of text, chunk by chunk, into packed columns.

    ``source`` stands in messages; ``data_root`` is for ``$data_root`` and relative
    paths.
    """

    def __init__(self, source, names, data_root):
        missing = [name for name in REQUIRED if name not in names]
        if missing:
            raise ValueError(
                f"{source} lacks the columns {missing}: it has {list(names)}, but a "
                f"manifest needs {list(REQUIRED)} (start and stop in samples)"
            )
        twice = [name for name in names if list(names).count(name) > 1]
        if twice:
            raise ValueError(f"{source} has two columns {twice[0]!r}: remove one")
        self._source, self._names = source, list(names)
        self._root = os.path.abspath(data_root) if data_root else None
        self._reset()

    def _reset(self):
        self._rows = 0
        self._ids, self._files = StringsBuilder(), StringsBuilder()
        self._folders, self._absolute = LabelsBuilder(), {}
        self._numbers = {
            "duration": [np.zeros(0)],
            "start": [np.zeros(0, np.int64)],
            "stop": [np.zeros(0, np.int64)],
        }
        self._counts, self._runs = [np.zeros(1, np.int64)], [np.zeros((0, 2), np.int64)]
        labels = [n for n in self._names if n == "spk_id" or n not in STANDARD]
        self._labels = {name: LabelsBuilder() for name in labels}

    def extend(self, rows):
        """Appends rows, each a list of str in the order of the columns."""
        if not rows:
            return
        width = len(self._names)
        wrong = next((k for k, row in enumerate(rows) if len(row) != width), None)
        if wrong is not None:
            self._fail(wrong, f"has {len(rows[wrong])} fields, expected {width}")
        columns = dict(zip(self._names, zip(*rows)))
        self._ids.extend(columns["ID"])
        self._extend_paths(columns["wav"])
        numbers = {}
        for name, parts in self._numbers.items():
            kind = float if name == "duration" else int
            numbers[name] = self._parse(kind, columns[name], name)
            parts.append(numbers[name])
        self._check(numbers["start"], numbers["stop"])
        odd = np.flatnonzero(~np.isfinite(numbers["duration"]))
        if len(odd):
            seconds = numbers["duration"][odd[0]]
            self._fail(odd[0], f"has duration {seconds}, expected seconds")
        for name, label in self._labels.items():
            label.extend(columns[name])
        if "speech" in columns:
            self._extend_runs(columns["speech"], numbers["start"], numbers["stop"])
        self._rows += len(rows)

    def finish(self):
        """Returns the packed columns by name; the builder is empty afterwards."""
        columns = self._pack()
        self._reset()
        give_back_memory()
        return columns

    def _pack(self):
        columns = {"ID": Strings.from_buffer(*self._ids.finish())}
        self._check_unique(columns["ID"])
        files = Strings.from_buffer(*self._files.finish())
        columns["wav"] = Paths(self._folders.finish(), files)
        for name, parts in self._numbers.items():
            values = np.concatenate(parts)
            columns[name] = values if name == "duration" else smallest(values)
        columns.update({name: lab.finish() for name, lab in self._labels.items()})
        if "speech" in self._names:
            offsets = smallest(np.cumsum(np.concatenate(self._counts)))
            columns["speech"] = Runs(smallest(np.concatenate(self._runs)), offsets)
        return {name: columns[name] for name in self._names}

    def _fail(self, k, what):
        raise ValueError(f"{self._source}: row {self._rows + k + 1} {what}")

    def _parse(self, kind, texts, name):
        dtype = np.float64 if kind is float else np.int64
        try:
            return np.fromiter(map(kind, texts), dtype, len(texts))
        except (ValueError, OverflowError):
            for k, text in enumerate(texts):
                try:
                    dtype(kind(text))
                except (ValueError, OverflowError):
                    expected = "seconds" if kind is float else "a whole sample number"
                    self._fail(k, f"has {name} {text!r}, expected {expected}")
            raise

    def _check(self, start, stop):
        wrong = np.flatnonzero((start < 0) | (stop <= start))
        if len(wrong):
            k = wrong[0]
            self._fail(
                k,
                f"runs from sample {start[k]} to {stop[k]}, expected 0 <= start < stop",
            )

    def _extend_paths(self, wavs):
        folders, files = zip(*(os.path.split(wav) for wav in wavs))
        self._folders.extend([self._folder(folder) for folder in folders])
        self._files.extend(files)

    def _folder(self, folder):
        if folder not in self._absolute:
            if "$data_root" in folder and self._root is None:
                raise ValueError(
                    f"{self._source} has $data_root in its paths: pass data_root, the "
                    "folder that it stands for"
                )
            path = folder.replace("$data_root", self._root or "")
            path = os.path.join(self._root or os.getcwd(), path, "")
            self._absolute[folder] = path
        return self._absolute[folder]

    def _extend_runs(self, texts, start, stop):
        bad = next(
            (k for k, t in enumerate(texts) if t and not RUNS.fullmatch(t)), None
        )
        if bad is not None:
            self._fail(
                bad, f"has speech {texts[bad]!r}, expected start-stop;start-stop"
            )
        counts = [text.count("-") for text in texts]
        joined = ";".join(filter(None, texts)).replace("-", ";")
        try:
            runs = np.array(joined.split(";") if joined else [], dtype=np.int64)
        except OverflowError as error:
            message = f"{self._source}: speech has a number that is too large"
            raise ValueError(message) from error
        runs, row = runs.reshape(-1, 2), np.repeat(np.arange(len(texts)), counts)
        wrong = (runs[:, 0] < start[row]) | (runs[:, 1] > stop[row])
        wrong |= runs[:, 0] >= runs[:, 1]
        wrong[1:] |= (row[1:] == row[:-1]) & (runs[1:, 0] < runs[:-1, 1])
        if wrong.any():
            k = row[np.flatnonzero(wrong)[0]]
            self._fail(
                k,
                f"has speech {texts[k]!r}, expected rising runs inside its samples "
                f"{start[k]}-{stop[k]}",
            )
        self._counts.append(np.array(counts, dtype=np.int64))
        self._runs.append(runs)

    def _check_unique(self, ids):
        hashes = ids.hashes()
        order = np.argsort(hashes, kind="stable")
        for k in np.flatnonzero(np.diff(hashes[order]) == 0):
            first, second = sorted((int(order[k]), int(order[k + 1])))
            if ids[first] == ids[second]:
                raise ValueError(
                    f"{self._source}: ID {ids[first]!r} occurs twice, in rows "
                    f"{first + 1} and {second + 1}; IDs must be unique"
                )
