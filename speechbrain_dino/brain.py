"""The Brain of self-supervised training: student, teacher and objective meet here."""

import torch

from speechbrain_dino.teacher import unwrap
from speechbrain_dino.training_brain import TrainingBrain


class PretrainingBrain(TrainingBrain):
    """Student and teacher see crops; the loss compares what they make of them.

    Needs the modules ``student`` (:class:`~speechbrain_dino.heads.Branch`) and
    ``teacher`` (:class:`~speechbrain_dino.teacher.Teacher`) beside those of
    :class:`~speechbrain_dino.training_brain.TrainingBrain`, and in ``hparams``
    ``momentum_schedule`` and ``freeze_last_layer_epochs``.

    Arguments
    ---------
    **kwargs
        Arguments of ``TrainingBrain``.
    """

    networks = ("student", "teacher")
    evaluated = "teacher"

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        crops = self.hparams.global_crops, self.hparams.local_crops
        if sum(crops) < 2:
            raise ValueError(
                f"global_crops={crops[0]} and local_crops={crops[1]} leave nothing to "
                "compare: give two crops in all at least."
            )

    def result_of(self, module):
        """The copy of the student inside the teacher."""
        return module.branch

    def compute_forward(self, batch, stage):
        """Runs student and teacher.

        Arguments
        ---------
        batch : speechbrain_dino.crops.CropBatch
            Crops on the device.
        stage : speechbrain.Stage
            Training only.

        Returns
        -------
        dict
            ``student`` (S, B, K) and ``teacher`` (T, B, K) logits, ``embeddings``
            (T B, D) of the teacher.
        """
        feats = [
            self.features(view, draw) for view, draw in zip(batch.views, batch.draws)
        ]
        embeddings, teacher = self.modules.teacher(feats[:1])
        _, student = self.modules.student(feats)
        views = [len(view) for view in batch.views]
        return {
            "student": student.unflatten(0, (sum(views), -1)),
            "teacher": teacher.unflatten(0, (views[0], -1)),
            "embeddings": embeddings,
        }

    def compute_objectives(self, predictions, batch, stage):
        """The loss of a batch, float32 scalar."""
        return self.modules.loss(predictions["student"], predictions["teacher"])

    def observe(self, outputs, batch):
        """Shows a batch to the monitor of collapse."""
        self.modules.health.observe(
            self.modules.loss,
            outputs["student"].detach(),
            outputs["teacher"],
            outputs["embeddings"],
            self.modules.teacher.distance(self.modules.student),
        )

    def after_step(self):
        """Moves the teacher, unless the step was not taken."""
        momentum = torch.where(self.finite, self._at("momentum", 1.0), 1.0)
        self.modules.teacher.update(self.modules.student, momentum)

    def held_still(self):
        """The prototypes, in the first epochs."""
        if self.progress < self.hparams.freeze_last_layer_epochs:
            return unwrap(self.modules.student).head.prototypes.parameters()
        return ()
