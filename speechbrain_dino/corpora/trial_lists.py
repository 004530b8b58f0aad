"""Finding trial lists: local files first, then VoxCeleb's addresses."""

import hashlib
import logging
import os
import urllib.error
import urllib.request
from pathlib import Path

from speechbrain_dino.data.trials import read_trials
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
    places.append(target)
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


def resolve(path, index_of):
    """Reads a trial list and finds the files that it names.

    ``index_of`` gives the number of the file for a name, None where there is none.

    Returns
    -------
    trials : speechbrain_dino.data.trials.Trials
        The list.
    files : dict
        Name -> number of the file, in the order of the list.

    Raises
    ------
    ValueError
        If a name is unknown; names the list and the line.
    """
    trials = read_trials(path)
    files, unknown = {}, []
    for line, names in enumerate(zip(trials.enrol, trials.test), 1):
        for name in names:
            if name not in files:
                files[name] = index_of(name)
                if files[name] is None:
                    unknown.append((line, name))
    if unknown:
        line, name = unknown[0]
        raise ValueError(
            f"{path}:{line}: no file is there for {name!r} ({len(unknown)} of the "
            f"{len(files)} names in this list are unknown). Check that data_folder "
            "holds the corpus of this list, wholly extracted"
        )
    return trials, files
