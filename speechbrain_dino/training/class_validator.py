"""Validation of a classifier after each epoch, with early stopping."""

import logging

import numpy as np
import torch
from speechbrain.utils.distributed import ddp_broadcast, if_main_process

from speechbrain_dino.embeddings.extract import embed
from speechbrain_dino.metrics.classification import unweighted_recall
from speechbrain_dino.models.modes import evaluating

logger = logging.getLogger(__name__)


class ClassValidator:
    """Classifies the validation part after each epoch, and stops in time.

    Arguments
    ---------
    manifest : speechbrain_dino.data.manifest.Manifest
        Validation utterances.
    labels : numpy.ndarray
        Their classes, int64 (N,).
    hparams : dict
        ``validate_every``, ``patience`` (validations without a better one before
        training stops; None: never), ``batch_seconds``, ``number_of_epochs``.
    """

    def __init__(self, manifest, labels, hparams):
        self.manifest, self.labels, self.hparams = manifest, labels, hparams

    def __call__(self, brain, epoch, metrics):
        """Adds ``uar/valid`` to the metrics where the epoch is one to validate."""
        every = self.hparams["validate_every"]
        if epoch % every and epoch != self.hparams["number_of_epochs"]:
            return
        if if_main_process():
            logits = class_logits(brain, self.manifest)
            predicted = logits.argmax(1)
            metrics["uar/valid"] = unweighted_recall(self.labels, predicted)
            metrics["accuracy/valid"] = float(np.mean(predicted == self.labels))
        rows = brain.curves.read()
        recalls = [row["uar/valid"] for row in rows if "uar/valid" in row]
        enough = self.exhausted([*recalls, metrics.get("uar/valid", 0.0)])
        if ddp_broadcast(enough, src=0):
            logger.info("epoch %d: no better validation for a while, enough", epoch)
            brain.epoch_counter.limit = epoch

    def exhausted(self, recalls):
        """Whether the last ``patience`` of the recalls brought nothing better."""
        patience = self.hparams["patience"]
        if patience is None or not recalls:
            return False
        return len(recalls) - 1 - int(np.argmax(recalls)) >= patience

    def end_where_stopped(self, brain):
        """Ends a resumed run that had stopped early before it was killed."""
        rows = [row for row in brain.curves.read() if "uar/valid" in row]
        if self.exhausted([row["uar/valid"] for row in rows]):
            self.hparams["epoch_counter"].limit = rows[-1]["epoch"]

    def verify(self, brain, *others):
        """No trial lists here."""
        return {}


def class_logits(brain, manifest):
    """Logits of whole utterances, float32 (N, C)."""
    table = embed(
        manifest,
        brain.embedder(),
        device=brain.device,
        batch_seconds=brain.hparams.batch_seconds,
    )
    head = brain.bare["student"].head
    with torch.no_grad(), evaluating(head):
        vectors = torch.from_numpy(np.array(table.vectors)).to(brain.device)
        logits = head(vectors).float().cpu().numpy()
    return logits
