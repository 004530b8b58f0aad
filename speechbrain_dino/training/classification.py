"""The Brain of training on labels, right ones or pseudo labels that may be wrong."""

import logging

import speechbrain as sb
import torch

from speechbrain_dino.models.modes import evaluating
from speechbrain_dino.training.brain import TrainingBrain
from speechbrain_dino.training.safe_step import KeptBuffers
from speechbrain_dino.utils.distributed import process_count, summed

logger = logging.getLogger(__name__)


class ClassifierBrain(TrainingBrain):
    """Encoder and output layer on labels; gate and correction where labels err.

    Needs, beside those of :class:`~speechbrain_dino.training.brain.TrainingBrain`, the
    module ``student`` (a :class:`~speechbrain_dino.models.branch.Branch` whose head
    gives cosines or logits of classes), a ``loss`` that gives a loss per sample, and in
    ``hparams``: ``affine_layers`` and ``affine_epochs`` (first epochs, in which only
    these layers of the encoder and the output layer learn). Optional modules: ``gate``
    and ``correction`` (:mod:`~speechbrain_dino.losses.label_gates`); optional in
    ``hparams``: ``phases`` (:class:`~speechbrain_dino.training.gate_phases.GatePhases`,
    when the gate is set and training ends), ``speed_classes``
    (:class:`~speechbrain_dino.augment.speeds.SpeedClasses`) and ``copy_paste``
    (:class:`~speechbrain_dino.augment.copy_paste.CopyPaste`); the crops then carry the
    numbers that these draw with behind those of the augmentations.

    Arguments
    ---------
    labels : torch.Tensor
        Class of each training utterance, int64 (N,).
    num_classes : int
        Size of the output layer.
    **kwargs
        Arguments of ``TrainingBrain``.
    """

    def __init__(self, labels, num_classes, **kwargs):
        modules = kwargs["modules"]
        for name in ("gate", "correction"):
            if modules.get(name, 0) is None:  # switched off in the YAML
                del modules[name]
        if "gate" in modules:
            self.stateful = (*self.stateful, "gate")
        super().__init__(**kwargs)
        self.phases = getattr(self.hparams, "phases", None)
        if self.phases is not None and self.checkpointer is not None:
            self.checkpointer.add_recoverable("phases", self.phases)
        self.labels = labels.to(self.device)
        self.num_classes = num_classes
        self.speeds = getattr(self.hparams, "speed_classes", None)
        self.copy_paste = getattr(self.hparams, "copy_paste", None)
        self.held = affine_split(
            self.bare["student"].encoder, self.hparams.affine_layers
        )
        self.holding = False

    # -- set-up ---------------------------------------------------------------

    def on_fit_start(self):
        """Recovers; a run whose phases had ended goes no further."""
        super().on_fit_start()
        if self.phases is not None and self.phases.ended:
            self.epoch_counter.limit = self.epoch_counter.current

    def on_stage_start(self, stage, epoch=None):
        """Chooses gate and learning layers of the epoch."""
        super().on_stage_start(stage, epoch)
        if stage != sb.Stage.TRAIN:
            return
        if "gate" in self.modules and self.step == 0:
            is_set = self.phases is None or self.phases.gated
            gate = self.modules.gate.begin_epoch(epoch, is_set)
            self.modules.health.extra = gate
        holding = epoch <= self.hparams.affine_epochs
        if holding != self.holding:
            self.holding = holding
            for part in self.held:
                part.requires_grad_(not holding)
            # The wrapper waits for the gradients of the parameters it was built with.
            self._wrap_distributed()
        if holding and self.step == 0:
            logger.info(
                "epoch %d: only %s and the output layer learn", epoch, _named(self)
            )

    def after_validation(self, epoch, metrics):
        """Follows the phases; says where label correction did not fire."""
        if self._correcting():
            shares = metrics["gated"], metrics["corrected"]
            self.modules.correction.end_epoch(*shares)
        if self.phases is not None and self.phases.epoch_done(
            epoch,
            self.epoch_counter.limit,
            metrics,
            self.bare["student"],
            "gate" in self.modules,
        ):
            self.epoch_counter.limit = epoch

    def _keep_statistics(self):
        """BatchNorm of layers that do not learn stays as it is."""
        for part in self.held if self.holding else ():
            part.eval()

    # -- one step -------------------------------------------------------------

    def train_step(self, batch):
        """Crops -> encoder and output layer -> loss of believed labels -> safe step."""
        with self.no_sync(not self.now.updates):
            statistics = KeptBuffers(self.modules.student, self.modules.loss)
            with self.training_ctx:
                predictions = self.compute_forward(batch, sb.Stage.TRAIN)
                loss = self.compute_objectives(predictions, batch, sb.Stage.TRAIN)
            self.backward(loss)
        statistics.restore_unless(self.finite)
        if self.now.updates:
            self.optimizers_step()
        return loss.detach()

    def compute_forward(self, batch, stage):
        """Runs encoder and output layer.

        Returns ``logits`` (B, C), ``embeddings`` (B, D), ``labels`` and ``items`` int64
        (B,), ``waves`` (1, B, time).
        """
        self._keep_statistics()
        (view,), (draws,) = batch.views, batch.draws
        items = batch.items.to(self.device, non_blocking=True)
        labels = self.labels[items]
        if self.copy_paste is not None:
            number = self.copy_paste.num_draws
            pasted = self.copy_paste(view[0], labels, draws[0, :, -number:])
            view, draws = pasted[None], draws[..., :-number]
        if self.speeds is not None:
            played, which = self.speeds(view[0].float(), draws[0, :, -1])
            view, draws = played[None], draws[..., :-1]
            which = which.to(self.device, non_blocking=True)
            labels = self.speeds.labels(labels, which, self.num_classes)
        embeddings, logits = self.modules.student([self.features(view, draws)])
        return {
            "logits": logits,
            "embeddings": embeddings,
            "labels": labels,
            "items": items,
            "waves": view,
        }

    def compute_objectives(self, predictions, batch, stage):
        """Mean loss of the samples whose label is believed or corrected, float32."""
        logits, labels = predictions["logits"], predictions["labels"]
        losses = self.modules.loss(logits, labels)
        kept = corrected = new = None
        used = torch.ones_like(losses)
        if "gate" in self.modules:
            judged = losses
            if not self.modules.gate.with_margin:
                judged = self.modules.loss.plain(logits.detach(), labels)
            kept = self.modules.gate(judged, predictions["items"])
            used = kept
            if self._correcting():
                new, corrected = self._corrected(predictions["waves"], labels, kept)
                losses = self.modules.loss(logits, new)
                used = kept | corrected
            # What is not used may be infinite, and 0 x infinity is not 0.
            losses = losses.where(used, 0)
        self.modules.health.observe(
            logits.detach(), labels, predictions["items"], kept, corrected, new
        )
        return losses.sum() / _share_of_all(used.sum())

    def _correcting(self):
        correction = getattr(self.modules, "correction", None)
        return correction is not None and self.epoch >= correction.start_epoch

    @torch.no_grad()
    def _corrected(self, waves, labels, kept):
        """New labels (B,) and which samples got one, of those that are not kept."""
        corrected = torch.zeros_like(kept)
        # Waiting for the device here costs less than embedding the whole batch again.
        out = torch.nonzero(~kept).flatten()
        if not len(out):
            return labels, corrected
        with evaluating(self.bare["student"]) as student:
            _, cosines = student([self.features(waves[:, out])])
        predicted, sure = self.modules.correction(cosines)
        corrected[out] = sure
        return labels.index_copy(
            0, out, torch.where(sure, predicted, labels[out])
        ), corrected


def _share_of_all(count):
    """What to divide a process's sum by, so that the mean over processes is the mean.

    Gates leave each process another number of samples.
    """
    return summed(count.float()).clamp(min=1) / process_count()


def affine_split(encoder, affine_layers):
    """The children of an encoder before its affine layers, which make the embedding.

    Names that the encoder lacks are passed over; if it has none: ValueError.

    Example
    -------
    >>> from speechbrain_dino.models.encoders import LResNet34
    >>> parts = affine_split(LResNet34(), ["fc", "embedding", "embedding_norm"])
    >>> len(parts)  # stem, its BatchNorm, the blocks
    3
    """
    children = dict(encoder.named_children())
    if not set(children) & set(affine_layers):
        raise ValueError(
            f"affine_layers {list(affine_layers)} are no layers of the encoder, which "
            f"has {list(children)}: name those that make the embedding"
        )
    return [part for name, part in children.items() if name not in affine_layers]


def _named(brain):
    encoder = brain.bare["student"].encoder
    names = [n for n, _ in encoder.named_children() if n in brain.hparams.affine_layers]
    return ", ".join(names)
