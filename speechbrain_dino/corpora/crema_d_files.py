"""CREMA-D's audio: where it lies, and where it can be fetched."""

import logging
import os
from pathlib import Path

from speechbrain_dino.corpora.common import Source, list_files
from speechbrain_dino.corpora.crema_d_tables import (
    DEMOGRAPHICS,
    SENTENCES,
    VOTES,
    canonical,
    fields_of,
    find_table,
)
from speechbrain_dino.corpora.download import download, is_pointer, is_whole
from speechbrain_dino.corpora.emotion_labels import read_table

logger = logging.getLogger(__name__)

# The audio is kept with Git LFS, the tables are not.
AUDIO_URL = (
    "https://media.githubusercontent.com/media/CheyneyComputerScience/CREMA-D/master"
)
TABLES_URL = "https://raw.githubusercontent.com/CheyneyComputerScience/CREMA-D/master"
_FORMATS = (".wav", ".flac", ".mp3")
_POINTER_BYTES = 300


def find_utterances(data_folder, save_folder, left_out):
    """Finds the audio.

    Arguments
    ---------
    data_folder : str
        Folder that holds AudioWAV.
    save_folder : str
        Folder not to look into.
    left_out : LabelsLeftOut
        Takes files with other names, and those that are there twice.

    Returns
    -------
    dict
        ID -> Source. One name of the real corpus ends in X where the tables have XX;
        the ID is the tables' one.

    Raises
    ------
    FileNotFoundError
        If there is no AudioWAV.
    ValueError
        If files are Git LFS pointers.
    """
    folder = os.path.join(os.path.abspath(data_folder), "AudioWAV")
    if not os.path.isdir(folder):
        raise FileNotFoundError(
            f"{data_folder} has no folder AudioWAV: give the folder that holds it, or "
            "download: True to fetch it"
        )
    found = {}
    for name, path, size, changed in list_files(folder, left_out, [save_folder]):
        stem, extension = os.path.splitext(os.path.basename(name))
        fields = fields_of(stem)
        if not fields or extension.lower() not in _FORMATS:
            remedy = "rename to <actor>_<sentence>_<emotion>_<level>.wav, or remove it"
            left_out.add("other_name", path, remedy)
            continue
        key = canonical(stem)
        source = Source(
            key, f"AudioWAV/{key}", path, size, changed, (key,), spk_id=fields[0]
        )
        other = found.setdefault(key, source)
        if other is not source:
            worse = max(other, source, key=_rank)
            found[key] = other if worse is source else source
            same = _rank(other)[0] == _rank(source)[0]
            left_out.add("same_id" if same else "other_format", worse.path)
    _refuse_pointers(found.values(), folder)
    return found


def _rank(source):
    extension = os.path.splitext(source.path)[1].lower()
    return (_FORMATS.index(extension), source.path)


def _refuse_pointers(sources, folder):
    small = [s.path for s in sources if 0 < s.size <= _POINTER_BYTES]
    pointers = [path for path in small if is_pointer(path)]
    if pointers:
        raise ValueError(
            f"{len(pointers)} files in {folder} are Git LFS pointers, not audio, such "
            f"as {pointers[0]}: run 'git lfs pull' there, or prepare with "
            "download: True"
        )


def fetch(data_folder, audio_url, tables_url, connections, **options):
    """Downloads what is not there yet.

    Arguments
    ---------
    data_folder : str
        Where to; AudioWAV is made in it.
    audio_url, tables_url : str
        Addresses that hold AudioWAV and the tables.
    connections : int
        Files fetched at a time.
    **options
        Further options of :func:`~speechbrain_dino.corpora.download.download`.

    Raises
    ------
    OSError
        If a file could not be fetched.
    ValueError
        If what came is not what it should be.
    """
    folder = Path(data_folder)
    tables = {
        name: [f"{tables_url.rstrip('/')}/{name}"]
        for name in (SENTENCES, DEMOGRAPHICS, VOTES)
        if find_table(folder, name) is None
    }
    absent = download(tables, folder, audio=False, connections=1, **options)
    if absent:
        raise FileNotFoundError(f"{tables[absent[0]][0]} is not there")
    files = {}
    for _, name in read_table(find_table(folder, SENTENCES), "Filename"):
        # One file lies in AudioWAV with a single X, see canonical.
        names = [name, name[:-1]] if name.endswith("_XX") else [name]
        inside = [f"AudioWAV/{name}.wav" for name in names]
        if not any(is_whole(folder / path) for path in inside):
            files[inside[0]] = [f"{audio_url.rstrip('/')}/{path}" for path in inside]
    absent = download(files, folder, connections=connections, **options)
    if absent:
        logger.warning("%d files are not at %s: %s", len(absent), audio_url, absent)
