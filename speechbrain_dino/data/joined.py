"""Files that were joined from several, of which decoders read the first alone.

MP3 and Ogg, which are streams, have modules of their own. Sources: RIFF (Microsoft,
1991), EBU Tech 3306 (RF64), AIFF 1.3, Sun's .au, RFC 9639 (FLAC), ISO/IEC 14496-12.
"""

import io
import mmap
import os
from itertools import pairwise

from speechbrain_dino.data.audio_source import opened

_PIPED = 0x7FFFF000  # SoX declares this where it writes to a pipe, others more
_CHUNKED = {b"RIFF": "little", b"RIFX": "big", b"FORM": "big"}
_MAGIC = (*_CHUNKED, b"RF64", b".snd", b"fLaC")
_FLAC = tuple(b"fLaC" + last + b"\0\0\x22" for last in (b"\0", b"\x80"))
_SLACK = 0.02  # of a file, that may follow its audio
_SOON_READ = 1 << 22  # bytes; a few minutes of FLAC


def edges_of(path, search=True):
    """Where the files begin that one is made of, and where the last one ends, in bytes.

    Of formats that this module does not read, [0, size]. What follows the last file and
    is no audio counts as part of it; a list of more than two edges is a joined file.

    Arguments
    ---------
    path : str or path
        A regular file.
    search : bool
        Whether long FLAC files, which declare no size, are searched for further
        beginnings; short ones always are.

    Example
    -------
    >>> import soundfile
    >>> path = getfixture("tmp_path") / "a.wav"
    >>> soundfile.write(path, [0.0] * 100, 16000)
    >>> _ = path.write_bytes(2 * path.read_bytes())
    >>> edges_of(path)
    [0, 244, 488]
    """
    with opened(path) as file:
        size = os.fstat(file.fileno()).st_size
        head = file.read(8)
        if head[:4] == b"fLaC":
            further = _flac_heads(file) if search or size < _SOON_READ else []
        elif head[4:8] == b"ftyp":
            further = _mp4_heads(file, size)
        else:
            further = _declared_ends(file, size)
    return [0, *further, size]


def parts_of(path):
    """The files that a file was joined from, each as a file of its own.

    [] where it is a single one.
    """
    edges = edges_of(path)
    if len(edges) == 2:
        return []
    with opened(path) as file:
        parts = []
        for first, last in pairwise(edges):
            file.seek(first)
            parts.append(io.BytesIO(file.read(last - first)))
    return parts


def has_tail(path):
    """Whether over 2 % of a file follow what it declares, and are no audio."""
    size = os.path.getsize(path)
    with opened(path) as file:
        first = 0
        while (last := _declared_end(file, first)) and last < size:
            file.seek(last)
            if file.read(4) not in _MAGIC:
                return size - last > _SLACK * size
            first = last
    return False


def _declared_ends(file, size):
    """Ends of files that others follow at once."""
    ends, first = [], 0
    while (last := _declared_end(file, first)) and last < size:
        file.seek(last)
        if file.read(4) not in _MAGIC:
            break
        ends.append(last)
        first = last
    return ends


def _declared_end(file, first):
    """Byte after a file that begins at ``first``, None where it does not say."""
    file.seek(first)
    head = file.read(28)
    kind, order = head[:4], _CHUNKED.get(head[:4])
    declared = None
    if order:
        declared = int.from_bytes(head[4:8], order)
        declared = None if declared >= _PIPED else 8 + declared + declared % 2
    elif kind == b"RF64" and head[12:16] == b"ds64":
        declared = 8 + int.from_bytes(head[20:28], "little")
    elif kind == b".snd":
        begin, length = (int.from_bytes(head[k : k + 4], "big") for k in (4, 8))
        declared = None if length >= _PIPED else begin + length
    # 0 is what programs leave that could not go back to write the size.
    return first + declared if declared and declared > 44 else None


def _flac_heads(file):
    heads = []
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for magic in _FLAC:
            place = data.find(magic, 4)
            while place >= 0:
                heads.append(place)
                place = data.find(magic, place + 4)
    return sorted(heads)


def _mp4_heads(file, size):
    """Where boxes of the file's type begin after the first."""
    heads, place = [], 0
    while place < size:
        file.seek(place)
        head = file.read(16)
        length, kind = int.from_bytes(head[:4], "big"), head[4:8]
        if length == 1:  # the length follows, in eight bytes
            length = int.from_bytes(head[8:16], "big")
        if place and kind == b"ftyp":
            heads.append(place)
        if length < 8:  # 0: to the end of the file
            break
        place += length
    return heads
