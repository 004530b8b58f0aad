"""One training at a time in a folder, as far as one machine goes."""

import contextlib
import hashlib
import os
import tempfile
import time
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

PATIENCE = 20.0
"""Seconds that a training whose starter was killed may need to end as well."""


@contextlib.contextmanager
def only_run(folder):
    """Keeps other trainings out of a folder while one is at work.

    The system lets go of it when the process ends, however that is. Without effect
    where the system has no such locks, and for processes of other machines.

    Raises
    ------
    ValueError
        If another training is at work there after some seconds.

    Example
    -------
    >>> with only_run(getfixture("tmp_path")):
    ...     wait_for_others(getfixture("tmp_path"))  # a process is not in its own way
    """
    with _locked(folder):
        yield


def wait_for_others(folder):
    """Returns when no other training is at work in a folder; else as `only_run`."""
    with _locked(folder):
        pass


_held = {}


@contextlib.contextmanager
def _locked(folder):
    path = _path_of(folder)
    if fcntl is None or path in _held:
        yield
        return
    with contextlib.ExitStack() as stack:
        # A folder of somebody else's, a full disk: no lock is no reason not to train.
        with contextlib.suppress(OSError):
            _take(stack.enter_context(_opened(path)), folder)
            _held[path] = True
            stack.callback(_held.pop, path)
        yield


def _take(file, folder):
    last = time.monotonic() + PATIENCE
    while True:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() > last:
                file.seek(0)
                raise ValueError(
                    f"another training is at work in {folder} (process {file.read()}):"
                    " wait for its end, end it, or give another output_folder"
                ) from None
            time.sleep(0.1)
        except OSError:  # a file system without locks
            return
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()


def _opened(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    return open(path, "a+", encoding="ascii")


def _path_of(folder):
    name = os.fsencode(os.path.realpath(folder))
    user = os.getuid() if hasattr(os, "getuid") else ""
    digest = hashlib.blake2b(name, digest_size=16).hexdigest()
    return Path(tempfile.gettempdir()) / f"speechbrain_dino-{user}" / digest
