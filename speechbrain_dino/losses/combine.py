"""Objectives put together: a weighted sum, and what wraps another objective.

An objective is a module called with the :class:`~speechbrain_dino.losses.views.Views`
of a batch, in float32, that returns a scalar. It may have

* ``distributions(views)``: log-probabilities and targets of prototypes, for the figures
  of health;
* ``figures()``: further figures of the last batch, name -> scalar tensor;
* ``allocate(num_items)``: called once with the number of training utterances;
* ``begin_epoch(epoch)``: called before each epoch, and again after resuming within one;
* ``wants_reference``: whether it needs ``views.reference`` in this epoch.

Its numbers (``temp``, ``margin`` ...) follow schedules, ``temp_schedule`` in the YAML.
"""

from numbers import Real

from torch import nn


class Composite(nn.Module):
    """An objective made of others, whose numbers are reached as if they were its own.

    Arguments
    ---------
    **parts : torch.nn.Module
        The objectives by name.
    """

    def __init__(self, **parts):
        super().__init__()
        self.parts = nn.ModuleDict(parts)

    def distributions(self, views):
        """Those of the first part that has prototypes."""
        for part in self.parts.values():
            if hasattr(part, "distributions"):
                return part.distributions(views)
        raise AttributeError("none of the objectives has prototypes")

    def __getattr__(self, name):
        try:
            return super().__getattr__(name)
        except AttributeError:
            owner = _owner(self, name)
            if owner is None:
                raise
            return vars(owner)[name]

    def __setattr__(self, name, value):
        own = name in vars(self) or hasattr(type(self), name)
        owner = None if own or not _is_number(value) else _owner(self, name)
        if owner is None:
            super().__setattr__(name, value)
        else:
            setattr(owner, name, value)


class Sum(Composite):
    """A weighted sum of objectives.

    Arguments
    ---------
    **parts : torch.nn.Module or float
        Objectives by name, and for any of them ``<name>_weight`` (1 if not given). The
        weights are attributes, so that ``<name>_weight_schedule`` in the YAML moves
        them; so are the parts' own numbers, ``teacher_temp_schedule`` moves that of the
        one part that has it.

    Example
    -------
    >>> import torch
    >>> from speechbrain_dino.losses.dino import DINOLoss
    >>> from speechbrain_dino.losses.regularizers import KoLeo
    >>> from speechbrain_dino.losses.views import Views
    >>> loss = Sum(dino=DINOLoss(16), koleo=KoLeo("outputs"), koleo_weight=0.1)
    >>> loss.koleo_weight, loss.teacher_temp = 0.2, 0.07
    >>> loss.parts["dino"].teacher_temp
    0.07
    >>> value = loss(Views(torch.randn(6, 4, 16), torch.randn(2, 4, 16), shared=2))
    >>> sorted(loss.figures())
    ['dino', 'koleo']
    """

    def __init__(self, **parts):
        weights = {k: v for k, v in parts.items() if not isinstance(v, nn.Module)}
        modules = {k: v for k, v in parts.items() if isinstance(v, nn.Module)}
        known = {f"{name}_weight" for name in modules}
        for name, value in weights.items():
            if name not in known or not _is_number(value):
                raise ValueError(
                    f"{name}={value!r} is no objective, nor the weight of one: the "
                    f"objectives are {list(modules)}, their weights {sorted(known)}"
                )
        if not modules:
            raise ValueError("a sum of no objectives: name one at least")
        super().__init__(**modules)
        for name in modules:
            setattr(self, f"{name}_weight", weights.get(f"{name}_weight", 1.0))
        self.last = {}

    def forward(self, views):
        """The weighted sum for a batch, scalar."""
        values = {name: part(views) for name, part in self.parts.items()}
        self.last = {name: value.detach() for name, value in values.items()}
        return sum(getattr(self, f"{k}_weight") * value for k, value in values.items())

    def figures(self):
        """The parts' values in the last batch, before weights, and their figures."""
        found = dict(self.last)
        for part in self.parts.values():
            if hasattr(part, "figures"):
                found |= part.figures()
        return found


def _is_number(value):
    return isinstance(value, Real) and not isinstance(value, bool)


def _owner(composite, name):
    """The one module among the parts with a number of that name, or None."""
    parts = composite.__dict__.get("_modules", {}).get("parts", {})
    owners = [
        module
        for part in parts.values()
        for module in part.modules()
        if _is_number(vars(module).get(name))
    ]
    if len(owners) > 1:
        kinds = [type(owner).__name__ for owner in owners]
        raise ValueError(
            f"{name} is a number of each of {kinds}: a schedule cannot tell which one "
            "is meant; give the others fixed values and this one a class of its own"
        )
    return owners[0] if owners else None
