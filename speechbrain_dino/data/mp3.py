"""The length of an MP3 by its frames, whatever its header says.

libsndfile believes the Xing header, or the bit rate of the first frame: a file that was
cut, joined from several, or has a varying bit rate without header comes out too long or
loses its end.

Source: ISO/IEC 11172-3 and 13818-3, layer III; the Xing header as LAME writes it.
"""

import io
from itertools import groupby, pairwise
from typing import NamedTuple

_KBITS = {
    True: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    False: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}  # MPEG-1; MPEG-2 and 2.5
_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
_SIDE = {True: (32, 17), False: (17, 9)}  # bytes of side information: stereo, mono
_TAGS = (b"Xing", b"Info")
_ROOMY = 5  # number of a bit rate whose frames have room for a Xing header


class Frame(NamedTuple):
    """A frame of layer III."""

    first: int  # byte in the file
    size: int  # bytes
    rate: int  # Hz
    mono: bool
    samples: int  # per channel
    side: int  # bytes of side information


def frame_at(data, first):
    """The `Frame` whose header is at a byte of the data, None if there is none."""
    head = data[first : first + 4]
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE6 != 0xE2:
        return None  # no sync, or another layer
    version, kbits, rate = head[1] >> 3 & 3, head[2] >> 4, head[2] >> 2 & 3
    if version == 1 or kbits in (0, 15) or rate == 3:
        return None
    mpeg1, mono = version == 3, head[3] >> 6 == 3
    rate, samples = _RATES[version][rate], 1152 if mpeg1 else 576
    size = samples // 8 * 1000 * _KBITS[mpeg1][kbits] // rate + (head[2] >> 1 & 1)
    return Frame(first, size, rate, mono, samples, _SIDE[mpeg1][mono])


def audio_frames(data):
    """The frames of an MP3 that hold audio, in order: no tags, no Xing headers.

    Example
    -------
    >>> import numpy as np, soundfile
    >>> file = io.BytesIO()
    >>> soundfile.write(file, np.zeros(16000), 16000, format="MP3")
    >>> frames = audio_frames(file.getvalue())
    >>> len(frames) * frames[0].samples >= 16000
    True
    """
    frames, first, follows = [], 0, False
    while 0 <= first < len(data):
        frame = frame_at(data, first)
        last = frame is not None and first + frame.size
        whole = frame is not None and last <= len(data)
        if whole and (follows or _followed(data, frame, last)):
            if not _is_header(data, frame):
                frames.append(frame)
            first, follows = last, True
        else:
            first, follows = _next_sync(data, first), False
    return frames


def _followed(data, frame, last):
    """Whether another frame of the kind comes next: a sync alone may be by chance."""
    after = frame_at(data, last)
    return after is not None and (after.rate, after.mono) == (frame.rate, frame.mono)


def _next_sync(data, first):
    if data[first : first + 3] == b"ID3" and len(data) >= first + 10:
        a, b, c, d = data[first + 6 : first + 10]
        return first + 10 + (a << 21 | b << 14 | c << 7 | d)
    return data.find(b"\xff", first + 1)


def _is_header(data, frame):
    tag = frame.first + 4 + frame.side
    vbri = frame.first + 36
    return data[tag : tag + 4] in _TAGS or data[vbri : vbri + 4] == b"VBRI"


def is_whole(frames):
    """Whether frames of one kind follow each other with nothing in between."""
    return all(
        (a.first + a.size, a.rate, a.mono) == (b.first, b.rate, b.mono)
        for a, b in pairwise(frames)
    )


def rebuilt(data, frames):
    """Files with a header that is true, one for each run of frames of one kind.

    Arguments
    ---------
    data : bytes
        The MP3.
    frames : list of Frame
        Its frames, as `audio_frames` gives them.

    Yields
    ------
    io.BytesIO
    """
    for _, run in groupby(frames, key=lambda frame: (frame.rate, frame.mono)):
        run = list(run)
        parts = [_header(data, run[0], len(run))]
        parts += [data[frame.first : frame.first + frame.size] for frame in run]
        yield io.BytesIO(b"".join(parts))


def _header(data, like, count):
    """A frame that holds the number of the frames after it, and no audio."""
    head = bytearray(data[like.first : like.first + 4])
    head[1] |= 1  # no checksum
    head[2] = _ROOMY << 4 | head[2] & 0x0C
    size = frame_at(bytes(head), 0).size
    flags = (1).to_bytes(4, "big")  # the number of frames follows
    body = bytes(head) + bytes(like.side) + _TAGS[0] + flags + count.to_bytes(4, "big")
    return body.ljust(size, b"\0")
