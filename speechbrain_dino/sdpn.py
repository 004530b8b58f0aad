"""SDPN: a few prototypes, targets from clean crops made even by Sinkhorn."""

import torch

from speechbrain_dino.losses import DINOLoss
from speechbrain_dino.sinkhorn import sinkhorn


class SDPNLoss(DINOLoss):
    """Self-distillation prototypes network (SDPN, Chen et al. 2024).

    With cosines z and v to the prototypes, of the student's local crops and the
    teacher's global ones: p = softmax(z / temp), q = Sinkhorn(r^(1/sharpening) / sum)
    with r = softmax(v / temp), and L = mean -q . ln p over utterances and pairs. Beside
    it stand :class:`~speechbrain_dino.regularizers.MeanEntropy` (weight 1) and
    :class:`~speechbrain_dino.regularizers.KoLeo` (0.1). The teacher's prototypes are
    the moving average of the student's, as its other weights.

    Arguments
    ---------
    out_dim : int
        Number of prototypes K.
    temp : float
        Temperature of both.
    sharpening : float
        Exponent 1/sharpening of the teacher's distribution.
    sinkhorn_iterations : int
        Iterations of Sinkhorn.

    Example
    -------
    >>> loss = SDPNLoss(out_dim=16)
    >>> loss(torch.randn(4, 8, 16), torch.randn(1, 8, 16), shared=0).shape
    torch.Size([])
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
        # softmax(v / temp)^(1 / sharpening), made to sum to 1, is a softmax again.
        sharpened = torch.log_softmax(teacher.float() / self.teacher_temp, dim=-1)
        return sinkhorn(sharpened, self.sinkhorn_iterations)
