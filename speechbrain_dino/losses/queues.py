"""Large tables that a loss writes to, once a step is known to be good."""

import torch
from torch import nn


class Store(nn.Module):
    """Named tables of ``size`` rows, written row by row.

    ``KeptBuffers`` copies every buffer of a loss in every step, to undo a step whose
    loss is not finite. These tables are too large for that, so what is written waits
    until ``settle``. Nor does a table change between forward and backward. ``widths``
    are shapes of a row by table name, or (shape, dtype); float32 otherwise.
    """

    def __init__(self, size, **widths):
        super().__init__()
        if size < 1:
            raise ValueError(f"a store of {size} rows was asked for; give at least 1")
        self.size = size
        self.waiting = []
        for name, width in widths.items():
            typed = bool(width) and isinstance(width[-1], torch.dtype)
            width, dtype = width if typed else (width, None)
            self.register_buffer(name, torch.zeros(size, *width, dtype=dtype))

    def write(self, places, **rows):
        """Takes rows (N, ...) per table, for places int64 (N,), each at most once."""
        for name, new in rows.items():
            table = getattr(self, name)
            self.waiting.append((table, places, new.detach().to(table.dtype)))

    @torch.no_grad()
    def settle(self, finite=None):
        """Writes what waits; drops it where ``finite``, a device scalar, is False."""
        for table, places, new in self.waiting:
            if finite is not None:
                new = torch.where(finite, new, table[places])
            table[places] = new
        self.waiting = []


class Queue(Store):
    """The last rows pushed, with the utterances they belong to; the oldest go first.

    Every process must push the rows of all processes, so that all hold the same.

    Example
    -------
    >>> queue = Queue(3, keys=(1,))
    >>> queue.push(torch.tensor([5, 6]), keys=torch.tensor([[0.5], [0.6]]))
    >>> queue.push(torch.tensor([7, 8]), keys=torch.tensor([[0.7], [0.8]]))
    >>> queue.settle()
    >>> queue.items  # -1 where nothing has been written
    tensor([8, 6, 7])
    """

    def __init__(self, size, **widths):
        super().__init__(size, items=((), torch.int64), **widths)
        self.items.fill_(-1)
        self.register_buffer("seen", torch.zeros(1, dtype=torch.int64))  # rows pushed

    def push(self, items, **rows):
        """Takes rows (N, ...) of utterances int64 (N,), of more than fit the last."""
        self.settle()
        number = min(len(items), self.size)
        # On the device: the host need not know where the queue stands.
        places = (self.seen + torch.arange(number, device=self.seen.device)) % self.size
        newest = {name: new[-number:] for name, new in rows.items()}
        self.write(places, items=items[-number:], **newest)
        self.write(torch.zeros_like(self.seen), seen=self.seen + number)
