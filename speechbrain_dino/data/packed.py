"""Columns of strings without an object per row: buffers that workers can share."""

import ctypes
import os
import sys
from collections.abc import Sequence
from itertools import islice

import numpy as np

CHUNK = 4096


def smallest(values):
    """Puts whole numbers into 4 bytes each where they fit, else into 8.

    Arguments
    ---------
    values : array_like
        Integers of any shape.

    Returns
    -------
    numpy.ndarray
        int32 or int64, same shape.

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
    """Strings in one bytes buffer with offsets; reads like a list.

    Arguments
    ---------
    values : iterable of str
        The strings, kept as UTF-8.

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
        """Strings on top of a finished buffer.

        Arguments
        ---------
        buffer : bytes
            All strings, one after the other.
        offsets : numpy.ndarray
            Integers (N + 1,), in bytes.

        Returns
        -------
        Strings
            N strings; nothing is copied.
        """
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
        """Some of the strings, repacked.

        Arguments
        ---------
        indices : iterable of int
            Row numbers, in the order wanted.

        Returns
        -------
        Strings
            One string per index.
        """
        return Strings(self[int(i)] for i in indices)

    def hashes(self):
        """One 64-bit number per string, equal for equal strings in this process.

        Returns
        -------
        numpy.ndarray
            int64 (N,)
        """
        return np.fromiter(map(hash, self), dtype=np.int64, count=len(self))


class StringsBuilder:
    """Collects strings chunk by chunk for `Strings.from_buffer`.

    Example
    -------
    >>> builder = StringsBuilder()
    >>> builder.extend(["a", "bc"])
    >>> list(Strings.from_buffer(*builder.finish()))
    ['a', 'bc']
    """

    def __init__(self):
        self._parts = []
        self._lengths = [np.zeros(1, dtype=np.int64)]

    def extend(self, values):
        """Appends strings.

        Arguments
        ---------
        values : sequence of str
            At most some ten thousand, as they are held in memory here.
        """
        encoded = [value.encode() for value in values]
        self._parts.append(b"".join(encoded))
        self._lengths.append(np.fromiter(map(len, encoded), np.int64, len(encoded)))

    def finish(self):
        """Closes the collection.

        Returns
        -------
        buffer : bytes
            All strings, one after the other.
        offsets : numpy.ndarray
            Integers (N + 1,), in bytes.
        """
        offsets = smallest(np.cumsum(np.concatenate(self._lengths)))
        return b"".join(self._parts), offsets


class Labels(Sequence):
    """Strings of which many are equal: each value once, and a code per row.

    The prefix that all values share is kept once, which makes folders cheap.

    Arguments
    ---------
    codes : array_like
        int (N,), row numbers of ``values``.
    values : sequence of str
        The different values.

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
        """Some of the rows.

        Arguments
        ---------
        indices : numpy.ndarray
            int (M,), row numbers in the order wanted.

        Returns
        -------
        Labels
            M rows; values are shared with this object.
        """
        labels = Labels.__new__(Labels)
        labels.codes = self.codes[indices]
        labels._prefix, labels._values = self._prefix, self._values
        return labels

    def array(self):
        """The rows as NumPy array of str objects, each value being one object.

        Returns
        -------
        numpy.ndarray
            object (N,)
        """
        values = np.array([self._prefix + v for v in self._values], dtype=object)
        return values[self.codes] if len(values) else np.zeros(0, dtype=object)


class LabelsBuilder:
    """Collects strings of which many are equal.

    Example
    -------
    >>> builder = LabelsBuilder()
    >>> builder.extend(["x", "y", "x"])
    >>> list(builder.finish())
    ['x', 'y', 'x']
    """

    def __init__(self):
        self._codes = {}
        self._rows = []

    def extend(self, values):
        """Appends strings.

        Arguments
        ---------
        values : sequence of str
            At most some ten thousand at once.
        """
        codes = self._codes
        rows = (codes.setdefault(value, len(codes)) for value in values)
        self._rows.append(np.fromiter(rows, np.int32, len(values)))

    def finish(self):
        """Closes the collection.

        Returns
        -------
        Labels
            One row per string appended.
        """
        rows = np.concatenate([np.zeros(0, dtype=np.int32), *self._rows])
        return Labels(rows, list(self._codes))


def row_number(i, rows):
    """Checks a row number as lists do, negative ones counting from the end.

    Arguments
    ---------
    i : int
        Row number asked for.
    rows : int
        Number of rows.

    Returns
    -------
    int
        Row number in ``range(rows)``.

    Raises
    ------
    IndexError
        If there is no such row.

    Example
    -------
    >>> row_number(-1, 3)
    2
    """
    if not -rows <= i < rows:
        raise IndexError(f"row {i} was asked for, but there are {rows} rows")
    return int(i) % rows


def give_back_memory():
    """Returns freed memory to the system, which glibc keeps otherwise.

    Reading a million rows frees some 100 MB in pieces; without this call every
    process that reads a manifest would go on occupying them.
    """
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
