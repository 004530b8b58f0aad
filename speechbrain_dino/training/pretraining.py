"""The Brain of self-supervised training: student, teacher and objective meet here."""

from dataclasses import replace

import speechbrain as sb
import torch

from speechbrain_dino.losses.views import NOTHING, Views
from speechbrain_dino.models.modes import evaluating
from speechbrain_dino.training.brain import TrainingBrain
from speechbrain_dino.training.safe_step import KeptBuffers
from speechbrain_dino.utils.errors import plain_errors

STUDENT_CROPS = ("all", "local")


class PretrainingBrain(TrainingBrain):
    """Student and teacher embed crops; the objective compares their outputs.

    Needs the module ``student`` (:class:`~speechbrain_dino.models.branch.Branch`)
    beside those of :class:`~speechbrain_dino.training.brain.TrainingBrain`, and, unless
    it is None, ``teacher`` (:class:`~speechbrain_dino.models.teacher.Teacher`);
    ``loss`` is an :class:`~speechbrain_dino.losses.objective.Objective`. In
    ``hparams``: ``global_crops``, ``local_crops``, ``student_crops`` ("all", or
    "local": global crops are the teacher's alone), ``teacher_clean`` (whether the
    teacher's crops stay without augmentation), ``momentum_schedule`` and
    ``freeze_last_layer_epochs``. Optional: ``on_epoch_start``, a callable or a list of
    them, each called with (brain, epoch) before an epoch and after resuming within
    one; ``views_apart``: BatchNorm sees one view of the utterances at a time (sslsv),
    not all of one length; ``speed_classes``
    (:class:`~speechbrain_dino.augment.speeds.SpeedClasses` without new classes): each
    utterance is played at a speed, the same in all its crops; ``prototype_lr_factor``:
    the head's prototypes have so many times the learning rate, no weight decay and no
    clipping (SDPN).
    """

    networks = ("student", "teacher")
    evaluated = "teacher"

    def __init__(self, **kwargs):
        if kwargs["modules"].get("teacher", 0) is None:  # switched off in the YAML
            del kwargs["modules"]["teacher"]
            self.networks, self.evaluated = ("student",), "student"
        super().__init__(**kwargs)
        self.with_reference = False  # until an epoch begins
        self._check_crops()

    def _check_crops(self):
        global_crops, local_crops = self.hparams.global_crops, self.hparams.local_crops
        choice = self.hparams.student_crops
        if choice not in STUDENT_CROPS:
            raise ValueError(f"student_crops={choice!r}; choose one of {STUDENT_CROPS}")
        if choice == "local" and not (local_crops and "teacher" in self.modules):
            raise ValueError(
                "student_crops=local leaves the global crops to a teacher: that needs "
                f"a teacher, and local_crops above 0 ({local_crops} were given)"
            )
        if global_crops + local_crops < 2:
            raise ValueError(
                f"global_crops={global_crops} and local_crops={local_crops} leave "
                "nothing to compare: give two crops in all at least."
            )

    def branch(self):
        """The student, or its copy inside the teacher."""
        return getattr(self.bare[self.evaluated], "branch", self.bare[self.evaluated])

    def fit(self, epoch_counter, train_set, **kwargs):
        """Trains; tells the objective how many utterances there are."""
        with plain_errors(ValueError):
            self.modules.loss.allocate(len(train_set.dataset))
        super().fit(epoch_counter, train_set, **kwargs)

    def on_stage_start(self, stage, epoch=None):
        """Prepares the objective, and what the YAML names, for an epoch."""
        super().on_stage_start(stage, epoch)
        if stage != sb.Stage.TRAIN:
            return
        self.modules.loss.begin_epoch(epoch)
        self.with_reference = self.modules.loss.wants_reference()
        called = getattr(self.hparams, "on_epoch_start", None) or []
        with plain_errors(ValueError, OSError):
            for function in called if isinstance(called, list) else [called]:
                function(self, epoch)

    # -- one step -------------------------------------------------------------

    def train_step(self, batch):
        """Crops -> student and teacher -> objective -> safe step -> teacher."""
        with self.no_sync(not self.now.updates):
            statistics = KeptBuffers(*(self.modules[name] for name in self.networks))
            with self.training_ctx:
                views = self.compute_forward(batch, sb.Stage.TRAIN)
                result = self.compute_objectives(views, batch, sb.Stage.TRAIN)
            self.backward(result.loss)
        statistics.restore_unless(self.finite)
        self.modules.loss.settle(self.finite)
        if self.now.updates:
            self.hold_prototypes()
            self.optimizers_step()
            self.update_teacher()
        if self.now.logged:
            self.observe(views.detach(), result)
        return result.loss.detach()

    def compute_forward(self, batch, stage):
        """Runs student and teacher on a ``CropBatch``; returns their ``Views``."""
        batch = self._played(batch)
        has_teacher = "teacher" in self.modules
        clean = has_teacher and self.hparams.teacher_clean
        apart = self.hparams.student_crops == "local"
        crops = [
            None if apart and clean and number == 0 else self.features(view, draws)
            for number, (view, draws) in enumerate(zip(batch.views, batch.draws))
        ]
        num_global, num_views = len(batch.views[0]), sum(map(len, batch.views))
        teacher = {}
        if has_teacher:
            feats = self.features(batch.views[0]) if clean else crops[0]
            taught = self.modules.teacher(self._passes([feats], [num_global]))
            teacher = _by_view("teacher", taught, num_global)
            head = self.bare["teacher"].branch.head
            teacher["project"] = getattr(head, "prototypes", None)
        student_views = num_views - num_global if apart else num_views
        counts = [len(view) for view in batch.views]
        student = self.modules.student(
            self._passes(crops[apart:], counts[apart:])  # without the global ones
        )
        return Views(
            **_by_view("student", student, student_views),
            **teacher,
            items=batch.items.to(self.device, non_blocking=True),
            shared=num_global if has_teacher and not apart else 0,
            reference=self._reference(batch.views[0]),
        )

    def _played(self, batch):
        """The batch at the speeds that its utterances are played at."""
        speeds = getattr(self.hparams, "speed_classes", None)
        if speeds is None:
            return batch
        chosen, views = batch.draws[0][0, :, -1], []
        for view in batch.views:
            waves = view.flatten(0, 1).float()
            played, _ = speeds(waves, chosen.repeat(len(view)))
            views.append(played.unflatten(0, view.shape[:2]))
        return replace(batch, views=views, draws=[d[..., :-1] for d in batch.draws])

    def _passes(self, crops, counts):
        """Log-mels as they go through the encoder: by length, or each view apart."""
        if not getattr(self.hparams, "views_apart", False):
            return crops
        views = zip(crops, counts)
        return [view for feats, count in views for view in feats.chunk(count)]

    @torch.no_grad()
    def _reference(self, view):
        """Embeddings (B, D) of the first crops as recorded, if the objective asks."""
        if not self.with_reference:
            return None
        encoder = self.embedder().embedding_model
        with evaluating(encoder):
            return encoder(self.features(view[:1])).flatten(1)

    def compute_objectives(self, predictions, batch, stage):
        """The objective's ``Result`` of a batch, in float32."""
        # Cosines by temperature need more digits than half precision has.
        with torch.autocast(self.device_type, enabled=False):
            return self.modules.loss(predictions.float())

    def update_teacher(self):
        """Moves the teacher, unless the step was not taken."""
        if "teacher" not in self.modules:
            return
        momentum = torch.where(self.finite, self.scheduled.get("momentum", 1.0), 1.0)
        self.modules.teacher.update(self.modules.student, momentum)

    def observe(self, views, result):
        """Shows a batch to the health monitor."""
        distance = None
        if "teacher" in self.modules:
            distance = self.modules.teacher.distance(self.modules.student)
        self.modules.health.observe(views, result, distance)

    def hold_prototypes(self):
        """Takes the gradients of the prototypes away, in the first epochs."""
        if self.now.progress < self.hparams.freeze_last_layer_epochs:
            for parameter in self._prototypes():
                parameter.grad = None

    def apart(self):
        """The prototypes, if their learning rate has a factor of its own."""
        factor = getattr(self.hparams, "prototype_lr_factor", None)
        return ((), 1.0) if factor is None else (self._prototypes(), factor)

    def _prototypes(self):
        prototypes = getattr(self.bare["student"].head, "prototypes", None)
        return [] if prototypes is None else list(prototypes.parameters())


def _by_view(side, result, number):
    """What a branch returns, (views batch, ...), as arguments of ``Views``."""
    embeddings, outputs = result
    extras = NOTHING
    if isinstance(outputs, dict):
        extras = {
            name: value.unflatten(0, (number, -1))
            for name, value in outputs.items()
            if name != "outputs"
        }
        outputs = outputs["outputs"]
    return {
        side: outputs.unflatten(0, (number, -1)),
        f"{side}_embeddings": embeddings.unflatten(0, (number, -1)),
        f"{side}_extras": extras,
    }
