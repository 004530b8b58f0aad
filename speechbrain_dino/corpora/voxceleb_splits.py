"""Corpus and split of VoxCeleb's utterances: by folders and by published speakers."""

import re

SPLITS = {
    "vox1/dev": "VoxCeleb1 dev",
    "vox1/test": "VoxCeleb1 test",
    "vox2/dev": "VoxCeleb2 dev",
    "vox2/test": "VoxCeleb2 test",
}

_FOLDER = re.compile(
    r"(?:vox(?:celeb)?[-_]?(?P<corpus>[12]))?[-_]?(?P<split>dev|test)?"
    r"(?:[-_](?:wav|aac|m4a|mp4|flac))?"
)
# Of vox1_meta.csv and vox2_meta.csv, https://www.robots.ox.ac.uk/~vgg/data/voxceleb/
_SPEAKER = re.compile(r"id(\d{5})")
_VOX1, _VOX1_TEST = range(10001, 11252), range(10270, 10310)
_VOX2 = range(12, 9273)
# fmt: off
_VOX2_TEST = frozenset((
    17, 61, 81, 154, 419, 562, 812, 817, 866, 926, 1000, 1041, 1066, 1106, 1224, 1228,
    1298, 1333, 1437, 1460, 1509, 1541, 1567, 1593, 1618, 1822, 1892, 1989, 2019, 2057,
    2086, 2181, 2286, 2317, 2445, 2465, 2542, 2548, 2576, 2577, 2685, 2725, 2745, 3030,
    3041, 3127, 3178, 3347, 3382, 3524, 3677, 3789, 3839, 3862, 3969, 3978, 3980, 3981,
    4006, 4030, 4094, 4119, 4170, 4232, 4253, 4276, 4295, 4366, 4478, 4536, 4570, 4627,
    4656, 4657, 4862, 4950, 5015, 5055, 5124, 5176, 5202, 5348, 5459, 5594, 5654, 5714,
    5816, 5850, 5999, 6104, 6209, 6310, 6484, 6692, 6811, 6816, 6913, 7312, 7354, 7396,
    7414, 7426, 7494, 7620, 7621, 7663, 7802, 7868, 7874, 7961, 8149, 8374, 8392, 8456,
    8548, 8552, 8696, 8701, 8911, 9017,
))
# fmt: on


def check_splits(names):
    """Raises ValueError unless all names are splits: keys of ``SPLITS``."""
    names = [names] if isinstance(names, str) else names
    unknown = [name for name in names if name not in SPLITS]
    if unknown or not names:
        raise ValueError(
            f"train_splits: {', '.join(map(str, unknown)) or 'an empty list'} is no "
            f"split of VoxCeleb: give some of {', '.join(SPLITS)}, or null for all"
        )
    return list(names)


def split_of_speaker(speaker):
    """Returns the split of a published speaker's number, None for other names.

    Example
    -------
    >>> [split_of_speaker(name) for name in ("id10270", "id00012", "id00017", "ann")]
    ['vox1/test', 'vox2/dev', 'vox2/test', None]
    """
    match = _SPEAKER.fullmatch(speaker)
    number = int(match[1]) if match else -1
    if number in _VOX1:
        return "vox1/test" if number in _VOX1_TEST else "vox1/dev"
    if number in _VOX2:
        return "vox2/test" if number in _VOX2_TEST else "vox2/dev"
    return None


def splits_of_tree(folders, speakers):
    """Returns speaker -> split, None where unknown, of the speakers in one folder.

    Speakers count where all in the folder are published ones: their numbers tell the
    corpus. A test set is one by its folder's name or by its speakers.

    Arguments
    ---------
    folders : sequence of str
        Names of the folders around the speakers', the outermost first.
    speakers : collection of str

    Example
    -------
    >>> splits_of_tree(["vox1", "dev", "wav"], ["ann"])
    {'ann': 'vox1/dev'}
    >>> splits_of_tree(["wav"], ["id10001", "id10270"])
    {'id10001': 'vox1/dev', 'id10270': 'vox1/test'}
    >>> splits_of_tree(["wav"], ["id10001", "ann"])
    {'id10001': None, 'ann': None}
    """
    corpus, split = _by_folders(folders)
    published = {speaker: split_of_speaker(speaker) for speaker in speakers}
    everyone = all(published.values())
    result = {}
    for speaker, published_split in published.items():
        own, part = published_split.split("/") if published_split else (None, None)
        if not everyone and own != corpus:
            own, part = None, None
        if own in (None, corpus) or corpus is None:
            part = "test" if "test" in (split, part) else split or part
        own = own or corpus
        result[speaker] = f"{own}/{part}" if own and part else None
    return result


def _by_folders(names):
    corpus = split = None
    for name in names:
        match = _FOLDER.fullmatch(name.lower())
        if match and match["corpus"]:
            corpus, split = f"vox{match['corpus']}", None
        if match and match["split"]:
            split = match["split"]
    return corpus, split


def names_split(folder):
    """Whether a folder's name is one of VoxCeleb's corpora or splits."""
    return any(_by_folders([folder]))
