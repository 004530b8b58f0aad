"""One fold of fine-tuning on emotions: what is learned from, validated and tested."""

import logging
from functools import partial
from pathlib import Path

import numpy as np
import torch
from speechbrain.utils.distributed import ddp_broadcast, if_main_process

from speechbrain_dino.class_metrics import unweighted_recall
from speechbrain_dino.embeddings import embed
from speechbrain_dino.folds import read_folds
from speechbrain_dino.labelled import set_up_classifier
from speechbrain_dino.pretrained import PARTS, load_pretrained
from speechbrain_dino.teacher import unwrap

logger = logging.getLogger(__name__)


def set_up_fold(hparams, manifest, column="emotion"):
    """Takes a fold's training part; for the YAML's ``set_up``.

    Features and encoder are those of ``start_model``, whatever they are.

    Arguments
    ---------
    hparams : dict
        The YAML's objects: ``data_save_folder`` (with folds.json), ``fold`` (its
        name), ``start_model``, ``from_scratch``, and those of
        ``labelled.set_up_classifier``. Gets ``classes`` and ``validator``.
    manifest : speechbrain_dino.manifest.Manifest
        All utterances.
    column : str
        Column of the labels.

    Returns
    -------
    speechbrain_dino.manifest.Manifest
        The training part.
    """
    fold = fold_named(hparams, manifest)
    classes = classes_of(hparams, manifest, fold, column)
    number = {name: label for label, name in enumerate(classes)}
    names = manifest.column(column)
    take_encoder(hparams)
    labels = {
        part: np.array([number[str(names[row])] for row in getattr(fold, part)])
        for part in ("train", "valid", "test")
    }
    weigh_classes(hparams, labels["train"], len(classes))
    if hparams.get("copy_paste") is not None:
        hparams["copy_paste"].set_up(classes)
    # The encoder is there already, weights and all.
    source, hparams["start_model"] = hparams["start_model"], None
    set_up_classifier(hparams, labels["train"])
    hparams["start_model"] = source
    hparams["classes"] = classes
    hparams["validator"] = ClassValidator(
        manifest.subset(fold.valid), labels["valid"], hparams
    )
    hparams["tested"] = (manifest.subset(fold.test), labels["test"])
    return manifest.subset(fold.train)


def fold_named(hparams, manifest):
    """The fold that the YAML names."""
    path = Path(hparams["data_save_folder"]) / "folds.json"
    folds = {fold.name: fold for fold in read_folds(path, manifest)}
    if hparams["fold"] not in folds:
        raise ValueError(
            f"fold is {hparams['fold']!r}; {path} has {list(folds)}: give one of these"
        )
    return folds[hparams["fold"]]


def classes_of(hparams, manifest, fold, column):
    """Names of the classes in a fold's training part, sorted."""
    names = manifest.column(column)
    classes = sorted({str(names[row]) for row in fold.train})
    for part in ("valid", "test"):
        unknown = {str(names[row]) for row in getattr(fold, part)} - set(classes)
        if unknown:
            raise ValueError(
                f"fold {fold.name} has the {column} {min(unknown)!r} in its {part} "
                "part and not in training: make other folds, or leave the class out"
            )
    return classes


def take_encoder(hparams):
    """Puts the parts of ``start_model`` in the place of the YAML's."""
    if hparams["start_model"] is None:
        raise ValueError(
            "start_model is missing: give --start_model FOLDER, the inference folder "
            "of a pretrained model, or a name on the Hugging Face hub"
        )
    embedder = load_pretrained(hparams["start_model"]).embedder
    for part in PARTS:
        module = getattr(embedder, part)
        hparams[part] = module.train()
        if part != "embedding_model":
            hparams["modules"][part] = module
    encoder = hparams["embedding_model"].requires_grad_(True)
    if hparams["from_scratch"]:
        for module in encoder.modules():
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()
    wave = torch.zeros(1, hparams["sample_rate"])
    wave[0, 0] = 1.0
    with torch.no_grad():
        size = embedder.eval()(wave).shape[1]
    embedder.train()
    hparams["classifier"] = partial(hparams["classifier"], in_dim=size)


def weigh_classes(hparams, labels, classes):
    """Gives the loss weights by which every class counts the same, where asked to."""
    if hparams["class_weight"] is None:
        return
    if hparams["class_weight"] != "balanced":
        raise ValueError(
            f"class_weight is {hparams['class_weight']!r}; expected balanced or null"
        )
    counts = np.bincount(labels, minlength=classes)
    weights = len(labels) / (classes * np.maximum(counts, 1))
    hparams["modules"]["loss"].class_weights = torch.from_numpy(weights).float()


class ClassValidator:
    """Classifies the validation part after each epoch, and stops in time.

    Arguments
    ---------
    manifest : speechbrain_dino.manifest.Manifest
        Validation utterances.
    labels : numpy.ndarray
        Their classes, int64 (N,).
    hparams : dict
        ``validate_every``, ``patience`` (validations without a better one before
        training stops; None: never), ``batch_seconds``, ``number_of_epochs``.
    """

    def __init__(self, manifest, labels, hparams):
        self.manifest, self.labels, self.hparams = manifest, labels, hparams

    def __call__(self, brain, epoch, figures):
        """Adds ``uar/valid`` to the figures where the epoch is one to validate."""
        every = self.hparams["validate_every"]
        if epoch % every and epoch != self.hparams["number_of_epochs"]:
            return
        if if_main_process():
            logits = class_logits(brain, self.manifest)
            found = logits.argmax(1)
            figures["uar/valid"] = unweighted_recall(self.labels, found)
            figures["accuracy/valid"] = float(np.mean(found == self.labels))
        seen = [row["uar/valid"] for row in brain.curves.read() if "uar/valid" in row]
        enough = self.exhausted([*seen, figures.get("uar/valid", 0.0)])
        if ddp_broadcast(enough, src=0):
            logger.info("epoch %d: no better validation for a while, enough", epoch)
            brain.epoch_counter.limit = epoch

    def exhausted(self, seen):
        """Whether the last ``patience`` of the recalls brought nothing better."""
        patience = self.hparams["patience"]
        if patience is None or not seen:
            return False
        return len(seen) - 1 - int(np.argmax(seen)) >= patience

    def end_where_stopped(self, brain):
        """A run that had had enough before it was killed does not go on."""
        rows = [row for row in brain.curves.read() if "uar/valid" in row]
        if self.exhausted([row["uar/valid"] for row in rows]):
            self.hparams["epoch_counter"].limit = rows[-1]["epoch"]

    def verify(self, brain, *others):
        """No trial lists here."""
        return {}


def class_logits(brain, manifest):
    """Logits of whole utterances.

    Arguments
    ---------
    brain : ClassifierBrain
        The brain.
    manifest : speechbrain_dino.manifest.Manifest
        Utterances.

    Returns
    -------
    numpy.ndarray
        float32 (N, C).
    """
    table = embed(
        manifest,
        brain.embedder(),
        device=brain.device,
        batch_seconds=brain.hparams.batch_seconds,
    )
    head = unwrap(brain.trained).head
    training = head.training
    with torch.no_grad():
        vectors = torch.from_numpy(np.array(table.vectors)).to(brain.device)
        logits = head.eval()(vectors).float().cpu().numpy()
    head.train(training)
    return logits
