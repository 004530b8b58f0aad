"""The teacher: a copy of the student that follows it slowly."""

import copy

import torch
from torch import nn
from torch.nn.modules.dropout import _DropoutNd

from speechbrain_dino.models.modes import unwrapped

BUFFERS = ("own", "student", "averaged")


class Teacher(nn.Module):
    """Exponential moving average of a student, wrapped or not, with weights of its own.

    Dropout is the student's alone. ``buffers="own"``: BatchNorm statistics are the
    teacher's own and its mode follows ``train()`` and ``eval()`` (the paper). The
    teacher stays in evaluation mode where they are the student's: ``"student"``, copied
    at each update, or ``"averaged"`` as the weights are (Cai et al., SSRL, 2025).
    ``same``: name of a part, such as "head.prototypes", whose weights are the student's
    (SDPN). Raises ValueError at other values, and when the copy shares memory with the
    student.

    Example
    -------
    >>> student = nn.Linear(2, 2)
    >>> teacher = Teacher(student)
    >>> _ = student.weight.data.add_(1.0)
    >>> teacher.update(student, momentum=0.75)
    >>> torch.allclose(student.weight - teacher.branch.weight, torch.tensor(0.75))
    True
    """

    def __init__(self, student, buffers="own", same=None):
        super().__init__()
        if buffers not in BUFFERS:
            raise ValueError(f"buffers is {buffers!r}; expected one of {BUFFERS}")
        self.buffers_from = buffers
        student = unwrapped(student)
        self.branch = copy.deepcopy(student)
        self.branch.requires_grad_(False)
        for layer in self.branch.modules():
            if isinstance(layer, _DropoutNd):
                layer.p = 0.0
        self.same = same
        if same is not None and not self._same(self.branch):
            raise ValueError(f"same is {same!r}; the student has no weights so named")
        for parameter in self.branch.parameters():
            parameter.grad = None
        shared = _shared_tensors(self.branch, student)
        if shared:
            raise ValueError(
                f"teacher and student share the memory of {', '.join(shared)}; a "
                "teacher that is its student learns nothing. Give the modules a "
                "__deepcopy__ that copies, and no tensors outside their own"
            )
        self.train(student.training)

    def train(self, mode=True):
        """Sets the mode; with the student's statistics the teacher stays in eval."""
        super().train(mode)
        if self.buffers_from != "own":
            self.branch.eval()
        return self

    @torch.no_grad()
    def forward(self, *args, **kwargs):
        """What the copy returns, without gradients."""
        return self.branch(*args, **kwargs)

    @torch.no_grad()
    def update(self, student, momentum):
        """Moves the weights: ``momentum * teacher + (1 - momentum) * student``.

        The host does not wait for a momentum on the device. Raises ValueError when it
        is outside 0..1 or the student is another network.
        """
        if not torch.is_tensor(momentum) and not 0 <= momentum <= 1:
            raise ValueError(f"the teacher's momentum is {momentum}; it lies in 0..1")
        for own, others in self._pairs(student):
            # Not lerp, whose weight the host would have to know. Exact at 0 and 1.
            torch._foreach_mul_(own, momentum)
            torch._foreach_add_(own, torch._foreach_mul(others, 1 - momentum))
        if self.same is not None:
            shared = zip(self._same(self.branch), self._same(unwrapped(student)))
            for own, other in shared:
                own.copy_(other)
        if self.buffers_from != "own":
            self._move_buffers(student, momentum)

    def _move_buffers(self, student, momentum):
        for own, other in zip(self.branch.buffers(), student.buffers()):
            if self.buffers_from == "averaged" and own.is_floating_point():
                own.mul_(momentum).add_(other * (1 - momentum))
            else:
                own.copy_(other)

    @torch.no_grad()
    def distance(self, student):
        """Length of (teacher - student) by that of the student, a scalar on the device.

        Zero tells a teacher that is its student, or one that is never trained.
        """
        gaps, lengths = [], []
        for own, others in self._pairs(student):
            gaps += torch._foreach_norm(torch._foreach_sub(own, others))
            lengths += torch._foreach_norm(others)
        gap = torch.stack([norm.float() for norm in gaps]).norm()
        return gap / torch.stack([norm.float() for norm in lengths]).norm()

    def _same(self, branch):
        """Weights of a branch that student and teacher have in common."""
        named = branch.named_parameters()
        return [p for name, p in named if name.startswith(f"{self.same}.")]

    def _pairs(self, student):
        """Lists of own and student's weights, one pair of lists a dtype and device."""
        own, others = list(self.branch.parameters()), list(student.parameters())
        if [p.shape for p in own] != [p.shape for p in others]:
            raise ValueError(
                f"the teacher's {len(own)} weight tensors and the student's "
                f"{len(others)} differ in number or shape; update the teacher with the "
                "student that it was made from"
            )
        groups = {}
        for mine, other in zip(own, others):
            lists = groups.setdefault((mine.device, mine.dtype), ([], []))
            lists[0].append(mine)
            lists[1].append(other)
        return groups.values()


def _shared_tensors(one, other):
    """Names of the tensors of ``one`` that lie in memory of ``other``."""
    taken = {t.untyped_storage().data_ptr() for _, t in _tensors(other)}
    return [
        name
        for name, tensor in _tensors(one)
        if tensor.untyped_storage().data_ptr() in taken
    ]


def _tensors(module):
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        if tensor.numel():  # empty tensors all have the address 0
            yield name, tensor
