"""Whose folder this is: a command replaces what it wrote itself, nothing else."""

import contextlib
import json
import os
import shutil
import tempfile
from pathlib import Path

import speechbrain_dino
from speechbrain_dino.utils.checked_json import read_json

MARK = "owner.json"
"""File in every folder that a command may replace: command, version, run, files."""


class NotOwnedError(ValueError):
    """A folder or file in the way that the command did not write."""


def claim(folder, command, names=None):
    """Makes a folder the command's own, for files that it will write into it.

    A new or empty folder is made and marked, one that carries the command's mark is
    taken as it is. A folder of the user's may be taken as well, but for the ``names``
    that the command will write: further files in it stay.

    Arguments
    ---------
    folder : str or path
        The folder; missing parents are made.
    command : str
        What writes there: ``training``, ``verification``, ``report`` ...
    names : sequence of str, optional
        Names in the folder that the command may write; all names if not given.

    Raises
    ------
    NotOwnedError
        If another command's mark lies there, or there is none and one of the names.

    Example
    -------
    >>> folder = getfixture("tmp_path") / "run"
    >>> claim(folder, "training", ["results.json"])
    >>> claim(folder, "verification")
    Traceback (most recent call last):
    speechbrain_dino.utils.ownership.NotOwnedError: ... holds files of a training ...
    """
    folder = Path(folder)
    check_owner(folder, command, names)
    folder.mkdir(parents=True, exist_ok=True)
    if read_mark(folder) is None:
        _write_mark(folder / MARK, folder, command)


def check_owner(folder, command, names=None):
    """Raises as :func:`claim` does, and writes nothing: before long work."""
    folder = Path(folder)
    for above in folder.parents:
        if above.exists() and not above.is_dir():
            raise NotOwnedError(
                f"{above} is a file, so there can be no folder {folder}: give another "
                "output folder"
            )
    if not os.path.lexists(folder):
        return
    if not folder.is_dir():
        raise NotOwnedError(
            f"{folder} is a file, and {_named(command)} writes a folder of this name: "
            "move it away, or give another output folder"
        )
    mark = read_mark(folder)
    if mark is not None:
        if mark["command"] != command:
            raise NotOwnedError(
                f"{folder} holds files of {_named(mark['command'])} (its {MARK} names "
                f"the run {mark.get('run', '?')}), which {_named(command)} would "
                "replace: give another output folder"
            )
        return
    inside = sorted(os.listdir(folder)) if names is None else names
    in_the_way = [name for name in inside if os.path.lexists(folder / name)]
    if in_the_way:
        raise NotOwnedError(
            f"{folder / in_the_way[0]} is in the way: {_named(command)} would replace "
            f"it, and {folder} has no {MARK}, so somebody else wrote it. Move it away "
            "or give another output folder; if an earlier version of this program "
            f'wrote it, write {{"command": "{command}"}} into {folder / MARK} and run '
            "this again"
        )


@contextlib.contextmanager
def replacing_folder(folder, command):
    """Gives a folder to write to, which then takes the place of ``folder`` as a whole.

    If the block raises, ``folder`` stays as it was. Of a folder that is replaced, files
    that the command did not write (its mark lists those it wrote) stay there. A folder
    into which nothing was written is only removed.

    Arguments
    ---------
    folder : str or path
        What is replaced; missing parents are made.
    command : str
        As for :func:`claim`.

    Yields
    ------
    pathlib.Path
        An empty folder.

    Raises
    ------
    NotOwnedError
        If ``folder`` has another command's mark or, not being empty, none; if a file
        that the command did not write has the name of one that it did.

    Example
    -------
    >>> folder = getfixture("tmp_path") / "report"
    >>> for page in ("old.html", "new.html"):
    ...     with replacing_folder(folder, "report") as draft:
    ...         _ = (draft / page).write_text("EER 0.1")
    ...     _ = (folder / "notes.txt").write_text("my own")
    >>> sorted(path.name for path in folder.iterdir())
    ['new.html', 'notes.txt', 'owner.json']
    """
    folder = Path(folder)
    _put_back(folder)
    check_owner(folder, command)
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        draft = scratch / folder.name
        draft.mkdir()
        yield draft
        check_owner(folder, command)
        written = _files(draft)
        if written:
            _write_mark(draft / MARK, folder, command, written)
        _keep_others(folder, draft, {*written, MARK})
        if folder.is_dir():
            # A folder cannot be replaced in one step: the old one moves aside first.
            os.replace(folder, scratch / _OLD)
        if os.listdir(draft):
            os.replace(draft, folder)
    finally:
        if (scratch / _OLD).is_dir() and not folder.exists() and os.listdir(draft):
            os.replace(scratch / _OLD, folder)
        shutil.rmtree(scratch, ignore_errors=True)


_OLD = "replaced"


def read_mark(folder):
    """A folder's mark, a dict with at least ``command``; None without one.

    Raises NotOwnedError if the file is something else.
    """
    path = Path(folder) / MARK
    try:
        mark = read_json(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, IsADirectoryError):
        mark = None
    mark = mark if isinstance(mark, dict) else {}
    files = mark.get("files", [])
    if not (
        isinstance(mark.get("command"), str)
        and mark["command"]
        and isinstance(files, list)
        and all(isinstance(name, str) for name in files)
    ):
        raise NotOwnedError(
            f"{path} is damaged, so it is not known who wrote {folder}: move the "
            "folder away, or give another output folder"
        )
    return mark


def _write_mark(path, folder, command, files=None):
    mark = {
        "command": command,
        "version": speechbrain_dino.__version__,
        # Not the whole path: folders are moved and published.
        "run": "/".join(Path(os.path.abspath(folder)).parts[-2:]),
    }
    if files is not None:
        mark["files"] = files
    draft = path.with_name(f".{path.name}-{os.getpid()}")
    draft.write_text(json.dumps(mark, indent=1) + "\n", "utf-8")
    os.replace(draft, path)


def _files(folder):
    """Names of all files below a folder, relative to it and with "/", sorted."""
    return sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_symlink() or not path.is_dir()
    )


def _keep_others(folder, draft, written):
    """Copies into the draft what lies in the folder and the command did not write."""
    if not folder.is_dir():
        return
    mark = read_mark(folder) or {"files": []}
    for name in set(_files(folder)) - {MARK, *mark.get("files", ())}:
        if name in written:
            if "files" not in mark:  # made by hand, of what an earlier version wrote
                continue
            raise NotOwnedError(
                f"{folder / name} was not written by {_named(mark['command'])}, which "
                "would replace it now: move it away and run the command again"
            )
        target = draft / name
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(folder / name, target, follow_symlinks=False)
        except OSError:  # a file system without links
            shutil.copy2(folder / name, target, follow_symlinks=False)


def _put_back(folder):
    """Puts the old folder back where a replacement was killed between its two steps."""
    if folder.exists() or not folder.parent.is_dir():
        return
    for old in folder.parent.glob(f".{folder.name}-*/{_OLD}"):
        os.replace(old, folder)
        return


def _named(command):
    return f"an {command}" if command[0] in "aeiou" else f"a {command}"
