"""What collapse looks like in numbers, without labels, gathered on the device."""

import math

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn

from speechbrain_dino.collapse import CollapseWatch
from speechbrain_dino.embedding_metrics import effective_rank
from speechbrain_dino.losses import dino_cross_entropy


def entropy(probs):
    """Entropy over the last axis, in nats.

    Arguments
    ---------
    probs : torch.Tensor
        Probabilities (..., K).

    Returns
    -------
    torch.Tensor
        (...), from 0 (one prototype) to ln K (uniform).

    Example
    -------
    >>> entropy(torch.tensor([[0.25, 0.25, 0.25, 0.25], [1.0, 0.0, 0.0, 0.0]]))
    tensor([1.3863, 0.0000])
    """
    return torch.special.entr(probs).sum(-1)


def embedding_std(embeddings):
    """Spread of unit embeddings: mean standard deviation of a dimension, x sqrt(D).

    Arguments
    ---------
    embeddings : torch.Tensor
        Embeddings (N, D), of any length.

    Returns
    -------
    torch.Tensor
        Scalar, 1 where directions are spread evenly, 0 where all are one.

    Example
    -------
    >>> embeddings = torch.tensor([[2.0, 0.0], [-1.0, 0.0], [0.0, 3.0], [0.0, -1.0]])
    >>> embedding_std(embeddings)
    tensor(1.0000)
    """
    unit = F.normalize(embeddings.float(), dim=1)
    return unit.std(0, correction=0).mean() * math.sqrt(unit.shape[1])


