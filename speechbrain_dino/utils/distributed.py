"""Batches over all processes: N processes give what one with the whole batch gives.

A loss that every process computes from gathered outputs has the gradient of the whole
batch: the gradients that flow back are summed over the processes, and
DistributedDataParallel takes their mean, as it does of the losses.
"""

import os

import torch
import torch.distributed as dist
from speechbrain.utils.distributed import if_main_process, infer_device

from speechbrain_dino.utils.ending import LONGEST_WAIT


def process_count():
    """Number of training processes, 1 where there is no process group."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_world_size()
    return 1


def own_device(device=None):
    """The device of this process; of those that torchrun started, each has a GPU.

    Arguments
    ---------
    device : str, optional
        Where to compute; a GPU where there is one if not given. ``cuda`` is the GPU
        of this process, ``cuda:N`` is taken as it is.

    Returns
    -------
    str
        Such as ``cpu`` or ``cuda:1``.

    Raises
    ------
    ValueError
        If there are more processes than GPUs.

    Example
    -------
    >>> own_device("cpu")
    'cpu'
    """
    rank = os.environ.get("LOCAL_RANK")
    if rank is None or device not in (None, "cuda"):
        return device or infer_device()
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


def gathered(x, dim=0):
    """Puts the parts of all processes together, in the order of the processes.

    Arguments
    ---------
    x : torch.Tensor
        This process' part, of the same shape in all of them.
    dim : int
        The axis of utterances.

    Returns
    -------
    torch.Tensor
        The whole; gradients flow back to the process that a part came from.

    Example
    -------
    >>> gathered(torch.ones(2, 3)).shape  # one process
    torch.Size([2, 3])
    """
    if process_count() == 1:
        return x
    if x.requires_grad:
        from torch.distributed.nn.functional import all_gather

        return torch.cat(all_gather(x.contiguous()), dim)
    parts = [torch.empty_like(x) for _ in range(process_count())]
    dist.all_gather(parts, x.contiguous())
    return torch.cat(parts, dim)


def summed(x):
    """Adds up a tensor over all processes.

    Arguments
    ---------
    x : torch.Tensor
        This process' part, of the same shape in all of them; without gradient.

    Returns
    -------
    torch.Tensor
        The sum; ``x`` itself where there is one process.

    Example
    -------
    >>> summed(torch.tensor(3.0))
    tensor(3.)
    """
    if process_count() > 1:
        x = x.clone()
        dist.all_reduce(x)
    return x


def own_places(batch, device=None):
    """Where the utterances of this process lie among those of all.

    Arguments
    ---------
    batch : int
        Utterances of this process.
    device : torch.device, optional
        Where the result shall be.

    Returns
    -------
    torch.Tensor
        int64 (batch,), places on the gathered axis.

    Example
    -------
    >>> own_places(3)
    tensor([0, 1, 2])
    """
    first = dist.get_rank() * batch if process_count() > 1 else 0
    return torch.arange(first, first + batch, device=device)


def join_processes(device=None):
    """Joins the processes that torchrun started, if it did.

    Arguments
    ---------
    device : str, optional
        Where to compute; a GPU where there is one if not given. ``cuda`` is the one
        of this process.

    Returns
    -------
    str
        The device of this process.

    Raises
    ------
    ValueError
        If there are more processes than GPUs.
    """
    device = own_device(device)
    if "RANK" in os.environ and not torch.distributed.is_initialized():
        torch.distributed.init_process_group("gloo", timeout=LONGEST_WAIT)
    return device


def on_main_first(find):
    """Lets the first process prepare, the others read what it made.

    Arguments
    ---------
    find : callable
        Called without arguments, by the others after the first has finished.

    Returns
    -------
    object
        What ``find`` returns.
    """
    found = find() if if_main_process() else None
    if torch.distributed.is_initialized():
        torch.distributed.barrier()
    return find() if found is None else found
