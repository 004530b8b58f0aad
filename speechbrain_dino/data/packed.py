"""Columns of strings without an object per row: buffers that workers can share."""

import ctypes
import os
import sys
from collections.abc import Sequence
from itertools import islice

import numpy as np

CHUNK = 4096


def smallest(values):
    """Whole numbers in 4 bytes each (int32) where they fit, else in 8 (int64).

    Example
    -------
    >>> smallest([1, 2]).dtype, smallest([1, 2**40]).dtype
    (dtype('int32'), dtype('int64'))
    """
    values = np.asarray(values, dtype=np.int64)
    limit = np.iinfo(np.int32)
    fits = not values.size or limit.min <= values.min() <= values.max() <= limit.max
    return values.astype(np.int32 if fits else np.int64)


class Strings(Sequence):
    """Strings in one bytes buffer (UTF-8) with offsets; reads like a list.

    Example
    -------
    >>> words = Strings(["one", "zwölf", ""])
    >>> words[1], len(words), list(words.take([2, 0]))
    ('zwölf', 3, ['', 'one'])
    """

    def __init__(self, values=()):
        builder = StringsBuilder()
        values = iter(values)
        while chunk := list(islice(values, CHUNK)):
            builder.extend(chunk)
        self._buffer, self._offsets = builder.finish()

    @classmethod
    def from_buffer(cls, buffer, offsets):
        """N strings on a buffer with offsets (N + 1,) in bytes; copies nothing."""
        strings = cls.__new__(cls)
        strings._buffer, strings._offsets = buffer, offsets
        return strings

    def __len__(self):
        return len(self._offsets) - 1

    def __getitem__(self, i):
        if isinstance(i, slice):
            return [self[k] for k in range(*i.indices(len(self)))]
        i = row_number(i, len(self))
        return self._buffer[self._offsets[i] : self._offsets[i + 1]].decode()

    def take(self, indices):
        """The strings with these row numbers, in their order, repacked."""
        return Strings(self[int(i)] for i in indices)

    def hashes(self):
        """int64 (N,), equal for equal strings in this process."""
        return np.fromiter(map(hash, self), dtype=np.int64, count=len(self))


class StringsBuilder:
    """Collects strings chunk by chunk for `Strings.from_buffer`."""

    def __init__(self):
        self._parts = []
        self._lengths = [np.zeros(1, dtype=np.int64)]

    def extend(self, values):
        """Appends at most ten thousand strings or so, as they are held in memory."""
        encoded = [value.encode() for value in values]
        self._parts.append(b"".join(encoded))
        self._lengths.append(np.fromiter(map(len, encoded), np.int64, len(encoded)))

    def finish(self):
        """The bytes of all strings, joined, and offsets (N + 1,) in bytes."""
        offsets = smallest(np.cumsum(np.concatenate(self._lengths)))
        return b"".join(self._parts), offsets


class Labels(Sequence):
    """Strings of which many are equal: each value once, and a code (N,) per row.

    The prefix that all values share is kept once, which makes folders cheap.

    Example
    -------
    >>> labels = Labels([0, 1, 0], ["/corpus/a", "/corpus/b"])
    >>> labels[2], list(labels.take([1]))
    ('/corpus/a', ['/corpus/b'])
    """

    def __init__(self, codes, values):
        self.codes = smallest(codes)
        self._prefix = os.path.commonprefix(values)  # noqa: RUF071 (of characters)
        self._values = Strings(value[len(self._prefix) :] for value in values)

    def __len__(self):
        return len(self.codes)

    def __getitem__(self, i):
        if isinstance(i, slice):
            return [self[k] for k in range(*i.indices(len(self)))]
        return self._prefix + self._values[self.codes[row_number(i, len(self))]]

    def take(self, indices):
        """The rows with these numbers, in their order; values are shared."""
        labels = Labels.__new__(Labels)
        labels.codes = self.codes[indices]
        labels._prefix, labels._values = self._prefix, self._values
        return labels

    def array(self):
        """The rows as NumPy array (N,) of str objects, each value being one object."""
        values = np.array([self._prefix + v for v in self._values], dtype=object)
        return values[self.codes] if len(values) else np.zeros(0, dtype=object)


class LabelsBuilder:
    """Collects strings of which many are equal."""

    def __init__(self):
        self._codes = {}
        self._rows = []

    def extend(self, values):
        """Appends at most ten thousand strings or so."""
        codes = self._codes
        rows = (codes.setdefault(value, len(codes)) for value in values)
        self._rows.append(np.fromiter(rows, np.int32, len(values)))

    def finish(self):
        """The :class:`Labels`, one row per string appended."""
        rows = np.concatenate([np.zeros(0, dtype=np.int32), *self._rows])
        return Labels(rows, list(self._codes))


def row_number(i, rows):
    """Row number in ``range(rows)``, from the end if negative; else IndexError."""
    if not -rows <= i < rows:
        raise IndexError(f"row {i} was asked for, but there are {rows} rows")
    return int(i) % rows


def give_back_memory():
    """Returns freed memory to the system, which glibc keeps otherwise.

    Reading a million rows frees about 100 MB in pieces; without this call every process
    that reads a manifest would go on occupying them.
    """
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
