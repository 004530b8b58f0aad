"""A list of audio files, as users name them."""

import os

from speechbrain_dino.corpora.preparation import AUDIO, Source
from speechbrain_dino.corpora.speech_corpus import prepare_speech
from speechbrain_dino.data.audio_source import name_problem
from speechbrain_dino.data.checks import LeftOut


def is_audio(path):
    """Whether a file's name has the ending of a format that can be read.

    Example
    -------
    >>> is_audio("a/one.FLAC"), is_audio("train.csv")
    (True, False)
    """
    return str(path).lower().endswith(AUDIO)


def prepare_audio_files(
    files, save_folder, sample_rate=16000, min_duration=0.1, channel=None
):
    """Writes train.csv of audio files; IDs are the paths as they were given.

    Arguments
    ---------
    files : sequence of str or path
    save_folder, sample_rate, min_duration
        See `voxceleb.prepare_voxceleb`, as for what is returned and raised.
    channel : int, optional
        Channel to take of files with several; their mean if None.
    """
    names = [os.fspath(file) for file in files]
    other = [name for name in names if not is_audio(name)]
    if other or not names:
        raise ValueError(
            f"{other[0] if other else 'an empty list'} is no audio file: give files "
            f"that end in {', '.join(AUDIO)}"
        )
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{twice[0]} is named twice: name every file once")
    left_out = LeftOut()
    for name in filter(name_problem, names):
        left_out.add("name", os.path.abspath(name))
    names = [name for name in names if not name_problem(name)]
    arguments = {
        "corpus": "audio_files",
        "trial_lists": [],
        "sample_rate": sample_rate,
        "min_duration": min_duration,
        "vad": False,
        "check": "headers",
        "num_workers": None,
        "channel": channel,
    }
    return prepare_speech(
        sources=[_source(number, name) for number, name in enumerate(names)],
        find=lambda name: None,
        folders=[],
        save_folder=save_folder,
        left_out=left_out,
        hold_out_speakers=False,
        arguments=arguments,
    )


def _source(number, name):
    path = os.path.abspath(name)
    try:
        stat = os.stat(path)
        size, changed = stat.st_size, stat.st_mtime_ns
    except OSError:
        size, changed = -1, -1  # the check will call it missing
    # By number: names in different folders may be equal.
    place = f"{number:06d}-{os.path.basename(name)}"
    return Source(name, place, path, size, changed, (number,))
