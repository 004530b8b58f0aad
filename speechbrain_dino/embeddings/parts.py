"""The parts of a table that is being computed: each whole or not there."""

import hashlib
import json
import logging
import re
import shutil
from pathlib import Path

import numpy as np

from speechbrain_dino.utils.files import replacing
from speechbrain_dino.utils.ownership import claim, read_mark

logger = logging.getLogger(__name__)

_COMMAND = "embedding"
_OWN = re.compile(r"owner\.json|\d{6}\.(npy|json)|\.\d{6}\.(npy|json)-\w+")


class Parts:
    """Vectors and problems of parts, in a folder within the table's.

    Arguments
    ---------
    folder : Path
        The table's.
    name : str
        What tells these parts from those of other tables.
    """

    def __init__(self, folder, name):
        self.folder = Path(folder) / f"parts-{name}"

    def create(self):
        """Makes the folder and marks it as ours, so that it may be removed."""
        claim(self.folder, _COMMAND)

    def write(self, number, vectors, problems):
        """Writes a part: vectors (n, D), problems (n,)."""
        problems = {int(k): problems[k] for k in np.flatnonzero(problems != "")}
        facts = {"checksum": _checksum(vectors, problems), "problems": problems}
        # First, so that the vectors are there only if this is.
        with replacing(self._path(number, "json")) as draft:
            draft.write_text(json.dumps(facts), "utf-8")
        with replacing(self._path(number, "npy")) as draft:
            np.save(draft, vectors)

    def whole(self, number, rows):
        """Whether a part of so many rows is there as it was written."""
        path = self._path(number, "npy")
        if not path.is_file():
            return False
        try:
            vectors, facts = np.load(path), self._facts(number)
            written = facts["checksum"] == _checksum(vectors, facts["problems"])
            if written and len(vectors) == rows:
                return True
        except Exception as error:  # NumPy's parser of headers raises almost any
            logger.debug("%s", error)
        logger.warning("%s is damaged: it is computed again", path)
        return False

    def vectors(self, number):
        """Vectors (n, D) of a part, mapped into memory."""
        return np.load(self._path(number, "npy"), mmap_mode="r")

    def problems(self, number):
        """Row in the part -> kind of its problem."""
        problems = self._facts(number)["problems"]
        return {int(row): kind for row, kind in problems.items()}

    def remove(self):
        """Removes the folder, when the table is there."""
        _remove(self.folder)

    def _facts(self, number):
        return json.loads(self._path(number, "json").read_text("utf-8"))

    def _path(self, number, ending):
        return self.folder / f"{number:06d}.{ending}"


def remove_parts(folder, but):
    """Removes the parts of other tables in a folder, as this program marked them."""
    for other in Path(folder).glob("parts-*"):
        if other != but.folder and (read_mark(other) or {}).get("command") == _COMMAND:
            _remove(other)


def _remove(folder):
    """Removes what we wrote; anything else, and then the folder, stays."""
    own = [path for path in folder.iterdir() if _OWN.fullmatch(path.name)]
    for path in own:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    if not any(folder.iterdir()):
        folder.rmdir()


def _checksum(vectors, problems):
    digest = hashlib.blake2b(json.dumps(problems).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(vectors, dtype=np.float32))
    return digest.hexdigest()
