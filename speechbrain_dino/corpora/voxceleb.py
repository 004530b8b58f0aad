"""VoxCeleb1 and VoxCeleb2, as they are distributed.

https://www.robots.ox.ac.uk/~vgg/data/voxceleb/
"""

import os

from speechbrain_dino.corpora.preparation import Source, list_files
from speechbrain_dino.corpora.speech_corpus import prepare_speech
from speechbrain_dino.data.checks import LeftOut

_TREES = {"wav", "aac", "m4a", "flac"}
# Of one utterance in several formats the first is taken: no need to convert it.
_FORMATS = [".wav", ".flac", ".ogg", ".opus", ".mp3", ".m4a", ".aac", ".mp4"]


def prepare_voxceleb(
    data_folder,
    save_folder,
    trial_lists=(),
    sample_rate=16000,
    min_duration=2.0,
    vad=False,
    check="full",
    num_workers=None,
    require_training=True,
):
    """Writes train.csv, test.csv and trials/ of VoxCeleb1, VoxCeleb2 or both.

    Utterances lie at ``<speaker>/<session>/<utterance>.<wav|flac|m4a>`` below a
    folder named wav, aac, m4a or flac, at any depth (``vox2/dev/aac/id00012/...``),
    or below the data folder itself; m4a needs PyAV. Training takes all but the
    speakers of the trial lists. The order of the rows does not depend on the names
    of speakers.

    Arguments
    ---------
    data_folder : str or list of str
        Folder of the corpus, or folders.
    trial_lists : sequence of str
        Lists of ``label enrol test``: paths, names of files in the data folder,
        addresses, or veri_test, veri_test2 (VoxCeleb1-O, original and cleaned),
        list_test_all, list_test_all2 (E), list_test_hard, list_test_hard2 (H).
        A name in them may end in .wav where the file is a .flac or .m4a.
    vad : bool
        Whether to find the speech by energy and train on nothing else;
        ``min_duration`` then counts speech.
    require_training : bool
        Whether it is an error if the lists leave no speaker to train on.
    save_folder, sample_rate, min_duration, check, num_workers
        See ``corpora.preparation``, as for what is returned.

    Raises
    ------
    ValueError
        If nothing is left to train on, or a list names an unknown or a bad file.
    FileNotFoundError
        If a folder or a trial list does not exist.
    ImportError
        If there is m4a to convert, and no PyAV.
    """
    folders = (
        [data_folder] if isinstance(data_folder, str | os.PathLike) else data_folder
    )
    left_out = LeftOut()
    sources = _utterances(folders, save_folder, left_out)
    rows = {_key(source.name): row for row, source in enumerate(sources)}
    arguments = {
        "corpus": "voxceleb",
        "data_folder": [os.path.abspath(folder) for folder in folders],
        "trial_lists": trial_lists,
        "sample_rate": sample_rate,
        "min_duration": min_duration,
        "vad": vad,
        "check": check,
        "num_workers": num_workers,
        "require_training": require_training,
    }
    return prepare_speech(
        sources=sources,
        index_of=lambda name: rows.get(_key(name)),
        folders=folders,
        save_folder=save_folder,
        left_out=left_out,
        hold_out_speakers=True,
        arguments=arguments,
    )


def _key(name):
    """Speaker/session/utterance of a path, whatever lies before and its format."""
    return "/".join(os.path.splitext(name)[0].split("/")[-3:])


def _utterances(folders, save_folder, left_out):
    chosen = {}
    for number, folder in enumerate(folders):
        files = list_files(folder, left_out, skip=[save_folder])
        below_trees = any(_TREES & set(_folders(file[0])) for file in files)
        for name, path, size, changed in files:
            parts = name.split("/")
            trees = [k for k, part in enumerate(_folders(name)) if part in _TREES]
            root = trees[-1] + 1 if below_trees and trees else 0
            if len(parts) - root != 3 or (below_trees and not trees):
                left_out.add("layout", path)
                continue
            speaker, session, file = parts[root:]
            key = _key(name)
            tree = "/".join(
                part for part in _folders(name)[:root] if part not in _TREES
            )
            source = Source(
                id=key.replace("/", "--"),
                name=key,
                path=path,
                size=size,
                changed=changed,
                order=(number, tree, session, os.path.splitext(file)[0]),
                spk_id=speaker,
            )
            _choose(chosen, source, left_out)
    return list(chosen.values())


def _folders(name):
    return name.lower().split("/")[:-1]


def _choose(chosen, source, left_out):
    """Keeps one file per utterance."""
    other = chosen.setdefault(source.name, source)
    if other is source:
        return
    formats = [_FORMATS.index(_extension(s.path)) for s in (other, source)]
    if formats[0] == formats[1]:
        left_out.add("same_id", source.path)
        return
    better, worse = (source, other) if formats[1] < formats[0] else (other, source)
    chosen[source.name] = better
    left_out.add("other_format", worse.path)


def _extension(path):
    return os.path.splitext(path)[1].lower()
