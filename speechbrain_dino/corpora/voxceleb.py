"""VoxCeleb1 and VoxCeleb2, as they are distributed.

https://www.robots.ox.ac.uk/~vgg/data/voxceleb/
"""

import hashlib
import logging
import os
from collections import Counter, defaultdict
from pathlib import Path

from speechbrain_dino.corpora.listed_files import FORMATS, TREES, ListedFiles
from speechbrain_dino.corpora.preparation import Source, list_files
from speechbrain_dino.corpora.speech_corpus import prepare_speech
from speechbrain_dino.corpora.voxceleb_splits import (
    SPLITS,
    check_splits,
    names_split,
    splits_of_tree,
)
from speechbrain_dino.data.checks import LeftOut

logger = logging.getLogger(__name__)


def prepare_voxceleb(
    data_folder,
    save_folder,
    trial_lists=(),
    train_splits=None,
    sample_rate=16000,
    min_duration=2.0,
    vad=False,
    check="full",
    num_workers=None,
    require_training=True,
    skip_missing=False,
):
    """Writes train.csv, test.csv and trials/ of VoxCeleb1, VoxCeleb2 or both.

    Utterances lie at ``<speaker>/<session>/<utterance>.<wav|flac|m4a>`` below a
    folder named wav, aac, m4a or flac, at any depth (``vox2/dev/aac/id00012/...``),
    or below the data folder itself; m4a needs PyAV. Training takes ``train_splits``
    but for the speakers of the trial lists. The order of the rows does not depend on
    the names of speakers.

    Arguments
    ---------
    data_folder : str or list of str
        Folder of the corpus, or folders.
    trial_lists : sequence of str
        Lists of ``label enrol test``: paths, names of files in the data folder,
        addresses, or veri_test, veri_test2 (VoxCeleb1-O, original and cleaned),
        list_test_all, list_test_all2 (E), list_test_hard, list_test_hard2 (H).
        A name in them may end in .wav where the file is a .flac or .m4a. A path that
        exists below a data folder is that file.
    train_splits : list of str, optional
        What to train on, of vox1/dev, vox1/test, vox2/dev and vox2/test, which are
        recognized by the names of folders (``vox1/dev``, ``vox2_test_aac`` ...) and by
        the published speakers' numbers; all utterances if not given. A data folder
        where none is recognized is used whole.
    vad : bool
        Whether to find the speech by energy and train on nothing else;
        ``min_duration`` then counts speech.
    require_training : bool
        Whether it is an error if the lists leave no speaker to train on.
    skip_missing : bool
        Whether trials whose files are absent or unusable are left out and counted; else
        they are an error.
    save_folder, sample_rate, min_duration, check, num_workers
        See ``corpora.preparation``, as for what is returned.

    Raises
    ------
    ValueError
        If nothing is left to train on, or a list names an unknown or a bad file, or a
        name that two files have.
    FileNotFoundError
        If a folder or a trial list does not exist.
    ImportError
        If there is m4a to convert, and no PyAV.
    """
    folders = (
        [data_folder] if isinstance(data_folder, str | os.PathLike) else data_folder
    )
    left_out = LeftOut()
    splits = None if train_splits is None else check_splits(train_splits)
    files, strays = [], []
    for number, folder in enumerate(folders):
        for source in _files(number, folder, save_folder, left_out):
            (files if source.order else strays).append(source)
    train = _of_splits(files, splits, left_out, require_training)
    train = _one_each(train, left_out)
    used = {source.path for source in train}
    others = [source for source in files if source.path not in used] + strays
    only_listed = [_kept_apart(source) for source in others]
    arguments = {
        "corpus": "voxceleb",
        "data_folder": [os.path.abspath(folder) for folder in folders],
        "trial_lists": trial_lists,
        "train_splits": splits,
        "sample_rate": sample_rate,
        "min_duration": min_duration,
        "vad": vad,
        "check": check,
        "num_workers": num_workers,
        "require_training": require_training,
    }
    return prepare_speech(
        sources=train,
        only_listed=only_listed,
        find=ListedFiles(
            train + only_listed,
            folders,
            [bool(source.order) for source in train + only_listed],
        ),
        folders=folders,
        save_folder=save_folder,
        left_out=left_out,
        hold_out_speakers=True,
        arguments=arguments,
        skip_missing=skip_missing,
    )


