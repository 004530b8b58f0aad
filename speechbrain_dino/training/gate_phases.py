"""When a loss gate opens: first without it, then with it, until a figure stalls."""

import logging
import math

from speechbrain.utils.distributed import ddp_broadcast
from torch import nn

logger = logging.getLogger(__name__)

LABEL_FREE = ("neighbor_agreement", "effective_rank")


class GatePhases(nn.Module):
    """Two phases of a round: all labels, then those that the gate keeps.

    The phase without the gate ends when ``figure`` has not been better for a while; the
    weights of its best epoch then begin the phase with the gate, the optimizer's state
    stays. When that stalls too, or the epochs are used up, training ends with the
    weights of the best epoch. Loss-gated learning (Tao et al., ICASSP 2022; the rule is
    that of their public code); without a gate in the recipe the first phase is all.

    Arguments
    ---------
    figure : str
        What is watched, of the epoch's metrics: ``neighbor_agreement`` or
        ``effective_rank``, which need no label (higher is better), or ``eer/<list>``
        of a validation list among ``trial_lists`` (lower is better). The authors watch
        the EER of the list that they report.
    patience : int
        Validations that decide, the best one included: 4 ends a phase at the third
        one after the best.
    from_epoch : int
        First epoch that is watched. A fresh output layer may spoil the embedding of a
        good first model for some epochs, which is no stall.
    """

    def __init__(self, figure="neighbor_agreement", patience=4, from_epoch=1):
        super().__init__()
        if patience < 2:
            raise ValueError(f"patience is {patience}: 2 validations at least")
        self.figure, self.patience, self.from_epoch = figure, patience, from_epoch
        self.gated = self.ended = False
        self._begin()

    def _begin(self):
        self.best, self.best_epoch, self.seen_since = math.nan, None, 0
        self.weights = None

    def check_figure(self, lists):
        """Raises ValueError unless the figure can be computed with these lists."""
        choices = [*LABEL_FREE, *(f"eer/{name}" for name in lists)]
        if self.figure not in choices:
            raise ValueError(
                f"the phases of the gate watch {self.figure!r}, which no epoch has; "
                f"expected one of {', '.join(choices)} (the first validate_lists of "
                "trial_lists)"
            )

    def take(self, epoch, value):
        """Takes an epoch's figure, None where it was not validated.

        Returns whether it is the best of the phase, and whether the phase has stalled.
        """
        value = ddp_broadcast(value, src=0)
        if value is None or epoch < self.from_epoch:
            return False, False
        sign = -1 if self.figure.startswith("eer/") else 1
        if sign * value > sign * self.best or math.isnan(self.best):
            self.best, self.best_epoch, self.seen_since = float(value), epoch, 1
            return True, False
        self.seen_since += 1
        return False, self.seen_since >= self.patience

    def epoch_done(self, epoch, last, metrics, network, has_gate):
        """Follows the figure; at the end of a phase the best weights come back.

        Arguments
        ---------
        epoch, last : int
            The epoch that was validated, and the last one there may be.
        metrics : dict
            Its metrics; on the main process at least.
        network : torch.nn.Module
            What is trained.
        has_gate : bool
            Whether there is a second phase.

        Returns
        -------
        bool
            Whether training ends here.
        """
        is_best, stalled = self.take(epoch, metrics.get(self.figure))
        if is_best:
            state = network.state_dict()
            self.weights = {k: v.detach().cpu().clone() for k, v in state.items()}
        if not stalled and epoch < last:
            return False
        if self.weights is not None:
            network.load_state_dict(self.weights)
        self.ended = self.gated or not has_gate or epoch >= last
        logger.info(
            "epoch %d: %s; %s from the weights of epoch %s (%s %.4g)",
            epoch,
            f"{self.figure} has stalled" if stalled else "the last one",
            "this phase ends" if self.ended else "the gate is set",
            self.best_epoch,
            self.figure,
            self.best,
        )
        if has_gate and not self.gated and epoch >= last:
            logger.warning(
                "The gate was never set: %s still rose at epoch %d. Raise main_epochs",
                self.figure,
                epoch,
            )
        if not self.ended:
            self.gated = True
            self._begin()
        return self.ended

    def get_extra_state(self):
        """Where the phases stand, with the best weights of this one."""
        names = ("gated", "ended", "best", "best_epoch", "seen_since", "weights")
        return {name: getattr(self, name) for name in names}

    def set_extra_state(self, state):
        """Goes on from there."""
        for name, value in state.items():
            setattr(self, name, value)
        if self.weights is not None:
            self.weights = {key: value.cpu() for key, value in self.weights.items()}
