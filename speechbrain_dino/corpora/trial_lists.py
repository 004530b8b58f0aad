"""Finding trial lists: local files first, then VoxCeleb's addresses."""

import hashlib
import logging
import os
import urllib.error
import urllib.request
from pathlib import Path
from typing import NamedTuple

from speechbrain_dino.data.trials import Trials, check_both_kinds, read_trials
from speechbrain_dino.utils.files import replacing

logger = logging.getLogger(__name__)

_VGG = "https://www.robots.ox.ac.uk/~vgg/data/voxceleb/meta/"
_KAIST = "https://mm.kaist.ac.kr/datasets/voxceleb/meta/"
_OPENSLR = "https://www.openslr.org/resources/49/"

WELL_KNOWN = {
    "veri_test": "VoxCeleb1-O",
    "veri_test2": "VoxCeleb1-O, cleaned",
    "list_test_all": "VoxCeleb1-E",
    "list_test_all2": "VoxCeleb1-E, cleaned",
    "list_test_hard": "VoxCeleb1-H",
    "list_test_hard2": "VoxCeleb1-H, cleaned",
}
_OPENSLR_NAMES = {"veri_test": "voxceleb1_test", "veri_test2": "voxceleb1_test_v2"}


def addresses(name):
    """Returns where a well-known list (or an address itself) can be had, best first.

    Example
    -------
    >>> addresses("veri_test2")[0]
    'https://www.openslr.org/resources/49/voxceleb1_test_v2.txt'
    >>> len(addresses("list_test_hard")), addresses("mine")
    (2, [])
    """
    if "://" in name:
        return [name]
    if name not in WELL_KNOWN:
        return []
    mirrors = [f"{_VGG}{name}.txt", f"{_KAIST}{name}.txt"]
    if name in _OPENSLR_NAMES:
        mirrors.insert(0, f"{_OPENSLR}{_OPENSLR_NAMES[name]}.txt")
    return mirrors


def find_list(name, folders, download_folder):
    """Returns the path of a trial list, downloaded only if there is no local file.

    ``name`` is a path, the name of a file (".txt" may be left away) in a folder or its
    folder "meta", a well-known name, or an address. Downloads are kept.

    Raises
    ------
    FileNotFoundError
        If it is nowhere; names the places searched and the remedy.
    """
    name = str(name)
    file_name = name.rsplit("/", 1)[-1] if "://" in name else name
    file_name = file_name if file_name.endswith(".txt") else f"{file_name}.txt"
    places = [Path(name), Path(file_name)] if "://" not in name else []
    for folder in folders:
        places += [Path(folder, file_name), Path(folder, "meta", file_name)]
    # Lists from two addresses may have one name.
    origin = hashlib.blake2b(name.encode(), digest_size=4).hexdigest()
    target = Path(download_folder, origin, os.path.basename(file_name))
    places = list(dict.fromkeys([*places, target]))
    for place in places:
        if place.is_file():
            return place
    sources = addresses(name.removesuffix(".txt") if "://" not in name else name)
    errors = [_download(source, target) for source in sources]
    if target.is_file():
        return target
    failed = "".join(f"\n  {s}: {e}" for s, e in zip(sources, errors))
    raise FileNotFoundError(
        f"trial list {name!r} was not found. Looked for "
        f"{', '.join(str(place) for place in places)}."
        + (f" Downloads failed:{failed}\n" if failed else " ")
        + f"Put the list into {folders[0]} as {os.path.basename(file_name)}, or give "
        f"its path, or one of the names {sorted(WELL_KNOWN)}."
    )


def _download(source, target):
    """Fetches a list unless it is there; returns what went wrong, else ""."""
    if target.is_file():
        return ""
    logger.info("downloading %s", source)
    try:
        with urllib.request.urlopen(source, timeout=60) as answer:
            content = answer.read()
        with replacing(target) as draft:
            draft.write_bytes(content)
            read_trials(draft)
    except (urllib.error.URLError, OSError, ValueError) as error:
        # A server's page in place of the list is no trial list: ValueError.
        return str(error)
    return ""


