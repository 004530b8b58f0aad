"""Training on pseudo labels: which utterances, which classes."""

import logging

import numpy as np

from speechbrain_dino.clustering.labels import load_labels
from speechbrain_dino.training.classifier_setup import set_up_classifier

logger = logging.getLogger(__name__)


def set_up_pseudo_labels(run, manifest, labels_file, truth=None):
    """Takes the utterances that have a pseudo label; for the YAML's ``set_up``.

    Labels of other utterances than those of the training manifest are refused: the
    utterances of trial lists, which the preparation keeps out of it, cannot come in.

    Arguments
    ---------
    run : Run
        See ``set_up_classifier``.
    manifest : speechbrain_dino.data.manifest.Manifest
        The training utterances; those with a label are returned.
    labels_file : str or path
        ``labels.csv`` of a clustering of these utterances.
    truth : str, optional
        Column of the manifest with true speakers, for diagnosis: it changes metrics in
        the log, never the training.

    Raises
    ------
    ValueError
        If the labels are not of this manifest, or there are none.
    """
    if labels_file is None:
        raise ValueError(
            "labels_file is missing: give --labels_file LABELS.csv, which cluster.py "
            "writes, or run rounds.py, which makes it"
        )
    labels = load_labels(labels_file, manifest.ids)
    kept = np.flatnonzero(labels >= 0)
    logger.info(
        "%d of %d utterances have a pseudo label (%s)",
        len(kept),
        len(labels),
        labels_file,
    )
    speakers = true_speakers(manifest, truth)
    check_gating(run)
    set_up_classifier(run, labels[kept], None if speakers is None else speakers[kept])
    return manifest.subset(kept)


def check_gating(run):
    """Warns where label correction cannot fire; ValueError at phases of no figure."""
    hparams, modules = run.hparams, run.hparams["modules"]
    if modules.get("correction") is not None:
        modules["correction"].warn_if_idle(
            modules.get("gate"), hparams["number_of_epochs"]
        )
    if hparams.get("phases") is not None:
        validated = run.lists[: hparams["validate_lists"]]
        hparams["phases"].check_figure([path.stem for path in validated])


def true_speakers(manifest, column):
    """True speakers, str (N,), of a column (ValueError if none), or None without."""
    if column is None:
        return None
    try:
        return np.array([str(name or "") for name in manifest.column(column)])
    except KeyError as error:
        raise ValueError(f"truth: {error.args[0]}; or leave it out, truth: null") from (
            error
        )


def label_change(before, after):
    """How much two clusterings of the same utterances differ, 0..1.

    The share of utterances that are not in the largest part of their cluster, when
    each cluster of one clustering is looked at in the other; the larger of the two
    directions. 0 where the clusters are the same, whatever their numbers. Labels are
    int64 (N,); -1, left out, counts as one cluster.

    Example
    -------
    >>> label_change(np.array([0, 0, 1, 1]), np.array([1, 1, 0, 0]))
    0.0
    >>> label_change(np.array([0, 0, 1, 1]), np.array([0, 0, 0, 0]))
    0.5
    """
    before, after = np.asarray(before) + 1, np.asarray(after) + 1
    pairs = before * (after.max() + 1) + after
    both, counts = np.unique(pairs, return_counts=True)
    shares = []
    for side in (both // (after.max() + 1), both % (after.max() + 1)):
        largest = np.zeros(side.max() + 1, dtype=np.int64)
        np.maximum.at(largest, side, counts)
        shares.append(largest.sum() / len(before))
    return float(1 - min(shares))
