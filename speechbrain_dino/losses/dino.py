"""The DINO objective: a pure function of logits, and the module with its center."""

import torch
from torch import nn

from speechbrain_dino.losses.objective import Distributions, Objective, Result
from speechbrain_dino.utils.distributed import gathered, summed

# Axes: s = student views, t = teacher views, b = batch, k = prototypes.
CENTERINGS = ("running", "sinkhorn")


def dino_cross_entropy(log_probs, targets, shared=None):
    """Mean cross-entropy, in nats, of each teacher view with each other student view.

    Of log-probabilities (S, B, K) and targets (T, B, K). The first ``shared`` teacher
    views (all T if None) are the first student views, not compared with themselves.
    Sums precede the product: nothing has the size views x views x batch x prototypes.
    Raises ValueError when no pair of different views is left or shapes do not fit.
    """
    num_student, num_teacher, batch = len(log_probs), len(targets), targets.shape[1]
    shared = num_teacher if shared is None else shared
    _check_views(log_probs.shape, targets.shape, shared)
    # Shared views are taken out again.
    all_pairs = (log_probs.sum(0) * targets.sum(0)).sum()
    same_view = (log_probs[:shared] * targets[:shared]).sum()
    pairs = num_student * num_teacher - shared
    return (same_view - all_pairs) / (pairs * batch)


class DINOLoss(nn.Module):
    """Self-distillation without labels (Caron et al. 2021), with a moving center.

    With logits z of the student and v of the teacher, over pairs of different views:
    L = mean_st -q_t . ln p_s, p = softmax(z / student_temp) and
    q = softmax((v - center) / teacher_temp). The center moves *after* the loss, in
    training mode only, by the mean of v over batch, views and all processes.

    Arguments
    ---------
    out_dim, student_temp, teacher_temp : int, float, float
        Number of prototypes K; temperatures, which a schedule may set.
    center_momentum : float
        Share of the old center that is kept in a step; 1 holds it fixed.
    centering : str
        "running": the center above. "sinkhorn": q is what :func:`sinkhorn` makes of
        v / teacher_temp in ``sinkhorn_iterations`` (SwAV; DINOv2, Oquab et al. 2023).

    Example
    -------
    >>> DINOLoss(out_dim=16)(torch.randn(6, 4, 16), torch.randn(2, 4, 16)).shape
    torch.Size([])
    """

    def __init__(
        self,
        out_dim,
        student_temp=0.1,
        teacher_temp=0.04,
        center_momentum=0.9,
        centering="running",
        sinkhorn_iterations=3,
    ):
        super().__init__()
        for name, temp in (("student", student_temp), ("teacher", teacher_temp)):
            if not temp > 0:
                raise ValueError(f"{name}_temp is {temp}; it must be positive")
        if not 0 <= center_momentum <= 1:
            raise ValueError(f"center_momentum is {center_momentum}; it lies in 0..1")
        if centering not in CENTERINGS:
            raise ValueError(f"centering is {centering!r}; choose one of {CENTERINGS}")
        self.out_dim = out_dim
        self.student_temp = student_temp
        self.teacher_temp = teacher_temp
        self.center_momentum = center_momentum
        self.centering = centering
        self.sinkhorn_iterations = sinkhorn_iterations
        self.register_buffer("center", torch.zeros(out_dim))

    def forward(self, student, teacher=None, shared=None):
        """Loss in nats, float32, of student (S, B, K) and teacher (T, B, K) logits.

        ``shared`` and ValueError: see :func:`dino_cross_entropy`. In training mode the
        center moves.
        """
        loss, _ = self.compare(student, teacher, shared)
        if self.training:
            self.move_center(teacher)
        return loss

    def compare(self, student, teacher, shared=None):
        """As ``forward``: the loss and :class:`Distributions`; the center stays."""
        shared = len(teacher) if shared is None else shared
        _check_views(student.shape, teacher.shape, shared)
        if student.shape[-1] != self.out_dim:
            raise ValueError(
                f"the logits have {student.shape[-1]} prototypes, DINOLoss was built "
                f"with out_dim={self.out_dim}; give head and loss the same out_dim"
            )
        result = Distributions(self.log_probs(student), self.targets(teacher))
        return dino_cross_entropy(*result, shared), result

    def log_probs(self, student):
        """Log-probabilities of the student's logits (..., K), in float32."""
        return torch.log_softmax(student.float() / self.student_temp, dim=-1)

    @torch.no_grad()
    def targets(self, teacher):
        """Centered, sharpened probabilities of the teacher's logits (..., K)."""
        if self.centering == "sinkhorn":
            scores = teacher.float() / self.teacher_temp
            return sinkhorn(scores, self.sinkhorn_iterations)
        centered = teacher.float() - self.center
        return torch.softmax(centered / self.teacher_temp, dim=-1)

    @torch.no_grad()
    def move_center(self, teacher, finite=True):
        """Moves the center towards the mean of logits (T, B, K), where ``finite``."""
        if self.centering != "running":
            return
        total = teacher.flatten(0, 1).float().sum(0)
        count = total.new_full((1,), teacher.shape[0] * teacher.shape[1])
        # Sum and count travel together: exact for unequal batches as well.
        both = summed(torch.cat([total, count]))
        mean = both[:-1] / both[-1:]
        moved = torch.lerp(mean, self.center, self.center_momentum)
        # One bad batch must not spoil the center for good.
        good = mean.isfinite().all() & finite
        self.center.copy_(torch.where(good, moved, self.center))


