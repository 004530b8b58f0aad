"""Batches over all processes: N processes give what one with the whole batch gives.

A loss that every process computes from gathered outputs has the gradient of the whole
batch: the gradients that flow back are summed over the processes, and
DistributedDataParallel takes their mean, as it does of the losses.
"""

import torch
import torch.distributed as dist


def process_count():
    """Number of training processes, 1 where there is no process group."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_world_size()
    return 1


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
