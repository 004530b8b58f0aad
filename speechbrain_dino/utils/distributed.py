"""Batches over all processes: N processes give what one with the whole batch gives.

A loss that every process computes from gathered outputs has the gradient of the whole
batch: the gradients that flow back are summed over the processes, and
DistributedDataParallel takes their mean, as it does of the losses.
"""

import itertools
import os
import time

import torch
import torch.distributed as dist
from speechbrain.utils.distributed import if_main_process, infer_device

from speechbrain_dino.utils.ending import LONGEST_WAIT

_POLL_SECONDS = 0.1


def process_count():
    """Number of training processes, 1 where there is no process group."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_world_size()
    return 1


def own_device(device=None):
    """The device of this process, such as ``cpu`` or ``cuda:1``.

    Without ``device`` a GPU where there is one. ``cuda`` is the GPU of this process
    among those that torchrun started, ``cuda:N`` is taken as it is. Raises ValueError
    if there is no such device, or there are more processes than GPUs.
    """
    rank = os.environ.get("LOCAL_RANK")
    if rank is None or device not in (None, "cuda"):
        return checked_device(device) if device else infer_device()
    if device is None and not torch.cuda.is_available():
        return infer_device()
    gpus = torch.cuda.device_count()
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", int(rank) + 1))
    if processes > gpus:
        raise ValueError(
            f"torchrun started {processes} processes on this machine, and its GPUs are "
            f"{gpus}: each process needs one of its own. Give --nproc_per_node "
            f"{max(gpus, 1)} at most, or --device cpu"
        )
    return f"cuda:{rank}"


def checked_device(device):
    """The device; ValueError if PyTorch cannot compute there.

    Example
    -------
    >>> checked_device("cpu"), checked_device(None)
    ('cpu', None)
    >>> checked_device("gpu")
    Traceback (most recent call last):
    ValueError: --device gpu: expected cpu, cuda or cuda:N
    """
    if device is None:
        return None
    try:
        wanted = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"--device {device}: expected cpu, cuda or cuda:N") from error
    gpus = torch.cuda.device_count()
    if wanted.type == "cuda" and (wanted.index or 0) >= gpus:
        raise ValueError(
            f"--device {device}: PyTorch sees {gpus} GPUs here; give --device cpu, or "
            "leave it out"
        )
    if wanted.type not in ("cpu", "cuda"):
        try:
            torch.zeros(1, device=wanted).item()
        except (RuntimeError, AssertionError, ImportError) as error:
            raise ValueError(
                f"--device {device}: PyTorch cannot compute there; expected cpu, cuda "
                "or cuda:N"
            ) from error
    return device


def gathered(x, dim=0):
    """The parts ``x`` of all processes, concatenated along ``dim`` in their order.

    Parts have one shape. Gradients flow back to the process that a part came from.

    Example
    -------
    >>> gathered(torch.ones(2, 3)).shape  # one process
    torch.Size([2, 3])
    """
    if process_count() == 1:
        return x
    if x.requires_grad:
        from torch.distributed.nn.functional import all_gather

        parts = all_gather(x.contiguous())
        for part in parts:
            # gloo fills memory in the order of the gradient's strides: after an einsum
            # numbers would land in other places than they came from.
            part.register_hook(torch.Tensor.contiguous)
        return torch.cat(parts, dim)
    parts = [torch.empty_like(x) for _ in range(process_count())]
    dist.all_gather(parts, x.contiguous())
    return torch.cat(parts, dim)


def summed(x):
    """Sum over all processes of ``x``, of one shape and without gradient."""
    if process_count() > 1:
        x = x.clone()
        dist.all_reduce(x)
    return x


def own_places(batch, device=None):
    """Places of this process' utterances on the gathered axis, int64 (batch,).

    Example
    -------
    >>> own_places(batch=3)
    tensor([0, 1, 2])
    """
    first = dist.get_rank() * batch if process_count() > 1 else 0
    return torch.arange(first, first + batch, device=device)


def same_group(batch, number, group, device=None):
    """Which of all ``number`` utterances are in the group of each of this process'.

    bool (batch, number); groups are ``group`` utterances in their gathered order, the
    last one more if some are left over.

    Example
    -------
    >>> same_group(batch=4, number=4, group=2).int()
    tensor([[1, 1, 0, 0],
            [1, 1, 0, 0],
            [0, 0, 1, 1],
            [0, 0, 1, 1]], dtype=torch.int32)
    """
    last = max(number // group - 1, 0)
    groups = (torch.arange(number, device=device) // group).clamp(max=last)
    return groups[own_places(batch, device)][:, None] == groups


def join_processes(device=None):
    """Joins torchrun's processes, if any; returns and raises as `own_device`."""
    device = own_device(checked_device(device))
    if "RANK" in os.environ and not torch.distributed.is_initialized():
        torch.distributed.init_process_group("gloo", timeout=LONGEST_WAIT)
    return device


def on_main_first(find):
    """What ``find()`` returns, called by the first process before the others."""
    result = alone_on_main(find)
    return find() if result is None else result


def alone_on_main(work):
    """What ``work()`` returns to the first process; others wait and get None.

    They wait however long it takes: not in a collective operation, which ends after
    the time limit of the process group, and on a GPU would keep it busy. Raises
    SystemExit there if the work failed.
    """
    if process_count() == 1:
        return work()
    store = dist.distributed_c10d._get_default_store()
    key = f"speechbrain_dino/alone/{next(_numbers)}"
    if not if_main_process():
        while not store.check([key]):
            time.sleep(_POLL_SECONDS)
        if store.get(key) != b"done":
            raise SystemExit(1)
        return None
    outcome = "failed"
    try:
        result = work()
        outcome = "done"
    finally:
        store.set(key, outcome)
    return result


_numbers = itertools.count()
