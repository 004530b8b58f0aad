"""What a step hands to an objective: outputs of student and teacher for the crops."""

from types import MappingProxyType
from typing import NamedTuple

import torch

NOTHING = MappingProxyType({})


class Views(NamedTuple):
    """Outputs of student and teacher for the crops of a batch.

    Axes: S student views, T teacher views, B utterances of this process, K outputs of
    the head (logits of prototypes, or a projection), D embedding.

    Arguments
    ---------
    student, teacher : torch.Tensor
        Outputs of the heads (S, B, K), (T, B, K); the teacher's without gradient.
    student_embeddings, teacher_embeddings : torch.Tensor, optional
        Embeddings in front of the head (S, B, D), (T, B, D).
    items, reference : torch.Tensor, optional
        Rows of the training manifest, int64 (B,); embeddings (B, D) of crops without
        augmentation, for objectives with ``wants_reference``.
    student_extras, teacher_extras : dict
        What a head hands out besides, by name, (S, B, E) and (T, B, E).
    shared : int
        How many of the teacher's views the student sees as well, as its first views in
        the same order. Such a pair is one and the same crop.
    project : callable, optional
        The teacher's last layer, bottleneck (..., E) -> outputs (..., K).
    """

    student: torch.Tensor
    teacher: torch.Tensor = None
    student_embeddings: torch.Tensor = None
    teacher_embeddings: torch.Tensor = None
    items: torch.Tensor = None
    student_extras: dict = NOTHING
    teacher_extras: dict = NOTHING
    shared: int = 0
    reference: torch.Tensor = None
    project: object = None

    def pick(self, side, name):
        """One output (S, B, ...) or (T, B, ...) of "student" or "teacher", by its name.

        "outputs", "embeddings", or what the head hands out; ValueError if missing.
        """
        extras = getattr(self, f"{side}_extras")
        outputs = {
            "outputs": getattr(self, side),
            "embeddings": getattr(self, f"{side}_embeddings"),
            **extras,
        }
        if outputs.get(name) is None:
            there = [key for key, value in outputs.items() if value is not None]
            raise ValueError(
                f"the objective asks for {name!r} of the {side}, which gives "
                f"{there or 'nothing'}: choose a head that hands it out, or a teacher"
            )
        return outputs[name]

    def different(self):
        """Which pairs of views are two crops, bool (S, T); (S, S) without teacher."""
        num_student = len(self.student)
        shared, others = self.shared, self.teacher
        if others is None:
            shared, others = num_student, self.student
        pairs = torch.ones(
            num_student, len(others), dtype=torch.bool, device=self.student.device
        )
        pairs[:shared, :shared].fill_diagonal_(False)
        return pairs

    def mean_of_pairs(self, values):
        """Mean of (S, T) or (S, B, T) over different views; ValueError without any."""
        pairs = self.different()
        number = pairs.numel() - self._same()
        if number == 0:
            raise ValueError(
                f"{len(self.student)} student view(s), all of them the teacher's: "
                "nothing is left to compare; use at least two crops"
            )
        if values.dim() == 3:
            values = values.mean(1)
        return (values * pairs).sum() / number

    def _same(self):
        return len(self.student) if self.teacher is None else self.shared

    def float(self):
        """The same in float32, for objectives that compute in it."""
        return self._mapped(lambda x: x.float() if x.is_floating_point() else x)

    def detach(self):
        """The same without gradients."""
        return self._mapped(torch.Tensor.detach)

    def _mapped(self, function):
        def mapped(value):
            if isinstance(value, torch.Tensor):
                return function(value)
            if isinstance(value, dict):
                return {name: function(tensor) for name, tensor in value.items()}
            return value

        return Views(*map(mapped, self))