def _files(number, folder, save_folder, left_out):
    """The files of a data folder; those outside VoxCeleb's layout have no order."""
    files = list_files(folder, left_out, outputs=[save_folder])
    below_trees = any(TREES & set(_folders(file[0])) for file in files)
    sources, trees = [], defaultdict(set)
    for name, path, size, changed in files:
        parts, folders = name.split("/"), _folders(name)
        trees_in = [k for k, part in enumerate(folders) if part in TREES]
        root = trees_in[-1] + 1 if below_trees and trees_in else 0
        if len(parts) - root != 3 or (below_trees and not trees_in):
            left_out.add("layout", path)
            order, root = (), 0
        else:
            tree = "/".join(part for part in folders[:root] if part not in TREES)
            order = (number, tree, parts[-2], os.path.splitext(parts[-1])[0])
            trees["/".join(parts[:root])].add(parts[-3])
        key = os.path.splitext("/".join(parts[-3:]))[0]
        speaker = parts[-3] if len(parts) > 2 else parts[0]
        ids = key.replace("/", "--"), key
        sources.append(Source(*ids, path, size, changed, order, speaker))
    around = _around(folder)
    splits = {
        tree: splits_of_tree([*around, *tree.split("/")], speakers)
        for tree, speakers in trees.items()
    }
    if not any(any(of_speakers.values()) for of_speakers in splits.values()):
        return sources
    return [
        source._replace(split=splits[tree][source.spk_id]) if source.order else source
        for source, tree in zip(sources, (_tree_of(file[0]) for file in files))
    ]


def _tree_of(name):
    return "/".join(name.split("/")[:-3])


def _around(folder):
    """Names of the data folder and of those around it, as far as VoxCeleb's."""
    names = []
    for path in (Path(os.path.abspath(folder)), *Path(os.path.abspath(folder)).parents):
        if path.name.lower() not in TREES and not names_split(path.name):
            break
        names.insert(0, path.name)
    return names


def _of_splits(sources, splits, left_out, required):
    """The sources of the splits to train on, and of folders without any split."""
    counts = Counter((source.order[0], source.split) for source in sources)
    whole = {number for number, _ in counts} - {n for n, split in counts if split}
    if splits is None:
        return sources
    train = []
    for source in sources:
        if source.order[0] in whole or source.split in splits:
            train.append(source)
        else:
            left_out.add("other_split", source.path)
    names = Counter(source.split or "no split of VoxCeleb" for source in sources)
    there = ", ".join(f"{name}: {number:,}" for name, number in sorted(names.items()))
    if sources and not train and required:
        raise ValueError(
            f"train_splits: data_folder has no file of {', '.join(splits)} "
            f"({there}): name other splits ({', '.join(SPLITS)}), or null to train on "
            "all that is there"
        )
    if whole and sources:
        logger.info("No split of VoxCeleb is recognized in a data folder: used whole")
    logger.info("Files in data_folder by split: %s", there)
    return train


def _kept_apart(source):
    """A source whose converted audio, if any, replaces that of no other."""
    digest = hashlib.blake2b(os.fsencode(source.path), digest_size=8).hexdigest()
    return source._replace(name=f"others/{digest}")


def _folders(name):
    return name.lower().split("/")[:-1]


def _one_each(sources, left_out):
    """Keeps one file per utterance."""
    chosen = {}
    for source in sources:
        other = chosen.setdefault(source.name, source)
        if other is source:
            continue
        formats = [FORMATS.index(_extension(s.path)) for s in (other, source)]
        if formats[0] == formats[1]:
            left_out.add("same_id", source.path)
            continue
        better, worse = (source, other) if formats[1] < formats[0] else (other, source)
        chosen[source.name] = better
        left_out.add("other_format", worse.path)
    return list(chosen.values())


def _extension(path):
    return os.path.splitext(path)[1].lower()
