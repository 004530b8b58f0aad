"""Terms that go beside an objective (``Sum``): they spread embeddings, tie networks."""

import math

import torch
import torch.nn.functional as F

from speechbrain_dino.losses.objective import Objective, Result
from speechbrain_dino.utils.distributed import gathered, own_places, same_group


class KoLeo(Objective):
    """Spreads embeddings over the sphere (Sablayrolles et al. 2019; DINOv2; SDPN).

    L = sum_s mean_b -ln min_n |x_sb - x_sn| over the student's views s, with unit
    embeddings x and n the other utterances of all processes; with ``group``, of the
    same so many that follow each other (a batch on one GPU, in DINOv2 and SDPN).
    ``of``: "embeddings", "outputs", or what the head hands out besides. ``eps`` is
    added to distances.

    Example
    -------
    >>> from speechbrain_dino.losses.views import Views
    >>> outputs = torch.tensor([[[1.0, 0.0], [-1.0, 0.0]]])
    >>> KoLeo(of="outputs")(Views(outputs)).loss  # -ln 2
    tensor(-0.6931)
    """

    def __init__(self, of="embeddings", eps=1e-8, group=None):
        super().__init__()
        self.group = group
        self.of = of
        self.eps = eps

    def forward(self, views):
        """The term of a batch."""
        unit = F.normalize(views.pick("student", self.of), dim=-1)  # (S, B, D)
        everyone = gathered(unit, 1)
        batch, number = unit.shape[1], everyone.shape[1]
        if min(number, self.group or number) < 2:
            raise ValueError("KoLeo needs two utterances per batch: raise batch_size")
        with torch.no_grad():
            cosines = unit @ everyone.transpose(1, 2)  # (S, B, N)
            out = F.one_hot(own_places(batch, unit.device), number).bool()
            if self.group is not None:
                out = out | ~same_group(batch, number, self.group, unit.device)
            nearest = cosines.masked_fill(out, -2).argmax(-1, keepdim=True)
        neighbors = everyone.gather(1, nearest.expand(-1, -1, unit.shape[-1]))
        distances = F.pairwise_distance(unit, neighbors, eps=self.eps)
        return Result(-(distances + self.eps).log().mean(1).sum())


class CosineDistance(Objective):
    """Ties the student's embeddings to the teacher's, in front of the head.

    L = mean 1 - cos(student, teacher) over utterances and pairs of different views:
    the term that the authors of DINO for speakers added later, with weight 0.1.

    Example
    -------
    >>> from speechbrain_dino.losses.views import Views
    >>> x = torch.eye(3).repeat(2, 1, 1)
    >>> CosineDistance()(Views(x, x, x, -x, shared=2)).loss
    tensor(2.)
    """

    def forward(self, views):
        """The term of a batch, 0..2."""
        student = F.normalize(views.pick("student", "embeddings"), dim=-1)
        teacher = F.normalize(views.pick("teacher", "embeddings"), dim=-1)
        cosines = (student[:, None] * teacher[None]).sum(-1)  # (S, T, B)
        return Result(1 - views.mean_of_pairs(cosines.mean(-1)))


class MeanEntropy(Objective):
    """Makes the student use all prototypes on average (MSN; SDPN's term "me-max").

    L = ln K - H(mean p), p = softmax(student / temp), the mean over views and the
    utterances of all processes. 0 where all prototypes are used alike. ``temp`` may
    follow a schedule.

    Example
    -------
    >>> from speechbrain_dino.losses.views import Views
    >>> MeanEntropy()(Views(torch.eye(8)[None])).loss.round(decimals=4)
    tensor(0.)
    """

    def __init__(self, temp=0.1):
        super().__init__()
        self.temp = temp

    def forward(self, views):
        """The term of a batch, 0..ln K."""
        probs = torch.softmax(views.student / self.temp, dim=-1).mean((0, 1))
        mean = gathered(probs[None]).mean(0)
        # The slope of p ln p at 0 is infinite.
        logs = mean.clamp(min=torch.finfo(mean.dtype).tiny).log()
        return Result(math.log(len(mean)) + (mean * logs).sum())


class DimensionRegularizer(Objective):
    """Keeps dimensions alive and apart (RDINO, Chen et al. 2023).

    With x and y the mean of a layer over the shared views, of student and teacher, over
    the batch of all processes: L = std_weight (v(x) + v(y)) / 2 + (o(x) + o(y)) /
    divisor, v = mean_d max(0, 1 - sqrt(var_d + 1e-4)) and o the sum of the squared
    off-diagonal covariances. y gives no gradient and shows in the value alone. The
    layer ``of``: "expanded" (:class:`~speechbrain_dino.models.heads.RDINOHead`),
    "embeddings" or "outputs". RDINO's ``divisor`` is the number of prototypes.

    Example
    -------
    >>> from speechbrain_dino.losses.views import Views
    >>> x = torch.zeros(2, 8, 4)
    >>> DimensionRegularizer("outputs")(Views(x, x, shared=2)).loss  # 10 (1 - 0.01)
    tensor(9.9000)
    """

    def __init__(self, of="expanded", std_weight=10.0, divisor=65536):
        super().__init__()
        self.of = of
        self.std_weight = std_weight
        self.divisor = divisor

    def forward(self, views):
        """The term of a batch."""
        total = 0
        for side in ("student", "teacher"):
            layer = views.pick(side, self.of)
            x = layer[: views.shared or len(layer)].mean(0)
            total = total + self.std_weight * spread(x) / 2
            total = total + decorrelation(x, self.divisor)
        return Result(total)


def spread(x):
    """mean_d max(0, 1 - sqrt(var_d + 1e-4)) of x (B, D), over all processes' batch."""
    return F.relu(1 - (gathered(x).var(0) + 1e-4).sqrt()).mean()


def decorrelation(x, divisor):
    """Sum of the squared off-diagonal covariances of x (B, D), by a divisor.

    Over all processes. With more dimensions than utterances from the utterances'
    products, |X'X|^2 = |XX'|^2 in the Frobenius norm: for 8192 dimensions and a batch
    of 256, 32 times less work and no matrix of 8192 x 8192.
    """
    x = gathered(x)
    number, dims = x.shape
    if number < 2:
        raise ValueError("covariances need two utterances per batch: raise batch_size")
    x = x - x.mean(0)
    products = x @ x.T if number < dims else x.T @ x
    off_diagonal = products.square().sum() - x.square().sum(0).square().sum()
    return off_diagonal / (number - 1) ** 2 / divisor
