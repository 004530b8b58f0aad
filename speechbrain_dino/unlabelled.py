"""Utterances of a labelled corpus for self-supervised training, without labels."""

import logging
from itertools import chain
from pathlib import Path

from speechbrain.utils.distributed import run_on_main

from speechbrain_dino.folds import read_folds
from speechbrain_dino.manifest import Manifest

logger = logging.getLogger(__name__)

_COLUMNS = ("ID", "duration", "wav", "start", "stop", "spk_id", "speech")


def add_unlabelled(hparams, manifest, prepare, folder, fold, min_duration=0.0):
    """Adds what a fold does not test on to the training utterances.

    For the key ``set_up`` of a YAML that pretrains. Neither labels nor speakers come
    along; speakers of the fold's test part are in none of the utterances.

    Arguments
    ---------
    hparams : dict
        The YAML's objects; not read.
    manifest : Manifest
        The training utterances so far.
    prepare : callable
        Prepares the labelled corpus, called without arguments by the first process;
        leaves ``utterances.csv`` and ``folds.json`` in the folder.
    folder : str or path
        That folder.
    fold : str
        Name of the fold.
    min_duration : float
        Seconds below which an utterance is not added.

    Returns
    -------
    Manifest
        The training utterances, and those of the fold's training and validation part.

    Raises
    ------
    ValueError
        If there is no such fold, or an utterance has the ID of another one.
    """
    run_on_main(prepare)
    folder = Path(folder)
    labelled = Manifest.from_csv(folder / "utterances.csv")
    folds = {f.name: f for f in read_folds(folder / "folds.json", labelled)}
    if fold not in folds:
        raise ValueError(
            f"fold={fold!r}: the folds of {folder} are {', '.join(folds)}, name one"
        )
    rows = sorted(chain(folds[fold].train.tolist(), folds[fold].valid.tolist()))
    added = [u for u in map(labelled.__getitem__, rows) if u.duration >= min_duration]
    logger.info(
        "%d utterances and, without labels, %d of fold %s; the %d of its test stay out",
        len(manifest),
        len(added),
        fold,
        len(folds[fold].test),
    )
    nobody = (u._replace(spk_id=None, speech=None) for u in added)
    known = map(manifest.__getitem__, range(len(manifest)))
    return Manifest.from_rows(
        dict(zip(_COLUMNS, utterance)) for utterance in chain(known, nobody)
    )
