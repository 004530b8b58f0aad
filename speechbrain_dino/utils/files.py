"""Writing files so that a reader never finds half of one."""

import contextlib
import os
import shutil
import tempfile
from pathlib import Path


@contextlib.contextmanager
def replacing(path):
    """Gives a path to write to, and moves what was written there to ``path``.

    If the block raises, ``path`` stays as it was. Missing parents are made. For files;
    folders are replaced by ``ownership.replacing_folder``: IsADirectoryError.

    Example
    -------
    >>> target = getfixture("tmp_path") / "eer.txt"
    >>> with replacing(target) as draft:
    ...     _ = draft.write_text("EER 0.1")
    >>> target.read_text()
    'EER 0.1'
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(
            f"{path} is a folder, and a file of this name is to be written: name a "
            "file, or move the folder away"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    try:
        draft = scratch / path.name
        yield draft
        os.replace(draft, path)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
