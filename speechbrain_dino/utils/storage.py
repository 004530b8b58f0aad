"""Disks that are full, folders that vanish: what to tell of it, in one line."""

import errno
import logging
import math
import re
import shutil
import sys
from pathlib import Path

logger = logging.getLogger(__name__)

_CAUSES = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the quota of the disk is used up",
    errno.EFBIG: "the file system takes no larger file",
    errno.EROFS: "the file system is read-only",
    errno.EIO: "the disk failed to read or write",
    errno.ENOENT: "a file or folder is gone",
    errno.ENOTDIR: "a folder is gone, a file has its name",
    errno.EACCES: "permission is denied",
    errno.EPERM: "permission is denied",
    errno.ESTALE: "the network disk is gone",
    errno.ENOTCONN: "the network disk is gone",
    errno.EMFILE: "this process has too many files open (ulimit -n)",
    errno.ENFILE: "the machine has too many files open",
    errno.ENAMETOOLONG: "a name is too long for the file system",
}
_OF_USERS_FILES = {
    _CAUSES[number]
    for number in (errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.EPERM)
}
# torch.save and safetensors hide the system's error behind these.
_WRITING = re.compile(
    "PytorchStreamWriter|inline_container|unexpected pos|Parent directory .* does not"
    "|cannot be opened|write failed",
    re.IGNORECASE,
)
_UNKNOWN, _NEXT_TO_NOTHING = "a file could not be written", 50_000_000
_MORE = "What was saved is whole: run the same command again to go on from there"


def storage_message(error, folder=None):
    """What an error of the disk means, with the free space and what to do.

    Returns None for errors of other kinds, and of files that are not there or not
    allowed where ``folder`` is not given: of the user's own files, errors say it best.
    ``folder`` is where the program writes, named where the error names no file.

    Example
    -------
    >>> storage_message(OSError(errno.ENOSPC, "No space left on device", "a.ckpt"))
    'the disk is full: a.ckpt (... GB free there...). Free space...'
    >>> storage_message(ValueError("a.wav is empty"))
    """
    cause, path = _cause(error)
    if cause is None or (folder is None and cause in _OF_USERS_FILES):
        return None
    path = Path(path or folder or ".")
    free, where = _free(path)
    if cause == _UNKNOWN and free < _NEXT_TO_NOTHING:
        cause = _CAUSES[errno.ENOSPC]
    full = cause in (_CAUSES[errno.ENOSPC], _CAUSES[errno.EDQUOT])
    remedy = "Free space, or give another output folder" if full else "Repair that"
    return f"{cause}: {path} ({free / 1e9:.1f} GB free {where}). {remedy}. {_MORE}"


def _of_workers(error):
    """What it means that a process which loads data has died; None for other errors."""
    if not (isinstance(error, RuntimeError) and "DataLoader worker" in str(error)):
        return None
    why = " ".join(str(error).split())
    return (
        f"a process that loads data died ({why}), out of memory or of shared memory "
        "perhaps: lower num_workers or batch_size, or give the container more (docker "
        f"run --shm-size). {_MORE}"
    )


def _cause(error):
    """Cause in words and file of the first error of the disk behind an error."""
    seen = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, OSError) and error.errno in _CAUSES:
            return _CAUSES[error.errno], error.filename2 or error.filename
        text = str(error)
        if isinstance(error, RuntimeError) and _WRITING.search(text):
            named = re.search(r"(?:Parent directory|File) (\S+)", text)
            behind = error.__cause__ or error.__context__
            cause, path = _cause(behind) if behind else (None, None)
            return cause or _UNKNOWN, path or (named and named[1])
        error = error.__cause__ or error.__context__
    return None, None


def _free(path):
    """Bytes that are free where a file is, or was to be, and where that is."""
    for place in (path, *Path(path).absolute().parents):
        try:
            usage = shutil.disk_usage(place)
        except OSError:
            continue
        gone = "" if place in (path, path.parent) else f", of this path only {place}"
        return usage.free, f"there{gone}"
    return math.inf, "there"  # not even the root can be asked


def tell_storage_errors(folder):
    """Makes errors of the disk that are not caught end the program in one line.

    Others are handed on to the ``sys.excepthook`` of before. A log that cannot be
    written either does not print tracebacks meanwhile.
    """
    logging.raiseExceptions = False
    before = sys.excepthook

    def hook(kind, error, traceback):
        message = storage_message(error, folder) or _of_workers(error)
        if message is None:
            before(kind, error, traceback)
            return
        logger.debug("Stopped by this error:", exc_info=error)
        logger.error("%s", message)

    sys.excepthook = hook
