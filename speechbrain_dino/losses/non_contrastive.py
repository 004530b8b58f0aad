"""Objectives without negatives and without prototypes: BYOL and VICReg."""

import torch.nn.functional as F

from speechbrain_dino.losses.objective import Objective, Result
from speechbrain_dino.losses.regularizers import decorrelation, spread


class BYOL(Objective):
    """Prediction of the teacher's projection (BYOL, Grill et al. 2020, equation 2).

    With l_st = 2 - 2 cos(prediction_s, projection_t), L = l_12 + l_21 for two views,
    the mean over utterances; for more, twice the mean of l_st over pairs of different
    views. A mean over the directions would need twice the learning rate under SGD, and
    the same under Adam. Needs :class:`~speechbrain_dino.models.heads.PredictionHead`,
    whose output is the student's prediction and which hands out the projection.

    Example
    -------
    >>> import torch
    >>> from speechbrain_dino.losses.views import Views
    >>> student, teacher = torch.eye(4).repeat(2, 1, 1), -torch.eye(4).repeat(2, 1, 1)
    >>> extras = {"projection": teacher}
    >>> BYOL()(Views(student, teacher, teacher_extras=extras, shared=2)).loss
    tensor(8.)
    """

    def forward(self, views):
        """The loss of a batch, 0..8."""
        predictions = F.normalize(views.student, dim=-1)
        targets = F.normalize(views.pick("teacher", "projection"), dim=-1)
        cosines = (predictions[:, None] * targets[None]).sum(-1)  # (S, T, B)
        return Result(2 * (2 - 2 * views.mean_of_pairs(cosines.mean(-1))))


class VICReg(Objective):
    """Variance, invariance, covariance (VICReg, Bardes et al. 2022, equation 6).

    L = a s(z, z') + b [v(z) + v(z')] + c [c(z) + c(z')] with s the mean squared
    difference, v = mean_d max(0, 1 - sqrt(var z_d + 1e-4)) and c the squared
    off-diagonal covariances by D, over the batch of all processes. With more than two
    views: the mean over pairs, and twice the mean over views. The weights a, b and c
    (``invariance``, ``variance``, ``covariance``) may follow schedules.

    Example
    -------
    >>> import torch
    >>> from speechbrain_dino.losses.views import Views
    >>> VICReg(25.0, 25.0, 1.0)(Views(torch.zeros(2, 8, 4))).loss  # 2 x 25 x (1 - 0.01)
    tensor(49.5000)
    """

    def __init__(self, invariance=25.0, variance=25.0, covariance=1.0):
        super().__init__()
        self.invariance = invariance
        self.variance = variance
        self.covariance = covariance

    def forward(self, views):
        """The loss of a batch."""
        z = views.student
        others = z if views.teacher is None else views.teacher
        distance = (z[:, None] - others[None]).square().mean((2, 3))  # (S, T)
        spreads = sum(spread(x) for x in z) / len(z)
        covariances = sum(decorrelation(x, x.shape[1]) for x in z) / len(z)
        return Result(
            self.invariance * views.mean_of_pairs(distance)
            + 2 * self.variance * spreads
            + 2 * self.covariance * covariances
        )
