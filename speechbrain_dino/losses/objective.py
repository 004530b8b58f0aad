"""What all self-supervised objectives share: a base class, and what they return."""

from numbers import Real
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import nn

from speechbrain_dino.losses.queues import Store


class Distributions(NamedTuple):
    """Student's log-probabilities (S, B, K) and teacher's probabilities (T, B, K)."""

    log_probs: torch.Tensor
    targets: torch.Tensor


class Result(NamedTuple):
    """What an objective returns: scalar loss, further metrics (name -> scalar), and the
    distributions from which health tells collapse, None without prototypes.
    """

    loss: torch.Tensor
    metrics: dict = MappingProxyType({})
    distributions: Distributions = None


class Objective(nn.Module):
    """Base class: called with the :class:`Views` of a batch, returns a :class:`Result`.

    ``forward`` alone is needed. The other methods do nothing here but reach the
    objectives that this one is made of. Numbers (``temp``, ``margin`` ...) follow
    schedules, ``temp_schedule`` in the YAML (:func:`owner_of`).

    Example
    -------
    >>> from speechbrain_dino.losses.views import Views
    >>> class Agreement(Objective):
    ...     def forward(self, views):
    ...         one, other = views.student
    ...         return Result(-torch.cosine_similarity(one, other, dim=-1).mean())
    >>> Agreement()(Views(torch.eye(4).repeat(2, 1, 1))).loss
    tensor(-1.)
    """

    def wants_reference(self):
        """Whether ``views.reference`` is needed in this epoch."""
        return any(part.wants_reference() for part in self._parts())

    def allocate(self, num_items):
        """Makes room for something of each training utterance, before training."""
        for part in self._parts():
            part.allocate(num_items)

    def begin_epoch(self, epoch):
        """Called before each epoch, and again after resuming within one."""
        for part in self._parts():
            part.begin_epoch(epoch)

    def settle(self, finite=None):
        """Moves the state on after a batch, the one place where it may change; where
        ``finite``, a boolean scalar on the device, is False the batch leaves no trace.
        """
        for part in _nearest(self, (Objective, Store)):
            part.settle(finite)

    def _parts(self):
        return _nearest(self, Objective)


def _nearest(module, kinds):
    """Submodules of some kinds that lie in no other of them."""
    for child in module.children():
        if isinstance(child, kinds):
            yield child
        else:
            yield from _nearest(child, kinds)


def owner_of(module, name):
    """The module in another one, or itself, that has a number ``name``, or None.

    Raises ValueError if several have it: a schedule cannot tell which one is meant.
    """
    owners = [part for part in module.modules() if is_number(vars(part).get(name))]
    if len(owners) > 1:
        kinds = [type(owner).__name__ for owner in owners]
        raise ValueError(
            f"{name} is a number of each of {kinds}: a schedule cannot tell which one "
            "is meant; give the others fixed values and this one a class of its own"
        )
    return owners[0] if owners else None


def is_number(value):
    """Whether a value is a number that a schedule may move."""
    return isinstance(value, Real) and not isinstance(value, bool)
