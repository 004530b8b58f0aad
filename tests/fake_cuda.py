"""A GPU that is not there: tensors that claim to be on ``cuda`` and hold no numbers.

``FakeTensorMode`` follows shapes and devices of what is computed and refuses tensors
of two devices in one operation, as a GPU does. In :class:`FakeCuda` what is on the CPU
stays real: draws and tables of the host can be looked at, as in a training.
"""

from contextlib import ExitStack, contextmanager
from unittest.mock import patch

import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._pytree import tree_leaves


class HostWaits(RuntimeError):
    """The host would wait for what the device computes."""


class FakeCuda(FakeTensorMode):
    """Fakes what is on ``cuda``; a copy to the CPU, which waits, is refused."""

    def __init__(self):
        super().__init__(allow_non_fake_inputs=True)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        values = tree_leaves((args, kwargs))
        fake = any(isinstance(value, FakeTensor) for value in values)
        target = kwargs.get("device")
        goes_to = None if target is None else torch.device(target).type
        if fake and goes_to == "cpu":
            raise HostWaits(f"{func} copies from the device to the host")
        if func is torch.ops.aten._fused_sgd_.default:  # has no fake kernel
            tensors = [value for value in values if isinstance(value, torch.Tensor)]
            assert {value.device.type for value in tensors} == {"cuda"}
            return None
        if fake or goes_to == "cuda":
            return super().__torch_dispatch__(func, types, args, kwargs)
        return func(*args, **kwargs)


def _apply(module, function, recurse=True):
    """``Module._apply`` without its swaps in place, which fake tensors do not take."""
    for child in module.children() if recurse else ():
        child._apply(function)
    with torch.no_grad():
        for name, value in module._parameters.items():
            moved = None if value is None else function(value)
            if moved is not value:
                moved = torch.nn.Parameter(moved, requires_grad=value.requires_grad)
                module._parameters[name] = moved
        for name, value in module._buffers.items():
            module._buffers[name] = None if value is None else function(value)
    return module


@contextmanager
def fake_cuda():
    """Within it modules move to ``cuda``, where there is a GPU and where there is none.

    Yields
    ------
    FakeCuda
    """
    with ExitStack() as stack:
        for target, name, new in (
            (torch.nn.Module, "_apply", _apply),
            (torch.cuda, "set_device", lambda device: None),
            # A real GPU beside it would be asked to start, and autocast to take part.
            (torch.cuda, "is_available", lambda: False),
            (torch.cuda, "device_count", lambda: 0),
        ):
            stack.enter_context(patch.object(target, name, new))
        yield stack.enter_context(FakeCuda())


@contextmanager
def gradients_without_backward(parameters):
    """Backward would start the device's threads: every parameter gets its shape."""

    def backward(loss, *args, **kwargs):
        assert loss.requires_grad and loss.device.type == "cuda"
        for parameter in parameters:
            if parameter.requires_grad:
                parameter.grad = torch.zeros_like(parameter)

    with patch.object(torch.Tensor, "backward", backward):
        yield
