"""Sets up training on labels: classes from the data, weights from a trained model."""

import logging

import numpy as np
import torch

from speechbrain_dino.embeddings.pretrained import PARTS, load_pretrained
from speechbrain_dino.models.branch import Branch
from speechbrain_dino.models.embedder import Embedder

logger = logging.getLogger(__name__)


def set_up_classifier(run, labels, truth=None, has_weights=False):
    """Builds what depends on the labels, for ``ClassifierBrain``.

    Arguments
    ---------
    run : Run
        Its ``hparams`` hold ``embedding_model``, ``classifier`` (called with
        ``num_classes``), ``modules`` (get ``student``), ``start_model`` (an inference
        folder, a name on the hub, or None) and perhaps ``speed_classes``.
    labels : numpy.ndarray
        Class of each training utterance, int64 (N,), 0..C-1, each at least once;
        otherwise ValueError.
    truth : sequence of str, optional
        True speakers (N,), for diagnosis alone.
    has_weights : bool
        Whether ``embedding_model`` has the weights of ``start_model`` already.
    """
    classes = int(labels.max()) + 1
    missing = classes - len(np.unique(labels))
    if missing or labels.min() < 0:
        raise ValueError(
            f"labels from {labels.min()} to {labels.max()} were given and {missing} of "
            "these have no utterance: number the classes 0, 1, 2 ... without gaps"
        )
    hparams, modules = run.hparams, run.hparams["modules"]
    speeds = hparams.get("speed_classes")
    run.labels = torch.from_numpy(labels)
    run.num_classes = classes * (speeds.factor if speeds else 1)
    head = hparams["classifier"](num_classes=run.num_classes)
    modules["student"] = Branch(hparams["embedding_model"], head)
    if modules.get("gate") is not None:
        modules["gate"].set_up(len(labels))
    if truth is not None:
        modules["health"].set_truth(labels, truth)
    source = hparams["start_model"]
    if source is not None and not has_weights:
        start_from(source, hparams)
    fresh = source is None or hparams.get("from_scratch", False)
    logger.info(
        "%d utterances in %d classes, training %s",
        len(labels),
        classes,
        "from scratch" if fresh else f"from {source}",
    )


def start_from(source, hparams):
    """Copies the weights of a trained encoder into ``embedding_model``.

    The source is an inference folder or a name on the hub. ValueError if its encoder
    is another one than the YAML's, or takes other features.
    """
    trained = load_pretrained(source).embedder
    own = Embedder(*(hparams[name] for name in PARTS))
    try:
        own.embedding_model.load_state_dict(trained.embedding_model.state_dict())
    except RuntimeError as error:
        lines = str(error).splitlines()
        raise ValueError(
            f"start_model {source} has another encoder than embedding_model in the "
            f"YAML ({lines[min(1, len(lines) - 1)].strip()}): make the encoder that of "
            "the model's hyperparams.yaml, or train from scratch, start_model: null"
        ) from error
    if not _same_features(trained, own):
        raise ValueError(
            f"start_model {source} was trained on other features than the YAML's: take "
            "compute_features and mean_var_norm from the model's hyperparams.yaml"
        )


def _same_features(one, other):
    """Whether two front-ends make the same of 4 s of noise."""
    noise = torch.randn(1, 64000, generator=torch.Generator().manual_seed(0))
    feats = [
        e.mean_var_norm(e.compute_features(0.1 * noise), torch.ones(1))
        for e in (one, other)
    ]
    return feats[0].shape == feats[1].shape and torch.allclose(*feats, atol=1e-4)