class ListedTrials(NamedTuple):
    """A trial list and the files of its names."""

    trials: Trials
    """The trials that can be scored."""
    files: dict
    """Name -> row of the file, in the order of the list."""
    absent: dict
    """Name without a file -> line where it stands first."""
    total: int
    """Number of trials in the list."""

    def without(self, names):
        """The same without the trials that name one of these; ``absent`` has them."""
        trials, lines = self.trials, []
        for line, pair in enumerate(zip(trials.enrol, trials.test)):
            if names.isdisjoint(pair):
                lines.append(line)
        kept = Trials(
            None if trials.labels is None else trials.labels[lines],
            [trials.enrol[line] for line in lines],
            [trials.test[line] for line in lines],
            trials.path,
        )
        used = {*kept.enrol, *kept.test}
        files = {name: row for name, row in self.files.items() if name in used}
        return self._replace(
            trials=kept, files=files, absent=self.absent | dict.fromkeys(names)
        )

    def skipped(self):
        """Numbers of what `without` left out, for prepare.json; {} if nothing."""
        trials = self.total - len(self.trials.enrol)
        names = {"names": len(self.absent), "examples": list(self.absent)[:_SHOWN]}
        return {"trials": trials, "of": self.total, **names} if trials else {}


_SHOWN = 5
"""Names that a message holds."""


def resolve(path, find):
    """Reads a trial list and finds the files that it names.

    ``find`` gives the number of the file for a name, None where there is none, and
    raises ValueError where there are two; see ``listed_files.ListedFiles``. Returns a
    ListedTrials with all trials.

    Raises
    ------
    ValueError
        If the list is malformed, or a name stands for two files.
    """
    trials = read_trials(path)
    files, absent = {}, {}
    for line, names in enumerate(zip(trials.enrol, trials.test), 1):
        for name in names:
            if name in files or name in absent:
                continue
            try:
                row = find(name)
            except ValueError as error:
                raise ValueError(f"{path}:{line}: {error}") from None
            if row is None:
                absent[name] = line
            else:
                files[name] = row
    return ListedTrials(trials, files, absent, len(trials.enrol))


def resolve_all(lists, find, skip_missing=False):
    """Reads lists (name -> path) and finds their files; {name: ListedTrials}.

    Raises
    ------
    ValueError
        As `resolve`, or if names have no file; with ``skip_missing`` these trials are
        left out instead, with a warning, unless too few remain.
    """
    listed = {name: resolve(path, find) for name, path in lists.items()}
    messages = [_absent_message(one) for one in listed.values() if one.absent]
    if messages and not skip_missing:
        raise ValueError(
            "\n".join(messages) + ". Check that data_folder holds the corpus of the "
            "list, wholly extracted; verify.py --skip_missing True goes on without "
            "these trials"
        )
    return {
        name: skip(one, one.absent.keys()) if one.absent else one
        for name, one in listed.items()
    }


def skip(listed, names):
    """`ListedTrials.without` names, told; ValueError if no list is left."""
    fewer = listed.without(set(names))
    if not fewer.trials.enrol:
        raise ValueError(f"{_absent_message(listed, names)}: no trial is left")
    try:
        check_both_kinds(fewer.trials)
    except ValueError as error:
        raise ValueError(
            f"{_absent_message(listed, names)}. Without them, {error}"
        ) from None
    if len(fewer.trials.enrol) < len(listed.trials.enrol):
        logger.warning("%s: these trials are left out", _absent_message(listed, names))
    return fewer


def _absent_message(listed, names=()):
    kind = "usable file" if set(names) - listed.absent.keys() else "file"
    names = list(names or listed.absent)
    gone, trials = set(names), listed.trials
    pairs = list(zip(trials.enrol, trials.test))
    touched = [n for n, pair in enumerate(pairs, 1) if not gone.isdisjoint(pair)]
    some = ", ".join(map(repr, names[:_SHOWN])) + (", ..." * (len(names) > _SHOWN))
    total = len(listed.files) + len(listed.absent)
    return (
        f"{trials.path}:{touched[0]}: no {kind} is there for {some} ({len(names):,} of "
        f"the {total:,} names in this list, in {len(touched):,} of {len(pairs):,} "
        "trials)"
    )
