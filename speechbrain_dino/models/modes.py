"""Networks without their wrappers, and for a while in evaluation mode."""

from contextlib import contextmanager

from torch import nn


def unwrapped(module):
    """The module inside DistributedDataParallel and ``torch.compile``, if any."""
    while True:
        if isinstance(module, nn.parallel.DistributedDataParallel):
            module = module.module
        elif hasattr(module, "_orig_mod"):
            module = module._orig_mod
        else:
            return module


@contextmanager
def evaluating(module):
    """Evaluation mode for a block; afterwards every part is in the mode it was in.

    Example
    -------
    >>> net = nn.Sequential(nn.Dropout(), nn.Dropout().eval())
    >>> with evaluating(net):
    ...     assert not any(part.training for part in net)
    >>> [part.training for part in net]
    [True, False]
    """
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield module
    finally:
        for part, training in modes.items():
            part.training = training
