"""JSON that a step leaves for the next, with a checksum, so that damage is seen."""

import contextlib
import hashlib
import json
import math
from pathlib import Path

from speechbrain_dino.utils.files import replacing

CHECKSUM = "checksum"
_REMEDY = "restore it, or move it away and run the command again"


def read_json(path):
    """Reads JSON; ValueError, which says why, whatever else the file holds.

    NaN and infinity, which JSON does not have, become None.

    Example
    -------
    >>> path = getfixture("tmp_path") / "a.json"
    >>> _ = path.write_text("[" * 100000)
    >>> read_json(path)
    Traceback (most recent call last):
    ValueError: it is nested too deeply
    """
    text = Path(path).read_text("utf-8-sig")
    try:
        return json.loads(text, parse_constant=lambda _: None, parse_float=_finite)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _finite(text):
    number = float(text)
    return number if math.isfinite(number) else None


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


def read_checked(path, remedy=_REMEDY):
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
        content = read_json(path)
    except IsADirectoryError as error:
        raise DamagedFileError(f"{path} is a folder, not a file: {remedy}") from error
    except ValueError as error:
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


@contextlib.contextmanager
def odd_content_is_named(path, remedy=_REMEDY):
    """Turns errors over what stands in a file into DamagedFileError.

    Unless the file is as this program wrote it: then it is the program that is wrong.

    Example
    -------
    >>> path = getfixture("tmp_path") / "results.json"
    >>> _ = path.write_text('{"eer": "low"}')
    >>> with odd_content_is_named(path):
    ...     read_checked(path)["eer"] / 2
    Traceback (most recent call last):
    speechbrain_dino.utils.checked_json.DamagedFileError: ... was changed by hand...
    """
    try:
        yield
    except (OSError, DamagedFileError):
        raise
    except Exception as error:  # there is no end of what odd values lead to
        if _is_as_written(path):
            raise
        why = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise DamagedFileError(
            f"{path} is damaged or was changed by hand, it cannot be used "
            f"({why}): {remedy}"
        ) from error


def _is_as_written(path):
    try:
        content = read_json(path)
        return content.get(CHECKSUM) == _checksum(content)
    except (OSError, ValueError, AttributeError):
        return False


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
