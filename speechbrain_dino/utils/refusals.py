"""What a command does to its output folder only once it is not refused any more."""

import contextlib
import os
import shutil
from pathlib import Path

_BEFORE = ".before"

_waiting = []
_takes_back = []


def when_accepted(write, take_back=None):
    """Puts off what a refused command must not do.

    Arguments
    ---------
    write : callable
        Called by :func:`accept`, without arguments.
    take_back : callable, optional
        Called by :func:`refuse` instead, for what could not be put off.

    Example
    -------
    >>> texts = []
    >>> when_accepted(lambda: texts.append("one"))
    >>> refuse()
    >>> when_accepted(lambda: texts.append("two"))
    >>> accept()
    >>> texts
    ['two']
    """
    _waiting.append(write)
    if take_back is not None:
        _takes_back.append(take_back)


def accept():
    """Does what waited: from here on the command changes what an earlier one left."""
    waiting = list(_waiting)
    forget()
    for write in waiting:
        write()


def refuse():
    """Takes back what was done before a refusal; nothing after :func:`accept`."""
    takes_back = list(_takes_back)
    forget()
    for take_back in takes_back:
        take_back()


def keep_files(folder, names):
    """Puts files of a folder back if the command is refused, removes them if new.

    Nothing where no command waits to be accepted. Files that are replaced as a whole
    take no space, such as grow a copy.

    Arguments
    ---------
    folder : str or path
        The folder.
    names : sequence of str
        Names in it, of files that may be replaced, appended to, or made.
    """
    if not _waiting:
        return
    folder = Path(folder)
    scratch, names = folder / _BEFORE, list(names)
    shutil.rmtree(scratch, ignore_errors=True)
    present = [name for name in names if (folder / name).is_file()]
    for name in present:
        (scratch / name).parent.mkdir(parents=True, exist_ok=True)
        _link(folder / name, scratch / name)

    def put_back():
        for name in names:
            if name in present:
                os.replace(scratch / name, folder / name)
            else:
                (folder / name).unlink(missing_ok=True)
        remove()

    def remove():
        shutil.rmtree(scratch, ignore_errors=True)

    when_accepted(remove, put_back)


def _link(path, target):
    if path.suffix != ".jsonl":  # these grow in place
        with contextlib.suppress(OSError):  # a file system without links
            os.link(path, target)
            return
    shutil.copy2(path, target)


def forget():
    """Begins anew, as a program does that starts several runs."""
    _waiting.clear()
    _takes_back.clear()