class HealthMonitor(nn.Module):
    """Gathers figures over an epoch, judges them, stops a collapsed run.

    Nothing is read back from the device before ``epoch_summary``. The state is saved
    with the checkpoint, so that an interrupted epoch is summed up whole.

    Arguments
    ---------
    out_dim : int
        Number of prototypes K.
    embedding_dim : int
        Size D of the embedding.
    patience : int
        Epochs in a row that must show the same collapse before the run is stopped.
    min_steps : int
        Steps that these epochs must hold: a healthy run may spend hundreds near ln K.
    grace : int
        First epochs that are not judged: a healthy run, too, starts near ln K. As
        long as the warm-up of the learning rate is a good choice.
    window : int
        Embeddings that are kept for standard deviation and effective rank.

    Example
    -------
    >>> from speechbrain_dino.losses import DINOLoss
    >>> criterion, monitor = DINOLoss(16), HealthMonitor(out_dim=16, embedding_dim=4)
    >>> for _ in range(3):
    ...     student, teacher = torch.randn(6, 8, 16), torch.randn(2, 8, 16)
    ...     monitor.count(criterion(student, teacher))
    ...     monitor.observe(criterion, student, teacher, torch.randn(16, 4))
    >>> summary = monitor.epoch_summary()
    >>> summary["steps"], round(summary["ln_k"], 2), summary["prototypes_used"] <= 16
    (3, 2.77, True)
    >>> monitor.check(summary)
    """

    def __init__(
        self,
        out_dim,
        embedding_dim,
        patience=3,
        min_steps=500,
        grace=5,
        window=1024,
    ):
        super().__init__()
        self.watch = CollapseWatch(patience, min_steps, grace)
        self.rows = 0  # embeddings seen in this epoch
        for name in ("loss", "entropy", "kl", "distance"):
            self.register_buffer(f"{name}_sum", torch.zeros(2))  # sum, count
        self.register_buffer("nonfinite", torch.zeros(()))
        self.register_buffer("mean_probs", torch.zeros(out_dim))
        self.register_buffer("wins", torch.zeros(out_dim))
        self.register_buffer("embeddings", torch.zeros(window, embedding_dim))

    @torch.no_grad()
    def count(self, loss, finite=None):
        """Counts a step.

        Arguments
        ---------
        loss : torch.Tensor
            The loss, scalar.
        finite : torch.Tensor or bool, optional
            Whether the step was taken; that of the loss being finite otherwise.
        """
        loss = loss.detach().float()
        taken = loss.isfinite()
        if finite is not None:
            taken = taken & finite
        self.nonfinite += ~taken
        _add(self.loss_sum, loss, taken)

    @torch.no_grad()
    def observe(self, criterion, student, teacher, embeddings, distance=None):
        """Looks at one batch closely; meant for logging steps.

        Arguments
        ---------
        criterion : DINOLoss
            Gives temperatures and centre.
        student : torch.Tensor
            Logits (S, B, K).
        teacher : torch.Tensor
            Logits (T, B, K).
        embeddings : torch.Tensor
            Embeddings (N, D) of the same batch, of the teacher or the student.
        distance : torch.Tensor, optional
            ``Teacher.distance(student)``.
        """
        targets = criterion.targets(teacher)
        cross_entropy = dino_cross_entropy(criterion.log_probs(student), targets)
        mean_entropy = entropy(targets).mean()
        finite = cross_entropy.isfinite()
        _add(self.entropy_sum, mean_entropy, finite)
        _add(self.kl_sum, cross_entropy - mean_entropy, finite)
        if distance is not None:
            _add(self.distance_sum, distance, distance.isfinite())
        flat = targets.flatten(0, 1)
        self.mean_probs += flat.mean(0).where(finite, 0)
        winners = flat.argmax(-1)
        self.wins.index_add_(0, winners, finite.float().expand(len(winners)))
        self._keep(embeddings)

    def _keep(self, embeddings):
        size = len(self.embeddings)
        newest = embeddings[-size:].float()
        end = self.rows + len(newest)
        # Made on the device: a copy from the host would wait for the device.
        places = torch.arange(self.rows, end, device=newest.device) % size
        self.embeddings[places] = newest
        self.rows = end

    @torch.no_grad()
    def epoch_summary(self):
        """Figures of the epoch, over all processes; starts the next one.

        Every process must call it, and gets the same figures.

        Returns
        -------
        dict
            ``loss``, ``ln_k``, ``teacher_entropy``, ``kl`` (of the student from the
            teacher, different views), ``mean_entropy`` (of the mean distribution),
            all in nats; ``prototypes_used`` (that won once), ``top_prototype`` (share
            of wins of the first); ``embedding_std``; ``effective_rank`` of the unit
            embeddings; ``teacher_distance``; ``steps``, ``nonfinite`` (steps skipped).
            What was never observed is left out.
        """
        spread = self._spread()
        processes = 1
        if dist.is_available() and dist.is_initialized():
            processes = dist.get_world_size()
            for total in (*self._totals(), spread):
                dist.all_reduce(total)
        nonfinite = self.nonfinite.item() / processes
        steps = round(self.loss_sum[1].item() / processes + nonfinite)
        probs, wins = self.mean_probs.double(), self.wins.double()
        figures = {
            "loss": _mean(self.loss_sum),
            "ln_k": math.log(len(probs)),
            "teacher_entropy": _mean(self.entropy_sum),
            "kl": _mean(self.kl_sum),
            "mean_entropy": entropy(probs / probs.sum()).item(),
            "prototypes_used": int(wins.count_nonzero()),
            "top_prototype": (wins.max() / wins.sum()).item(),
            "embedding_std": _mean(spread[[0, 2]]),
            "effective_rank": _mean(spread[[1, 2]]),
            "teacher_distance": _mean(self.distance_sum),
            "steps": steps,
            "nonfinite": nonfinite,
        }
        self.rows = 0
        for total in self._totals():
            total.zero_()
        known = {key: value for key, value in figures.items() if not math.isnan(value)}
        # Counted here and not in check: a checkpoint between the two is complete.
        self.watch.see(known)
        return known

    def _totals(self):
        """Buffers that add up over steps and processes."""
        return [total for name, total in self.named_buffers() if name != "embeddings"]

    def _spread(self):
        """Standard deviation and rank of the kept embeddings, and 1; else zeros."""
        kept = self.embeddings[: self.rows]
        kept = kept[kept.isfinite().all(1)]
        if len(kept) < 2:
            return kept.new_zeros(3)
        unit = F.normalize(kept, dim=1)
        return kept.new_tensor([embedding_std(unit), effective_rank(unit), 1.0])

    def check(self, summary):
        """Stops the run where the epochs summed up show a collapse that lasts.

        Arguments
        ---------
        summary : dict
            What ``epoch_summary`` returned last.

        Raises
        ------
        CollapseError
            Names cause, figures and remedy.
        """
        self.watch.check(summary)

    def get_extra_state(self):
        """The counters that are not tensors."""
        return {"rows": self.rows, "watch": dict(self.watch.state)}

    def set_extra_state(self, state):
        """Takes the counters back."""
        self.rows = state["rows"]
        self.watch.state = dict(state["watch"])


def health_line(summary):
    """The figures of an epoch in one line for the log.

    Arguments
    ---------
    summary : dict
        From ``HealthMonitor.epoch_summary``.

    Returns
    -------
    str

    Example
    -------
    >>> health_line({"loss": 7.5, "ln_k": 11.09, "prototypes_used": 512, "kl": 0.25})
    'loss 7.5, ln_k 11.09, prototypes_used 512, kl 0.25'
    """
    return ", ".join(f"{key} {value:.4g}" for key, value in summary.items())


def _add(total, value, finite):
    """Adds to (sum, count) where finite, decided on the device."""
    total += torch.stack([value.where(finite, 0), finite.to(total.dtype)])


def _mean(total):
    value, number = total.tolist()
    return value / number if number else math.nan
