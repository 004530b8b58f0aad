"""A weighted sum of objectives."""

from torch import nn

from speechbrain_dino.losses.objective import Objective, Result, is_number


class Sum(Objective):
    """A weighted sum, such as ``Sum(dino=DINO(9), koleo=KoLeo(), koleo_weight=2)``.

    ``<name>_weight``, 1 if not given, follows ``<name>_weight_schedule`` in the YAML.
    Raises ValueError for a sum of no objectives, and for a weight of none.

    Example
    -------
    >>> import torch
    >>> from speechbrain_dino.losses.dino import DINO
    >>> from speechbrain_dino.losses.regularizers import KoLeo
    >>> from speechbrain_dino.losses.views import Views
    >>> objective = Sum(dino=DINO(16), koleo=KoLeo("outputs"), koleo_weight=0.1)
    >>> views = Views(torch.randn(6, 4, 16), torch.randn(2, 4, 16), shared=2)
    >>> sorted(objective(views).metrics)
    ['dino', 'koleo']
    """

    def __init__(self, **parts):
        super().__init__()
        weights = {k: v for k, v in parts.items() if not isinstance(v, nn.Module)}
        modules = {k: v for k, v in parts.items() if isinstance(v, nn.Module)}
        possible = {f"{name}_weight" for name in modules}
        for name, value in weights.items():
            if name not in possible or not is_number(value):
                raise ValueError(
                    f"{name}={value!r} is no objective, nor the weight of one: the "
                    f"objectives are {list(modules)}, their weights {sorted(possible)}"
                )
        if not modules:
            raise ValueError("a sum of no objectives: name one at least")
        self.parts = nn.ModuleDict(modules)
        for name in modules:
            setattr(self, f"{name}_weight", weights.get(f"{name}_weight", 1.0))

    def forward(self, views):
        """The weighted sum; the parts' values before weights are among the metrics."""
        results = {name: part(views) for name, part in self.parts.items()}
        metrics = {name: result.loss.detach() for name, result in results.items()}
        for result in results.values():
            metrics |= result.metrics
        with_prototypes = [r.distributions for r in results.values() if r.distributions]
        return Result(
            sum(getattr(self, f"{k}_weight") * r.loss for k, r in results.items()),
            metrics,
            with_prototypes[0] if with_prototypes else None,
        )
