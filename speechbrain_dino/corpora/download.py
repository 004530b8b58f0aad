"""Fetches many files over HTTP: resumed, retried, checked."""

import http.client
import logging
import os
import shutil
import ssl
import threading
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from speechbrain_dino.utils.progress import progress

logger = logging.getLogger(__name__)

_POINTER = b"version https://git-lfs"
_AUDIO = (b"RIFF", b"fLaC", b"OggS")
_ABSENT = (404, 410)
_TRANSIENT = (408, 425, 429, 500, 502, 503, 504)
# Not every OSError: a full disk stays full.
_BROKEN = (
    urllib.error.URLError,
    ConnectionError,
    TimeoutError,
    ssl.SSLError,
    http.client.HTTPException,
)
_LONGEST_PAUSE = 60.0
# So many files that are not there, and none that is: the address is wrong.
_HOPELESS = 20


def download(
    files, folder, audio=True, connections=8, retries=5, timeout=30.0, backoff=1.0
):
    """Fetches the files that are missing and returns those that no address has.

    A file appears when it is complete; until then it is ``<name>.part``, which a
    later call resumes. The first error that a retry does not clear ends the download,
    except that a server does not have a file.

    Arguments
    ---------
    files : dict
        Path within ``folder`` -> addresses, tried in turn while a server answers that
        there is no such file.
    folder : str or Path
    audio : bool
        Whether they are audio, else text.
    connections : int
        Files fetched at a time.
    retries : int
        Number of tries after a failure that brought no byte.
    timeout : float
        Seconds without an answer that count as a failure.
    backoff : float
        Seconds before the first retry, twice as many before each further one.

    Raises
    ------
    OSError
        If a file could not be fetched.
    ValueError
        If the content is not of the expected kind, such as a Git LFS pointer.
    """
    folder = Path(folder)
    todo = {
        name: addresses
        for name, addresses in files.items()
        if not is_whole(folder / name, audio)
    }
    present, absent, stop = len(files) - len(todo), [], threading.Event()
    pool = ThreadPoolExecutor(max(1, connections))
    options = (audio, retries, timeout, backoff, stop)
    try:
        jobs = {
            pool.submit(_fetch, addresses, folder / name, *options): name
            for name, addresses in todo.items()
        }
        done = progress(as_completed(jobs), len(jobs), "downloading", "files")
        for job in done:
            if job.result():
                present += 1
            else:
                absent.append(jobs[job])
            if len(absent) >= _HOPELESS and not present:
                raise FileNotFoundError(
                    f"{todo[absent[0]][0]} and {len(absent) - 1} others do not exist, "
                    "and no file is: is the address right?"
                )
    except OSError as error:
        raise type(error)(
            f"{error}\n{present} of {len(files)} files are in {folder}; the same "
            "command resumes there"
        ) from error
    finally:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)
    return sorted(absent)


def is_whole(path, audio=True):
    """Whether a file exists and is audio (else text), no LFS pointer, no web page."""
    return os.path.isfile(path) and not _problem(path, audio)


def is_pointer(path):
    """Whether a file is what Git LFS leaves in the place of a file not yet fetched.

    Example
    -------
    >>> path = getfixture("tmp_path") / "a.wav"
    >>> _ = path.write_text("version https://git-lfs.github.com/spec/v1\\noid ...")
    >>> is_pointer(path)
    True
    """
    return _start(path).startswith(_POINTER)


def _start(path):
    with open(path, "rb") as file:
        return file.read(len(_POINTER))


def _problem(path, audio):
    start = _start(path)
    if not start:
        return "an empty file"
    if start.startswith(_POINTER):
        return (
            "a Git LFS pointer, not the file itself: give the address that serves the "
            "content, such as https://media.githubusercontent.com/media/..."
        )
    if audio and not start.startswith(_AUDIO):
        return f"no audio, it begins with {start!r}"
    if not audio and start.lstrip().startswith(b"<"):
        return f"a web page, it begins with {start!r}"
    return ""


def _fetch(addresses, target, audio, retries, timeout, backoff, stop):
    """Fetches one file; False if no address has it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    for address in addresses:
        if _fetch_part(address, part, retries, timeout, backoff, stop):
            problem = _problem(part, audio)
            if problem:
                part.unlink()
                raise ValueError(f"{address} gives {problem}")
            os.replace(part, target)
            return True
        part.unlink(missing_ok=True)
    return False


def _fetch_part(address, part, retries, timeout, backoff, stop):
    failures = 0
    while True:
        before = _size(part)
        try:
            _receive(address, part, timeout)
            return True
        except urllib.error.HTTPError as error:
            if error.code in _ABSENT:
                return False
            if error.code not in _TRANSIENT:
                raise OSError(f"{address}: {error}") from error
            problem = error
        except _BROKEN as error:
            problem = error
        failures = 0 if _size(part) > before else failures + 1
        if failures > retries:
            raise OSError(f"{address}: {problem}, after {failures} tries")
        pause = min(_LONGEST_PAUSE, backoff * 2 ** max(failures - 1, 0))
        logger.info("%s: %s; next try in %.0f s", address, problem, pause)
        if stop.wait(pause):
            raise OSError(f"{address}: {problem}, stopped")


def _size(path):
    return path.stat().st_size if path.exists() else 0


def _receive(address, part, timeout):
    """Appends the missing bytes; ConnectionError if fewer than announced came."""
    present = _size(part)
    headers = {"Range": f"bytes={present}-"} if present else {}
    request = urllib.request.Request(address, headers=headers)
    try:
        response = urllib.request.urlopen(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        if error.code != 416:
            raise
        # Nothing after the bytes that are there: they are all, or of another file.
        if error.headers.get("Content-Range") == f"bytes */{present}":
            return
        part.unlink()
        raise ConnectionError("the server's file is shorter; from the start") from None
    with response:
        length = response.headers.get("Content-Length")
        resumes = response.status == 206
        if resumes:
            content_range = response.headers.get("Content-Range", "")
            if not content_range.startswith(f"bytes {present}-"):
                part.unlink()
                raise ConnectionError(
                    f"asked from byte {present}, got {content_range!r}"
                )
        with open(part, "ab" if resumes else "wb") as file:
            shutil.copyfileobj(response, file, 1 << 16)
    if length is not None:
        expected = int(length) + (present if resumes else 0)
        if _size(part) != expected:
            raise ConnectionError(f"{_size(part)} of {expected} bytes came")
