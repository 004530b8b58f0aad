"""Which pseudo labels to believe: fixed and dynamic loss gates, label correction.

Networks learn what is common before what is wrong, so that a label that still costs
much is likely wrong. Gates: Tao et al., ICASSP 2022 (fixed); Han et al., INTERSPEECH
2022 (DLG-LC: dynamic gate, corrected labels).
"""

import logging
import math
from typing import NamedTuple

import numpy as np
import torch
from sklearn.mixture import GaussianMixture
from torch import nn

from speechbrain_dino.utils.distributed import gathered

logger = logging.getLogger(__name__)

_LEAST = 1e-6  # nats; losses below count as this much, since log 0 is not finite


class FixedGate(nn.Module):
    """Keeps labels whose loss is below a bound.

    Arguments
    ---------
    bound : float
        Largest loss in nats; infinity keeps all labels.
    start_epoch : int
        First epoch (from 1) that is gated.
    memory : float
        Share of an utterance's past in the (log) loss that is judged, 0..1: 0 judges
        the loss of the moment, as the papers do. Crops and noise make that jump; with
        few utterances a class a mean over epochs parts right from wrong far better.
    with_margin : bool
        Whether the loss that is judged has the margin of training (the papers), or is
        plain cross-entropy, in which right labels stand farther off.

    Example
    -------
    >>> gate = FixedGate(bound=3.0)
    >>> gate.set_up(num_items=4)
    >>> _ = gate.begin_epoch(1)
    >>> gate(torch.tensor([0.5, 3.5]), torch.tensor([2, 0]))
    tensor([ True, False])
    """

    def __init__(self, bound=math.inf, start_epoch=1, memory=0.0, with_margin=True):
        super().__init__()
        if not bound > 0:
            raise ValueError(f"the gate's bound is {bound}; it must be positive")
        if not 0 <= memory < 1:
            raise ValueError(f"memory is {memory}; it lies in 0..1, 1 excluded")
        self.bound, self.start_epoch, self.memory = bound, start_epoch, memory
        self.with_margin = with_margin
        self.register_buffer("now", torch.tensor(math.inf))
        self.register_buffer("losses", torch.zeros(0))

    def set_up(self, num_items):
        """Makes room for the loss of every training utterance."""
        self.losses = torch.full((num_items,), math.nan)

    def begin_epoch(self, epoch):
        """Chooses the epoch's gate; returns figures about it for the log."""
        gate = math.inf
        if epoch >= self.start_epoch:
            gate = self.choose(self.losses.cpu().numpy())
        self.now.fill_(gate)
        if not self.memory:
            self.losses.fill_(math.nan)
        return {"gate": gate}

    def choose(self, losses):
        """The gate in nats; ``losses`` (N,) are those up to now, NaN where unseen."""
        return self.bound

    @torch.no_grad()
    def forward(self, losses, items):
        """Remembers the losses of a batch, and says which labels are believed.

        Judged is the loss, or with ``memory`` the exponential of the moving mean of
        its logarithm over the epochs.

        Arguments
        ---------
        losses : torch.Tensor
            Loss of each sample (B,), in nats.
        items : torch.Tensor
            Row of each sample in the training manifest, int64 (B,).

        Returns
        -------
        torch.Tensor
            bool (B,).
        """
        # Every process knows all, so that a checkpoint of the first one is whole.
        seen, rows = gathered(losses.detach().float()), gathered(items)
        if self.memory:
            before, now = self.losses[rows], seen.clamp(min=_LEAST)
            mean = before.pow(self.memory) * now.pow(1 - self.memory)
            seen = torch.where(before.isfinite(), mean, now)
        self.losses[rows] = seen
        # What is not finite is for the brain to skip and count, not to hide here.
        return (self.losses[items] < self.now) | ~losses.detach().isfinite()


