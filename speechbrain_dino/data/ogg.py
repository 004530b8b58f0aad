"""The streams of an Ogg file that was joined from several: libsndfile reads the first.

Source: RFC 3533, section 6.
"""

import io
from itertools import pairwise
from pathlib import Path

_CAPTURE = b"OggS"
_HEAD = 27  # bytes of a page before its table of segments
_BEGINS = 2  # flag of the first page of a stream


def ogg_links(path):
    """The streams that follow each other in an Ogg file, each as a file of its own.

    Example
    -------
    >>> import numpy as np, soundfile
    >>> path = getfixture("tmp_path") / "a.ogg"
    >>> soundfile.write(path, np.zeros(16000), 16000)
    >>> _ = path.write_bytes(2 * path.read_bytes())
    >>> [soundfile.info(link).frames for link in ogg_links(path)]
    [16000, 16000]
    """
    data = Path(path).read_bytes()
    edges, first, begins_before = [0], 0, True
    while (first := data.find(_CAPTURE, first)) >= 0 and first + _HEAD <= len(data):
        begins = bool(data[first + 5] & _BEGINS)
        if begins and not begins_before:  # several at once are parallel streams
            edges.append(first)
        begins_before = begins
        segments = data[first + _HEAD : first + _HEAD + data[first + 26]]
        first += _HEAD + len(segments) + sum(segments)
    edges.append(len(data))
    return [io.BytesIO(data[a:b]) for a, b in pairwise(edges)]
