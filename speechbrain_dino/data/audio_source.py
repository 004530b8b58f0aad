"""Which files are audio: regular ones that decode; a system's error is not theirs."""

import errno
import os
import stat
from contextlib import contextmanager

import soundfile as sf

_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
_DENIED = (errno.EACCES, errno.EPERM)
_UNNAMEABLE = (errno.ENAMETOOLONG, errno.EILSEQ)
_BLOCK = 1 << 20
_BYTE_ORDERS = {b"RIFF": "little", b"RIFX": "big", b"FORM": "big"}
_PIPED = 0x7FFFF000  # SoX declares this, others more


class BadAudio(ValueError):
    """A file that holds no usable audio; the message is a kind of ``checks.REMEDIES``.

    ``detail`` is what the decoder said.
    """

    def __init__(self, kind, detail=""):
        super().__init__(kind)
        self.detail = str(detail)


def file_problem(path):
    """Why a path is no file to read: "missing", "denied", "special", "name", or "".

    "special" is a folder, FIFO, socket or device, which could be waited for without
    end. Raises OSError where the system, not the file, is at fault.

    Example
    -------
    >>> folder = getfixture("tmp_path")
    >>> file_problem(folder), file_problem(folder / "a.wav")
    ('special', 'missing')
    """
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        return _kind_of(error, path)
    except ValueError:  # a NUL in the path
        return "name"
    try:
        os.fspath(path).encode()
    except UnicodeEncodeError:
        return "name"  # libsndfile takes UTF-8 alone
    return "" if stat.S_ISREG(mode) else "special"


def name_problem(name):
    """ "name" if a file's name cannot stand in lists: not UTF-8, or with line breaks.

    Example
    -------
    >>> name_problem("a b.wav"), name_problem("a\\nb.wav"), name_problem("\\udce9.wav")
    ('', 'name', 'name')
    """
    try:
        name.encode()
    except UnicodeEncodeError:
        return "name"
    return "name" if "\0" in name or len(f"{name}.".splitlines()) > 1 else ""


def printable(name):
    """A path for messages: bytes that are no text and line breaks are written out."""
    text = os.fspath(name).encode("utf-8", "backslashreplace").decode()
    escaped = (c.encode("unicode_escape").decode() for c in text)
    return "".join(c if c.isprintable() else e for c, e in zip(text, escaped))


def is_cut(path):
    """Whether a WAV or AIFF file is over 2 % shorter than its first chunk declares.

    Programs that write to a pipe declare the largest number, or none.

    Example
    -------
    >>> path = getfixture("tmp_path") / "a.wav"
    >>> sf.write(path, [0.0] * 1000, 16000)
    >>> whole = is_cut(path)
    >>> _ = path.write_bytes(path.read_bytes()[:1000])
    >>> whole, is_cut(path)
    (False, True)
    """
    with open(path, "rb") as file:
        head = file.read(8)
    order = _BYTE_ORDERS.get(head[:4])
    declared = int.from_bytes(head[4:], order) if order else 0
    return declared < _PIPED and declared + 8 > 1.02 * os.path.getsize(path)


_OF_AV = {0: (b"\x1aE\xdf\xa3", b"0&\xb2u", b"#!AMR", b"wvpk"), 4: (b"ftyp",)}


def is_for_av(path):
    """Whether a file's content, whatever its name is, is what PyAV alone reads.

    MP4 and AAC, Matroska and WebM, WMA, AMR, WavPack.

    Example
    -------
    >>> path = getfixture("tmp_path") / "a.wav"
    >>> _ = path.write_bytes(bytes.fromhex("0000001c667479704d344120"))
    >>> is_for_av(path)
    True
    """
    with opened(path) as file:
        head = file.read(8)
    adts = len(head) > 1 and head[0] == 0xFF and head[1] & 0xF6 == 0xF0
    return adts or any(head.startswith(m, k) for k, ms in _OF_AV.items() for m in ms)


@contextmanager
def opened(path):
    """Opens a file to read its bytes; `BadAudio` at what concerns this file alone.

    Raises the system's own OSError otherwise, with the file's name.
    """
    try:
        with open(path, "rb") as file:
            yield file
    except OSError as error:
        raise BadAudio(_kind_of(error, path), error) from error


@contextmanager
def decoding(path, *errors):
    """Turns a decoder's error into `BadAudio`, unless the system kept it from reading.

    libsndfile and FFmpeg report a full table of open files or a failing disk as they
    report a damaged file: reading it without them tells which it was.

    Arguments
    ---------
    path : str or Path
        The file that is decoded.
    *errors : type
        Errors of the decoder; libsndfile's are always among them.

    Raises
    ------
    OSError
        The system's own, such as EMFILE or EIO.
    """
    try:
        yield
    except (sf.SoundFileError, *errors) as error:
        raise BadAudio(_read_problem(path) or "unreadable", error) from error


def _read_problem(path):
    problem = file_problem(path)
    if problem:
        return problem
    try:
        with open(path, "rb") as file:
            while file.read(_BLOCK):
                pass
    except OSError as error:
        return _kind_of(error, path)
    return ""


def _kind_of(error, path):
    """The kind of what concerns one file alone; other errors are raised again."""
    error.filename = error.filename or os.fspath(path)  # reading names no file
    if error.errno in _ABSENT:
        return "missing"
    if error.errno in _DENIED:
        return "denied"
    if error.errno in _UNNAMEABLE:
        return "name"
    raise error
