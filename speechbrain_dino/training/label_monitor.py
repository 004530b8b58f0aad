"""Metrics of training on labels: accuracy, what was gated, what was corrected."""

import math

import numpy as np
import torch
from torch import nn

from speechbrain_dino.training.collapse import CollapseError
from speechbrain_dino.utils.distributed import process_count, summed

_NAMES = ("samples", "hits", "used", "used_right", "gated", "gated_wrong")
_NAMES += ("corrected", "corrected_right", "gated_known")


class LabelMonitor(nn.Module):
    """Counts over an epoch on the device; true labels serve these metrics alone.

    ``accuracy``: share of samples whose class is predicted (before any margin).
    ``gated``: share of samples whose label was not believed. ``corrected``: share
    that got another label instead. With true speakers: ``kept_precision``, share of
    right labels among those believed; ``gated_precision``, share of wrong ones among
    those not believed; ``corrected_precision``, share of right ones among the new
    labels. A pseudo label is right where the speaker is the most frequent one of the
    label's cluster.

    Arguments
    ---------
    least_used : float
        Share of samples below which an epoch is an error: it has learned nothing.

    Example
    -------
    >>> monitor = LabelMonitor()
    >>> monitor.set_truth([0, 0, 1, 1], ["ann", "ann", "bob", "ann"])
    >>> cosines, labels = torch.eye(2)[[0, 1]], torch.tensor([0, 1])
    >>> kept = torch.tensor([True, False])
    >>> monitor.observe(cosines, labels, torch.tensor([0, 3]), kept)
    >>> monitor.count(torch.tensor(0.5))
    >>> metrics = monitor.epoch_summary()
    >>> metrics["gated"], metrics["kept_precision"], metrics["gated_precision"]
    (0.5, 1.0, 1.0)
    """

    def __init__(self, least_used=0.01):
        super().__init__()
        self.least_used = least_used
        self.register_buffer("tally", torch.zeros(len(_NAMES)))
        self.register_buffer("loss_sum", torch.zeros(2))  # sum, count
        self.register_buffer("nonfinite", torch.zeros(()))
        self.register_buffer("speakers", None, persistent=False)
        self.register_buffer("of_class", None, persistent=False)
        self.classes = 0
        self.extra = {}

    def set_truth(self, labels, truth):
        """Takes the class of each training utterance, (N,), and its true speaker.

        Speakers are str (N,), empty where unknown, and for diagnosis alone.
        """
        labels = np.asarray(labels)
        names, speakers = np.unique(np.asarray(truth, dtype=str), return_inverse=True)
        has_name = names[speakers] != ""
        self.classes = int(labels.max()) + 1
        pairs = labels[has_name].astype(np.int64) * len(names) + speakers[has_name]
        both, counts = np.unique(pairs, return_counts=True)
        of_class = np.full(self.classes, -1)
        for pair in both[np.argsort(counts, kind="stable")]:  # the most frequent last
            of_class[pair // len(names)] = pair % len(names)
        speakers = np.where(has_name, speakers, -2)
        device = self.tally.device
        self.speakers = torch.from_numpy(speakers).to(device)
        self.of_class = torch.from_numpy(of_class).to(device)

    @torch.no_grad()
    def observe(self, logits, labels, items, kept=None, corrected=None, new=None):
        """Counts a batch; nothing is read back from the device.

        Arguments
        ---------
        logits : torch.Tensor
            Cosines or logits (B, C).
        labels, items : torch.Tensor
            Labels as given and rows in the training manifest, int64 (B,).
        kept, corrected : torch.Tensor, optional
            Which labels are believed and which got a new one, bool (B,).
        new : torch.Tensor, optional
            The new labels int64 (B,).
        """
        everything = torch.ones_like(labels, dtype=torch.bool)
        kept = everything if kept is None else kept
        corrected = ~everything if corrected is None else corrected
        new = labels if new is None else new
        right = new_right = has_truth = ~everything
        if self.speakers is not None:
            speakers = self.speakers[items]
            has_truth = speakers >= 0
            right = self._right(labels, speakers)
            new_right = self._right(new, speakers)
        counts = (
            everything,
            logits.argmax(1) == labels,
            kept & has_truth,
            kept & right,
            ~kept,
            ~kept & has_truth & ~right,
            corrected,
            corrected & new_right,
            ~kept & has_truth,
        )
        self.tally += torch.stack([count.sum() for count in counts])

    def _right(self, labels, speakers):
        # Speeds make further classes of the same speakers.
        return self.of_class[labels % self.classes] == speakers

    @torch.no_grad()
    def count(self, loss, finite=None):
        """Counts a step; see ``HealthMonitor.count``."""
        loss = loss.detach().float()
        taken = loss.isfinite() if finite is None else loss.isfinite() & finite
        self.nonfinite += ~taken
        self.loss_sum += torch.stack([loss.where(taken, 0), taken.float()])

    @torch.no_grad()
    def epoch_summary(self):
        """Metrics of the epoch over all processes, as a dict; starts the next epoch.

        ``loss``, ``accuracy``, ``steps``, ``nonfinite`` and those of the class'
        description that can be computed.
        """
        processes = process_count()
        totals = (self.tally, self.loss_sum, self.nonfinite)
        for total in totals:
            total.copy_(summed(total))
        n = dict(zip(_NAMES, self.tally.tolist()))
        loss, steps = self.loss_sum.tolist()
        nonfinite = self.nonfinite.item() / processes
        metrics = {
            "loss": loss / steps if steps else math.nan,
            "accuracy": n["hits"] / max(n["samples"], 1),
            "gated": n["gated"] / max(n["samples"], 1),
            "corrected": n["corrected"] / max(n["samples"], 1),
            **self.extra,
            "steps": round(steps / processes + nonfinite),
            "nonfinite": nonfinite,
        }
        if self.speakers is not None:
            metrics |= {
                "kept_precision": _share(n["used_right"], n["used"]),
                "gated_precision": _share(n["gated_wrong"], n["gated_known"]),
                "corrected_precision": _share(n["corrected_right"], n["corrected"]),
            }
        for total in totals:
            total.zero_()
        return {key: value for key, value in metrics.items() if not math.isnan(value)}

    def get_extra_state(self):
        """What was set at the start of the epoch, such as its gate."""
        return dict(self.extra)

    def set_extra_state(self, state):
        """Restores it."""
        self.extra = dict(state)

    def check(self, summary):
        """Raises CollapseError where the gate left next to nothing to learn from."""
        used = 1 - summary["gated"] + summary["corrected"]
        if used < self.least_used:
            raise CollapseError(
                f"the gate (at {summary.get('gate', math.nan):.3g} nats) kept "
                f"{100 * used:.2f} % of the epoch's labels, less than "
                f"{100 * self.least_used:.3g} %: nothing is learned. Train longer "
                "without the gate (its start_epoch, or phases, see "
                "pseudo_labels_lgl.yaml) or raise its bound, in a new output_folder"
            )


def _share(part, whole):
    return part / whole if whole else math.nan
