"""Contrastive objectives: SimCLR's NT-Xent, with a margin or without, and MoCo's.

Axes: s = student views, t = views compared with, b = utterances of this process,
n = utterances of all processes, q = queue, d = dimensions.
"""

import torch
import torch.nn.functional as F

from speechbrain_dino.losses.objective import Objective, Result
from speechbrain_dino.losses.queues import Queue
from speechbrain_dino.utils.distributed import gathered, own_places, same_group

# Far below any cosine by temperature, yet finite: its gradient is 0 and not nan.
_NEVER = -1e4


class NTXent(Objective):
    """Normalized temperature-scaled cross-entropy (SimCLR, Chen et al. 2020).

    For an utterance b, its view s and another view t, with cosines c and temperature
    tau: l = -ln e^((c_st - m) / tau) / (e^((c_st - m) / tau) + sum_n sum_t'
    e^(c(s, n t') / tau)), the sum over all views of all other utterances n of all
    processes; L is the mean over b and the pairs of different views. For two views
    and m = 0 this is the paper's equation 1; m > 0 is the additive margin of Lepage and
    Dehak (2024). Positives and negatives are views of the teacher where there is one.
    ``temp`` (tau) and ``margin`` (m, on the cosine) may follow schedules. With
    ``group``, n are the utterances of the same so many that follow each other, as in
    systems that do not gather: their batch on one GPU. ``of``: "outputs", "embeddings",
    or what the head hands out besides; ``with_teacher=False`` compares the student's
    views with each other in any case.

    Example
    -------
    >>> from speechbrain_dino.losses.views import Views
    >>> views = Views(torch.eye(3).repeat(2, 1, 1))
    >>> NTXent(temp=1.0)(views).loss  # ln(1 + (3 - 1) * 2 / e)
    tensor(0.9048)
    """

    def __init__(
        self, temp=0.1, margin=0.0, group=None, of="outputs", with_teacher=True
    ):
        super().__init__()
        _check_temp(temp)
        self.temp = temp
        self.margin = margin
        self.group = group
        self.of = of
        self.with_teacher = with_teacher

    def forward(self, views):
        """The loss of a batch, in nats."""
        if not self.with_teacher:
            views = views._replace(teacher=None)
        anchors = F.normalize(views.pick("student", self.of), dim=-1)
        others = anchors
        if views.teacher is not None:
            others = F.normalize(views.pick("teacher", self.of), dim=-1)
        everyone = gathered(others, 1)
        batch, number = anchors.shape[1], everyone.shape[1]
        if min(number, self.group or number) < 2:
            raise ValueError(
                "one utterance in the batch, or the group, leaves no negatives: raise "
                "batch_size"
            )
        cosines = torch.einsum("sbd,tnd->sbtn", anchors, everyone) / self.temp
        if self.group is not None:
            apart = ~same_group(batch, number, self.group, anchors.device)
            cosines = cosines.masked_fill(apart[:, None], _NEVER)
        own = own_places(batch, anchors.device)[None, :, None, None]
        own = own.expand(*cosines.shape[:3], 1)
        positives = cosines.gather(-1, own).squeeze(-1)
        negatives = cosines.scatter(-1, own, _NEVER).flatten(2).logsumexp(-1)
        return _cross_entropy(views, positives - self.margin / self.temp, negatives)


class MoCo(Objective):
    """Contrast with a queue of the teacher's outputs (MoCo v2, Chen et al. 2020).

    With queries z of the student, keys k of the teacher and ``queue_size`` entries u:
    l = -ln e^(cos(z_s, k_t) / tau) / (e^(cos(z_s, k_t) / tau) + sum_q
    e^(cos(z_s, u_q) / tau)); L is the mean over utterances and pairs of different
    views (both directions of each pair). Entries of the query's own utterance do not
    count as negatives, as in a small corpus they would come back often. ``temp`` (tau)
    and ``margin`` (on the positive pair's cosine) may follow schedules.

    Example
    -------
    >>> from speechbrain_dino.losses.views import Views
    >>> loss = MoCo(out_dim=8, queue_size=64)
    >>> student, teacher = torch.randn(2, 2, 4, 8)
    >>> loss(Views(student, teacher, items=torch.arange(4), shared=2)).loss.shape
    torch.Size([])
    """

    def __init__(self, out_dim, queue_size=65536, temp=0.07, margin=0.0):
        super().__init__()
        _check_temp(temp)
        self.temp = temp
        self.margin = margin
        self.queue = Queue(queue_size, keys=(out_dim,))

    def forward(self, views):
        """The loss of a batch, in nats."""
        queries = F.normalize(views.student, dim=-1)
        keys = F.normalize(views.pick("teacher", "outputs"), dim=-1)
        positives = torch.einsum("sbd,tbd->sbt", queries, keys) / self.temp
        cosines = queries @ self.queue.keys.T / self.temp  # (S, B, Q)
        stored = self.queue.items
        usable = (stored >= 0) & (stored != views.items[:, None])
        negatives = cosines.masked_fill(~usable, _NEVER).logsumexp(-1)
        if self.training:
            self._push(keys, views.items)
        return _cross_entropy(views, positives - self.margin / self.temp, negatives)

    def _push(self, keys, items):
        items = gathered(items).repeat(len(keys))
        self.queue.push(items, keys=gathered(keys, 1).flatten(0, 1))


def _cross_entropy(views, positives, negatives):
    """Mean of -ln e^p / (e^p + e^n); positives (S, B, T), negatives (S, B)."""
    return Result(views.mean_of_pairs(F.softplus(negatives[..., None] - positives)))


def _check_temp(temp):
    if not temp > 0:
        raise ValueError(f"temp is {temp}; it must be positive")
