"""Which pseudo labels to believe: fixed and dynamic loss gates, label correction.

Networks learn what is common first: a label that still costs much is likely wrong.
Gates: Tao et al., ICASSP 2022 (fixed); Han et al., INTERSPEECH 2022 (DLG-LC).
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
    """Keeps labels whose loss is at most ``bound`` nats (infinity: all).

    Arguments
    ---------
    start_epoch : int
        First epoch (from 1) that is gated. A fresh output layer of C classes costs ln C
        and, with margin and scale, more: gate once it has learned, by this or by
        ``speechbrain_dino.training.gate_phases.GatePhases``.
    memory : float
        Share of an utterance's past in the (log) loss that is judged, 0..1: 0 judges
        the loss of the moment (the papers), which jumps with crops and noise; with few
        utterances per class a mean over epochs separates right from wrong far better.
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

    def begin_epoch(self, epoch, is_set=True):
        """Chooses the epoch's gate; returns it in nats, by name, for the log.

        Without ``is_set`` everything is kept, whatever the epoch.
        """
        gate = math.inf
        if is_set and epoch >= self.start_epoch:
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
        """Remembers losses (B,) in nats of rows (B,); which to believe, bool (B,).

        Judged is the loss, with ``memory`` its moving geometric mean over the epochs.
        """
        # Every process knows all, so that a checkpoint of the first one is whole.
        judged, rows = gathered(losses.detach().float()), gathered(items)
        if self.memory:
            before, now = self.losses[rows], judged.clamp(min=_LEAST)
            mean = before.pow(self.memory) * now.pow(1 - self.memory)
            judged = torch.where(before.isfinite(), mean, now)
        self.losses[rows] = judged
        # What is not finite is for the brain to skip and count, not to hide here.
        return (self.losses[items] <= self.now) | ~losses.detach().isfinite()


class DynamicGate(FixedGate):
    """A gate that follows the losses: where two Gaussians of log loss cross.

    Before each epoch a mixture of two Gaussians is fitted to the logarithm of the
    losses of the epoch before: labels learned easily, and the others. The gate is
    where the two weighted densities cross between their means, unless the means are
    less than ``least_separation`` standard deviations (of the wider one) apart: then
    the two are one group, and all labels are kept. ``start_epoch`` is 2 at least.
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
    """Fits :class:`TwoGaussians` to values (N,), with scikit-learn's EM."""
    mixture = GaussianMixture(
        2, random_state=seed, tol=1e-5, max_iter=1000, reg_covar=1e-4
    )
    mixture.fit(np.asarray(values, dtype=np.float64)[:, None])
    order = np.argsort(mixture.means_[:, 0])
    return TwoGaussians(
        mixture.weights_[order],
        mixture.means_[order, 0],
        mixture.covariances_[order, 0, 0],
    )


def crossing(mixture):
    """Where the weighted densities of two Gaussians cross, between their means.

    Where one of the two is larger all the way: the mean of the other.
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

    Where the highest cosine of the sample without augmentation leads the second by more
    than ``lead``, its class is the label from then on in this step. Han et al. (2022)
    ask for softmax(cosine / 0.1) > 0.5 instead, which many classes put out of reach:
    7,500 need a cosine of 0.9. A lead means the same for any number of them; 0.2 is
    what a margin of 0.2 radians asks of a right label. ``start_epoch`` (from 1) is the
    first with correction.

    Example
    -------
    >>> correct = LabelCorrection(lead=0.2)
    >>> labels, sure = correct(torch.tensor([[0.5, 0.1, 0.0], [0.3, 0.3, 0.3]]))
    >>> labels[0], sure
    (tensor(0), tensor([ True, False]))
    """

    def __init__(self, start_epoch=9, lead=0.2):
        super().__init__()
        if not 0 < lead < 2:
            raise ValueError(
                f"lead is {lead}; it lies between 0 and 2, the largest difference of "
                "two cosines"
            )
        self.start_epoch, self.lead = start_epoch, lead
        self.register_buffer("widest", torch.tensor(-1.0), persistent=False)

    @torch.no_grad()
    def forward(self, cosines):
        """Labels int64 (N,) and whether they are sure, bool (N,), of cosines (N, C)."""
        (best, second), labels = cosines.float().topk(2, dim=1)[0].T, cosines.argmax(1)
        self.widest = torch.maximum(self.widest, (best - second).max())
        return labels, best - second > self.lead

    def end_epoch(self, gated, corrected):
        """Warns where an epoch's samples were gated and none was corrected (shares)."""
        widest = gathered(self.widest[None]).max()
        self.widest.fill_(-1.0)
        if gated and not corrected:
            logger.warning(
                "Label correction did not fire: the widest lead of the best class over "
                "the second was %.3f, and it asks for %.3g. Lower lead, or begin later",
                float(widest),
                self.lead,
            )

    def warn_if_idle(self, gate, epochs):
        """Warns where no epoch of the run can correct a label."""
        if gate is None:
            why = "there is no gate, and only labels that a gate stops are corrected"
        elif self.start_epoch > epochs:
            why = f"it begins in epoch {self.start_epoch}, the run ends with {epochs}"
        else:
            return
        logger.warning("Label correction cannot fire: %s", why)
