"""What collapse looks like in numbers, without labels, gathered on the device."""

import math

import torch
import torch.nn.functional as F
from torch import nn

from speechbrain_dino.losses.dino import dino_cross_entropy
from speechbrain_dino.metrics.embeddings import effective_rank, embedding_std, entropy
from speechbrain_dino.training.collapse import CollapseWatch
from speechbrain_dino.utils.distributed import process_count, summed


class HealthMonitor(nn.Module):
    """Gathers metrics over an epoch, judges them, stops a collapsed run.

    Nothing is read back from the device before ``epoch_summary``. The state is saved
    with the checkpoint, so that an interrupted epoch is summed up whole.

    Arguments
    ---------
    out_dim : int or None
        Number of prototypes K; None for an objective without, of which the embeddings
        alone are judged.
    embedding_dim : int
        Size D of the embedding.
    patience, min_steps, grace : int
        See :class:`~speechbrain_dino.training.collapse.CollapseWatch`.
    window : int
        Embeddings that are kept for standard deviation and effective rank.

    Example
    -------
    >>> from speechbrain_dino.losses.dino import DINO
    >>> from speechbrain_dino.losses.views import Views
    >>> objective, monitor = DINO(16), HealthMonitor(out_dim=16, embedding_dim=4)
    >>> student, teacher = torch.randn(6, 8, 16), torch.randn(2, 8, 16)
    >>> vectors = torch.randn(2, 8, 4)
    >>> views = Views(student, teacher, teacher_embeddings=vectors, shared=2)
    >>> result = objective(views)
    >>> monitor.count(result.loss)
    >>> monitor.observe(views, result)
    >>> summary = monitor.epoch_summary()
    >>> summary["steps"], round(summary["ln_k"], 2), summary["prototypes_used"] <= 16
    (1, 2.77, True)
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
        self.out_dim = out_dim
        self.rows = 0  # embeddings of this epoch
        self.terms = {}  # further metrics of the objective: name -> sum, count
        prototypes = ("entropy", "kl") if out_dim else ()
        for name in ("loss", *prototypes, "distance"):
            self.register_buffer(f"{name}_sum", torch.zeros(2))  # sum, count
        self.register_buffer("nonfinite", torch.zeros(()))
        if out_dim:
            self.register_buffer("mean_probs", torch.zeros(out_dim))
            self.register_buffer("wins", torch.zeros(out_dim))
        self.register_buffer("embeddings", torch.zeros(window, embedding_dim))

    @torch.no_grad()
    def count(self, loss, finite=None):
        """Counts a step: taken if the loss is finite and ``finite``, if given, on."""
        loss = loss.detach().float()
        taken = loss.isfinite()
        if finite is not None:
            taken = taken & finite
        self.nonfinite += ~taken
        _add(self.loss_sum, loss, taken)

    @torch.no_grad()
    def observe(self, views, result, distance=None):
        """Looks closely at a batch, by an objective's ``Views`` and ``Result``.

        ``distance`` is ``Teacher.distance(student)``. An objective without prototypes
        although ``out_dim`` was given is a ValueError.
        """
        if self.out_dim:
            self._observe_prototypes(views, result.distributions)
        if distance is not None:
            _add(self.distance_sum, distance, distance.isfinite())
        for name, value in result.metrics.items():
            value = value.float()
            total = self.terms.setdefault(name, value.new_zeros(2))
            _add(total, value, value.isfinite())
        embeddings = views.teacher_embeddings
        if embeddings is None:
            embeddings = views.student_embeddings
        self._keep(embeddings.flatten(0, 1))

    def _observe_prototypes(self, views, distributions):
        if distributions is None:
            raise ValueError(
                f"the objective has no prototypes, and health counts {self.out_dim} of "
                "them: set out_dim: null"
            )
        log_probs, targets = distributions
        cross_entropy = dino_cross_entropy(log_probs, targets, views.shared)
        mean_entropy = entropy(targets).mean()
        finite = cross_entropy.isfinite()
        _add(self.entropy_sum, mean_entropy, finite)
        _add(self.kl_sum, cross_entropy - mean_entropy, finite)
        flat = targets.flatten(0, 1)
        self.mean_probs += flat.mean(0).where(finite, 0)
        winners = flat.argmax(-1)
        self.wins.index_add_(0, winners, finite.float().expand(len(winners)))

    def _keep(self, embeddings):
        size = len(self.embeddings)
        newest = embeddings[-size:].float()
        end = self.rows + len(newest)
        # Built on the device: a copy from the host would wait for the device.
        places = torch.arange(self.rows, end, device=newest.device) % size
        self.embeddings[places] = newest
        self.rows = end

    @torch.no_grad()
    def epoch_summary(self):
        """Metrics of the epoch, over all processes, which all call it; starts the next.

        ``loss``; with prototypes ``ln_k``, ``teacher_entropy``, ``kl`` (of the student
        from the teacher, different views), ``mean_entropy`` (of the mean distribution),
        all in nats, ``prototypes_used`` (that won once) and ``top_prototype`` (share of
        wins of the first); ``embedding_std``; ``effective_rank`` of unit embeddings;
        ``teacher_distance``; ``steps``, ``nonfinite`` (steps skipped); the objective's
        own metrics as ``loss/<name>``. What was never observed is left out.
        """
        spread = self._spread()
        processes = process_count()
        for total in (*self._totals(), spread):
            total.copy_(summed(total))
        nonfinite = self.nonfinite.item() / processes
        steps = round(self.loss_sum[1].item() / processes + nonfinite)
        metrics = {
            "loss": _mean(self.loss_sum),
            **(self._prototype_metrics() if self.out_dim else {}),
            "embedding_std": _mean(spread[[0, 2]]),
            "effective_rank": _mean(spread[[1, 2]]),
            "teacher_distance": _mean(self.distance_sum),
            **{f"loss/{name}": _mean(self.terms[name]) for name in sorted(self.terms)},
            "steps": steps,
            "nonfinite": nonfinite,
        }
        self.rows = 0
        for total in self._totals():
            total.zero_()
        summary = {k: value for k, value in metrics.items() if not math.isnan(value)}
        # Counted here and not in check: a checkpoint between the two is complete.
        self.watch.update(summary)
        return summary

    def _prototype_metrics(self):
        probs, wins = self.mean_probs.double(), self.wins.double()
        return {
            "ln_k": math.log(len(probs)),
            "teacher_entropy": _mean(self.entropy_sum),
            "kl": _mean(self.kl_sum),
            "mean_entropy": entropy(probs / probs.sum()).item(),
            "prototypes_used": int(wins.count_nonzero()),
            "top_prototype": (wins.max() / wins.sum()).item(),
        }

    def _totals(self):
        """Tensors that add up over steps and processes, in one order everywhere."""
        buffers = [b for name, b in self.named_buffers() if name != "embeddings"]
        return buffers + [self.terms[name] for name in sorted(self.terms)]

    def _spread(self):
        """Standard deviation and rank of the kept embeddings, and 1; else zeros."""
        kept = self.embeddings[: self.rows]
        kept = kept[kept.isfinite().all(1)]
        if len(kept) < 2:
            return kept.new_zeros(3)
        unit = F.normalize(kept, dim=1)
        return kept.new_tensor([embedding_std(unit), effective_rank(unit), 1.0])

    def check(self, summary):
        """Raises CollapseError where the epochs show a collapse that lasts."""
        self.watch.check(summary)

    def get_extra_state(self):
        """The counters that are not buffers."""
        terms = {name: total.clone() for name, total in self.terms.items()}
        return {"rows": self.rows, "watch": dict(self.watch.state), "terms": terms}

    def set_extra_state(self, state):
        """Takes the counters back."""
        self.rows = state["rows"]
        self.watch.state = dict(state["watch"])
        device = self.nonfinite.device
        self.terms = {k: v.to(device) for k, v in state.get("terms", {}).items()}


def health_line(summary):
    """The metrics of an epoch in one line for the log.

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