class DINO(Objective):
    """:class:`DINOLoss` as an objective; its center moves when the step is settled.

    Example
    -------
    >>> from speechbrain_dino.losses.views import Views
    >>> views = Views(torch.randn(6, 4, 16), torch.randn(2, 4, 16), shared=2)
    >>> objective = DINO(out_dim=16, teacher_temp=0.04)
    >>> objective(views).loss.shape
    torch.Size([])
    """

    criterion_class = DINOLoss

    def __init__(self, out_dim, **options):
        super().__init__()
        self.criterion = self.criterion_class(out_dim, **options)
        self.waiting = None

    def forward(self, views):
        """The cross-entropy of a batch, in nats, and its distributions."""
        teacher = views.pick("teacher", "outputs")
        loss, distributions = self.criterion.compare(
            views.student, teacher, views.shared
        )
        if self.training:
            self.waiting = teacher
        return Result(loss, distributions=distributions)

    def settle(self, finite=None):
        """Moves the center."""
        if self.waiting is not None:
            self.criterion.move_center(self.waiting, True if finite is None else finite)
            self.waiting = None


def _check_views(student, teacher, shared):
    if len(student) != 3 or len(teacher) != 3:
        raise ValueError(
            "logits must be (views, batch, prototypes); got student "
            f"{tuple(student)} and teacher {tuple(teacher)}"
        )
    if student[1:] != teacher[1:]:
        raise ValueError(
            "student and teacher must agree in batch and prototypes; got student "
            f"{tuple(student)} and teacher {tuple(teacher)}"
        )
    if not 0 <= shared <= min(student[0], teacher[0]):
        raise ValueError(
            f"{teacher[0]} teacher views for {student[0]} student views, {shared} of "
            "them shared; shared views must be the first of both"
        )
    if student[0] * teacher[0] - shared < 1:
        raise ValueError(
            f"{student[0]} student view(s) and {teacher[0]} teacher views, and the "
            "same view is skipped: nothing is left to compare; use at least two crops"
        )


class SDPNLoss(DINOLoss):
    """Self-distillation prototypes network (SDPN, Chen et al. 2024).

    With cosines z and v to the prototypes, of the student's local crops and the
    teacher's global ones: p = softmax(z / temp), q = Sinkhorn(r^(1/sharpening) / sum)
    with r = softmax(v / temp), and L = mean -q . ln p over utterances and pairs. Beside
    it stand :class:`~speechbrain_dino.losses.regularizers.MeanEntropy` (weight 1) and
    :class:`~speechbrain_dino.losses.regularizers.KoLeo` (0.1). The teacher's prototypes
    are the moving average of the student's, as its other weights.
    """

    def __init__(self, out_dim, temp=0.1, sharpening=0.25, sinkhorn_iterations=3):
        super().__init__(
            out_dim,
            student_temp=temp,
            teacher_temp=temp * sharpening,
            centering="sinkhorn",
            sinkhorn_iterations=sinkhorn_iterations,
        )

    @torch.no_grad()
    def targets(self, teacher):
        """Sharpened and evened probabilities of the teacher's cosines (..., K)."""
        # softmax(v / temp)^(1 / sharpening), divided by its sum, is a softmax again.
        sharpened = torch.log_softmax(teacher.float() / self.teacher_temp, dim=-1)
        return sinkhorn(sharpened, self.sinkhorn_iterations)


@torch.no_grad()
def sinkhorn(scores, iterations=3):
    """Assigns samples to prototypes so that all prototypes are used alike.

    With Q = exp(scores), each iteration divides by the sum over samples (of all
    processes), then by the sum over prototypes; the last leaves one distribution per
    sample (SwAV, Caron et al. 2020, section 3.1). In logarithms: no score is too large.
    ``scores`` (..., K) are logits by temperature. Raises ValueError for 0 iterations.

    Example
    -------
    >>> sinkhorn(torch.tensor([[9.0, 0.0], [9.0, 1.0]]), 30).round(decimals=2)
    tensor([[0.6200, 0.3800],
            [0.3800, 0.6200]])
    """
    if iterations < 1:
        raise ValueError(f"{iterations} iterations of Sinkhorn; at least 1 is needed")
    log = scores.flatten(0, -2).float()
    for _ in range(iterations):
        over_samples = gathered(log.logsumexp(0, keepdim=True)).logsumexp(0)
        log = log - over_samples
        log = log - log.logsumexp(-1, keepdim=True)
    return log.exp().view(scores.shape)


class SDPN(DINO):
    """:class:`SDPNLoss` as an objective.

    Example
    -------
    >>> from speechbrain_dino.losses.views import Views
    >>> views = Views(torch.randn(4, 8, 16), torch.randn(1, 8, 16), shared=0)
    >>> SDPN(out_dim=16)(views).loss.shape
    torch.Size([])
    """

    criterion_class = SDPNLoss