class DynamicGate(FixedGate):
    """A gate that follows the losses: where two Gaussians of log loss cross.

    Before each epoch a mixture of two Gaussians is fitted to the logarithm of the
    losses of the epoch before: labels learned easily, and the others. The gate is
    where the two weighted densities cross between their means.

    Arguments
    ---------
    start_epoch : int
        First epoch (from 1) that is gated; 2 at least.
    memory, with_margin : optional
        See `FixedGate`.
    least_separation : float
        Distance of the means in standard deviations (of the wider one) below which
        the two are one group, and all labels are kept.
    seed : int
        Of the mixture's start.

    Example
    -------
    >>> gate = DynamicGate(start_epoch=2)
    >>> gate.set_up(num_items=200)
    >>> generator = torch.Generator().manual_seed(0)
    >>> log_loss = 0.3 * torch.randn(200, generator=generator)
    >>> log_loss[150:] += 3
    >>> _ = gate(log_loss.exp(), torch.arange(200))
    >>> 2 < gate.begin_epoch(2)["gate"] < 12  # between e^0 and e^3
    True
    """

    def __init__(
        self,
        start_epoch=5,
        memory=0.0,
        with_margin=True,
        least_separation=1.0,
        seed=1234,
    ):
        super().__init__(
            start_epoch=start_epoch, memory=memory, with_margin=with_margin
        )
        if start_epoch < 2:
            raise ValueError(
                f"start_epoch is {start_epoch}: a dynamic gate is fitted to the losses "
                "of the epoch before, so 2 at least"
            )
        self.least_separation = least_separation
        self.seed = seed

    def choose(self, losses):
        """The gate in nats, from the losses (N,) up to now."""
        losses = losses[np.isfinite(losses)]
        if len(losses) < 10:
            return math.inf
        logs = np.log(np.maximum(losses, _LEAST))
        mixture = fit_two_gaussians(logs, self.seed)
        gap = mixture.means[1] - mixture.means[0]
        if gap < self.least_separation * math.sqrt(mixture.variances.max()):
            logger.info("The losses form one group: no label is gated")
            return math.inf
        return math.exp(crossing(mixture))


class TwoGaussians(NamedTuple):
    """A mixture of two Gaussians in one dimension, the lower mean first."""

    weights: np.ndarray
    means: np.ndarray
    variances: np.ndarray


def fit_two_gaussians(values, seed=0):
    """Fits a mixture of two Gaussians, with scikit-learn's EM.

    Arguments
    ---------
    values : numpy.ndarray
        (N,).
    seed : int
        Of the start.

    Returns
    -------
    TwoGaussians
    """
    mixture = GaussianMixture(2, random_state=seed, n_init=3, reg_covar=1e-4)
    mixture.fit(np.asarray(values, dtype=np.float64)[:, None])
    order = np.argsort(mixture.means_[:, 0])
    return TwoGaussians(
        mixture.weights_[order],
        mixture.means_[order, 0],
        mixture.covariances_[order, 0, 0],
    )


def crossing(mixture):
    """Where the weighted densities of two Gaussians cross, between their means.

    Arguments
    ---------
    mixture : TwoGaussians
        The mixture.

    Returns
    -------
    float
        The point; where one of the two is larger all the way, the mean of the other.

    Example
    -------
    >>> even = TwoGaussians(np.array([0.5, 0.5]), np.array([0.0, 4.0]), np.ones(2))
    >>> crossing(even)
    2.0
    """
    (w0, w1), (m0, m1), (v0, v1) = mixture
    # ln(w N(x; m, v)) = ln w - ln(v) / 2 - (x - m)^2 / 2v: a parabola in x.
    square = 1 / v1 - 1 / v0
    linear = 2 * (m0 / v0 - m1 / v1)
    rest = m1**2 / v1 - m0**2 / v0 + 2 * math.log(w0 / w1) + math.log(v1 / v0)
    roots = np.roots([square, linear, rest]) if abs(square) > 1e-12 else []
    if not len(roots):
        roots = [-rest / linear] if linear else []
    between = [
        float(root.real) for root in roots if abs(root.imag) < 1e-9 and m0 < root < m1
    ]
    if between:
        return min(between)
    # At the higher mean its own density is the larger one, unless it is nowhere.
    lower_wins = square * m1**2 + linear * m1 + rest > 0
    return float(m1 if lower_wins else m0)


class LabelCorrection(nn.Module):
    """Gives a sample that was gated out the label that clean speech speaks for.

    softmax(cosine / temperature) of the sample without augmentation; where its
    highest value exceeds ``threshold``, that class is the label from then on in this
    step (Han et al., 2022).

    Arguments
    ---------
    start_epoch : int
        First epoch (from 1) with correction.
    threshold : float
        Least probability, 0..1.
    temperature : float
        Of the softmax.

    Example
    -------
    >>> correct = LabelCorrection(threshold=0.5)
    >>> labels, sure = correct(torch.tensor([[0.9, 0.1, 0.0], [0.3, 0.3, 0.3]]))
    >>> labels[0], sure
    (tensor(0), tensor([ True, False]))
    """

    def __init__(self, start_epoch=9, threshold=0.5, temperature=0.1):
        super().__init__()
        if not 0 < threshold < 1:
            raise ValueError(f"threshold is {threshold}; it lies between 0 and 1")
        if not temperature > 0:
            raise ValueError(f"temperature is {temperature}; it must be positive")
        self.start_epoch = start_epoch
        self.threshold, self.temperature = threshold, temperature

    @torch.no_grad()
    def forward(self, cosines):
        """Labels int64 (N,) and whether they are sure, bool (N,), of cosines (N, C)."""
        probs = torch.softmax(cosines.float() / self.temperature, dim=1)
        best, labels = probs.max(1)
        return labels, best > self.threshold
