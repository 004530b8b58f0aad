"""Parameter groups, gradient clipping and steps that a bad loss cannot reach."""

import torch


def parameter_groups(module, weight_decay, apart=(), lr_factor=1.0):
    """Two optimizer groups: matrices with weight decay, biases and other 1-D without.

    Parameters ``apart``, if any, are a third, without weight decay as well, whose
    learning rate is ``lr_factor`` times that of the others.

    Example
    -------
    >>> groups = parameter_groups(torch.nn.Linear(2, 3), 0.1)
    >>> [(group["weight_decay"], len(group["params"])) for group in groups]
    [(0.1, 1), (0.0, 1)]
    """
    apart = list(apart)
    taken = {id(p) for p in apart}
    trained = [p for p in module.parameters() if p.requires_grad]
    trained = [p for p in trained if id(p) not in taken]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if apart:
        groups += [{"params": apart, "weight_decay": 0.0, "lr_factor": lr_factor}]
    return groups


def start_momentum(optimizer):
    """Gives every parameter of SGD its momentum, zero, before the first step.

    Fused SGD allocates momenta at its first step: from memory that is not cleared if
    that step is not to be taken (:func:`step_if`), and it fails if a parameter gets
    its first gradient later than others, as a frozen last layer does. Optimizers
    other than SGD with momentum are left as they are.

    Example
    -------
    >>> weight = torch.nn.Parameter(torch.ones(2))
    >>> sgd = torch.optim.SGD([weight], lr=0.1, momentum=0.9)
    >>> start_momentum(sgd)
    >>> sgd.state[weight]["momentum_buffer"]
    tensor([0., 0.])
    """
    if not isinstance(optimizer, torch.optim.SGD):
        return
    for group in optimizer.param_groups:
        for parameter in group["params"] if group["momentum"] else ():
            zeros = torch.zeros_like(parameter)
            optimizer.state[parameter]["momentum_buffer"] = zeros


@torch.no_grad()
def clip_gradients(parameters, max_norm=None, per_tensor=False, free=()):
    """Clips gradients; returns the norm of all before clipping, on their device.

    Arguments
    ---------
    parameters : iterable of torch.nn.Parameter
        Those without a gradient are passed over; none with one is a ValueError.
    max_norm : float, optional
        Largest norm that is left alone; None clips nothing.
    per_tensor : bool
        Whether each tensor has the bound for itself (the habit of DINO's authors)
        or all of them together.
    free : iterable of torch.nn.Parameter
        Those among the parameters that are not clipped.

    Example
    -------
    >>> weight = torch.nn.Parameter(torch.zeros(2))
    >>> weight.grad = torch.tensor([3.0, 4.0])
    >>> clip_gradients([weight], max_norm=1.0), weight.grad.norm().round(decimals=4)
    (tensor(5.), tensor(1.))
    """
    if max_norm is not None and max_norm <= 0:
        raise ValueError(
            f"max_norm={max_norm}; give a positive number, or null for none."
        )
    parameters = [p for p in parameters if p.grad is not None]
    grads = [p.grad for p in parameters]
    if not grads:
        raise ValueError("no parameter has a gradient: call backward() before this.")
    total = norm = torch.nn.utils.get_total_norm(grads, foreach=True)
    free = {id(p) for p in free}
    if free:
        parameters = [p for p in parameters if id(p) not in free]
        grads = [p.grad for p in parameters]
        norm = torch.nn.utils.get_total_norm(grads, foreach=True)
    if max_norm is not None and per_tensor:
        scale = max_norm / (torch.stack(torch._foreach_norm(grads)) + 1e-6)
        torch._foreach_mul_(grads, list(scale.clamp(max=1.0).unbind()))
    elif max_norm is not None:
        torch.nn.utils.clip_grads_with_norm_(parameters, max_norm, norm, foreach=True)
    return total


def step_if(optimizer, finite):
    """Takes an optimizer step where a boolean scalar on the device allows it.

    Parameters and moments stay as they are otherwise. Fused optimizers decide on the
    device, as for gradient scaling; others make the host wait for the flag.
    """
    fused = all(group.get("fused") for group in optimizer.param_groups)
    if not fused:
        if finite:
            optimizer.step()
        return
    optimizer.found_inf = (~finite).float().reshape(())
    try:
        optimizer.step()
    finally:
        del optimizer.found_inf


class KeptBuffers:
    """Copy of floating-point buffers of modules, to undo what a bad batch did to them.

    BatchNorm's statistics move in the forward pass, when it is not yet clear that the
    loss is not finite; one such batch would spoil them for good. Objectives change
    their state in ``settle`` alone, and need no copy.

    Example
    -------
    >>> norm = torch.nn.BatchNorm1d(1)
    >>> kept = KeptBuffers(norm)
    >>> _ = norm(torch.tensor([[1.0], [float("inf")]]))
    >>> kept.restore_unless(torch.tensor(False))
    >>> norm.running_mean, norm.running_var
    (tensor([0.]), tensor([1.]))
    """

    def __init__(self, *modules):
        buffers = [b for module in modules for b in module.buffers()]
        self.buffers = [buffer for buffer in buffers if buffer.is_floating_point()]
        self.before = self._flat() if self.buffers else None

    def _flat(self):
        return torch.cat([buffer.flatten() for buffer in self.buffers])

    def restore_unless(self, finite):
        """Puts the copy back where a flag is off, decided on the device."""
        if not self.buffers:
            return
        # One tensor for all: a handful of launches instead of some for each buffer.
        chosen = torch.where(finite, self._flat(), self.before)
        parts = chosen.split([buffer.numel() for buffer in self.buffers])
        shaped = [part.view_as(old) for part, old in zip(parts, self.buffers)]
        torch._foreach_copy_(self.buffers, shaped)
