"""Writing files so that a reader never finds half of one."""

import contextlib
import os
import shutil
import tempfile
from pathlib import Path


@contextlib.contextmanager
def replacing(path):
    """Gives a path to write to, and moves what was written there to ``path``.

    If the block raises, ``path`` stays as it was. Works for a file and for a folder
    (which replaces an existing one as a whole); missing parents are made.

    Example
    -------
    >>> target = getfixture("tmp_path") / "eer.txt"
    >>> with replacing(target) as draft:
    ...     _ = draft.write_text("EER 0.1")
    >>> target.read_text()
    'EER 0.1'
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # A part of the name: with all of a long one this would be too long.
    scratch = Path(tempfile.mkdtemp(prefix=f".{path.name[:32]}-", dir=path.parent))
    try:
        draft = scratch / path.name
        yield draft
        if path.is_dir():
            # A folder cannot be replaced in one step: the old one moves aside first.
            os.replace(path, scratch / f"{path.name}-old")
        os.replace(draft, path)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
