"""JSON that a step leaves for the next, with a checksum, so that damage is seen."""

import hashlib
import json
from pathlib import Path

from speechbrain_dino.utils.files import replacing

CHECKSUM = "checksum"


class DamagedFileError(ValueError):
    """A file that is not what was written."""


def write_checked(path, content):
    """Writes a dict as JSON with a checksum, so that a reader never finds half of it.

    Example
    -------
    >>> path = getfixture("tmp_path") / "state.json"
    >>> write_checked(path, {"epochs": 30})
    >>> read_checked(path)
    {'epochs': 30}
    >>> _ = path.write_text(path.read_text().replace("30", "80"))
    >>> read_checked(path)
    Traceback (most recent call last):
    speechbrain_dino.utils.checked_json.DamagedFileError: ... is damaged ...
    """
    content = {**content, CHECKSUM: _checksum(content)}
    text = json.dumps(content, indent=2, allow_nan=False)
    with replacing(path) as draft:
        draft.write_text(text + "\n", "utf-8")


def read_checked(path, remedy="restore it, or move it away and run the command again"):
    """Reads the dict in a JSON, without its checksum, which older files lack.

    Raises
    ------
    DamagedFileError
        If the file is no JSON, holds anything but an object, or another content than
        was written; the message ends with ``remedy``.
    FileNotFoundError
        If there is no such file.
    """
    try:
        content = json.loads(Path(path).read_text("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise DamagedFileError(f"{path} is not JSON ({error}): {remedy}") from error
    if not isinstance(content, dict):
        raise DamagedFileError(
            f"{path} holds a {type(content).__name__} where an object is expected: "
            f"{remedy}"
        )
    checksum = content.pop(CHECKSUM, None)
    if checksum not in (None, _checksum(content)):
        raise DamagedFileError(
            f"{path} is damaged or was changed since it was written (its checksum "
            f"differs): {remedy}"
        )
    return content


def _checksum(content):
    # As it is read back: its keys are text.
    content = json.loads(json.dumps({k: content[k] for k in content if k != CHECKSUM}))
    text = json.dumps(content, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def bytes_digest(content):
    """Digest of bytes, in hexadecimal."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def file_digest(path):
    """Digest of a file's bytes, as ``bytes_digest``."""
    digest = hashlib.blake2b(digest_size=16)
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
