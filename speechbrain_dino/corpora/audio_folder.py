"""Any folder of speech, without labels."""

import os

from speechbrain_dino.corpora.listed_files import ListedFiles
from speechbrain_dino.corpora.preparation import Source, list_files
from speechbrain_dino.corpora.speech_corpus import prepare_speech
from speechbrain_dino.data.checks import LeftOut


def prepare_audio_folder(
    data_folder,
    save_folder,
    trial_lists=(),
    sample_rate=16000,
    min_duration=2.0,
    vad=False,
    check="full",
    num_workers=None,
    channel=None,
    skip_missing=False,
):
    """Writes train.csv, test.csv and trials/ of a folder of speech.

    Its wav, flac, ogg, opus, mp3 or m4a files may lie at any depth, have any sampling
    rate and several channels. Names of folders are not read as labels.

    Arguments
    ---------
    data_folder : str
        The folder.
    trial_lists : sequence of str
        Lists of ``label enrol test``: paths, or names of files in the folder. They
        name files relative to the folder, and these stay out of training.
    channel : int, optional
        Channel to take of files with several; their mean if None.
    vad, save_folder, sample_rate, min_duration, check, num_workers, skip_missing
        See `voxceleb.prepare_voxceleb`, as for what is returned and raised.

    Example
    -------
    >>> import numpy as np, soundfile as sf
    >>> folder = getfixture("tmp_path")
    >>> noise = np.random.default_rng(0).uniform(-0.5, 0.5, (24000, 2))
    >>> sf.write(folder / "a.ogg", noise, 8000)
    >>> prepare_audio_folder(folder, folder / "save")["kept"]
    1
    >>> from speechbrain_dino.data.manifest import Manifest
    >>> Manifest.from_csv(folder / "save" / "train.csv")[0].stop
    48000
    """
    left_out = LeftOut()
    sources = [
        Source(
            id=name,
            name=name,
            path=path,
            size=size,
            changed=changed,
            # Folders may be named by speaker: only the file's own name counts.
            order=(os.path.basename(name),),
        )
        for name, path, size, changed in list_files(
            data_folder, left_out, outputs=[save_folder]
        )
    ]
    arguments = {
        "corpus": "audio_folder",
        "data_folder": os.path.abspath(data_folder),
        "trial_lists": trial_lists,
        "sample_rate": sample_rate,
        "min_duration": min_duration,
        "vad": vad,
        "check": check,
        "num_workers": num_workers,
    }
    if channel is not None:
        arguments["channel"] = channel
    return prepare_speech(
        sources=sources,
        find=ListedFiles(sources, [data_folder]),
        folders=[data_folder],
        save_folder=save_folder,
        left_out=left_out,
        hold_out_speakers=False,
        arguments=arguments,
        skip_missing=skip_missing,
    )
