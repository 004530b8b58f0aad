"""The order of batches: a function of (seed, epoch), shared out to the processes."""

from torch.utils.data import Sampler

from speechbrain_dino.randomness import ORDER, generator


class EpochBatches(Sampler):
    """Batches of (epoch, item) keys in an order that depends on (seed, epoch) alone.

    With several processes each takes its part of every global batch, so that N
    processes with batches of B see what one process with batches of N B sees.

    Arguments
    ---------
    num_items : int
        Utterances in the manifest.
    batch_size : int
        Utterances a batch and process.
    seed : int
        Seed of the run.
    rank : int
        Number of this process.
    world_size : int
        Number of processes.

    Example
    -------
    >>> batches = EpochBatches(num_items=5, batch_size=2, seed=0)
    >>> len(batches), [len(batch) for batch in batches]
    (2, [2, 2])
    """

    def __init__(self, num_items, batch_size, seed=1234, rank=0, world_size=1):
        self.num_items = num_items
        self.batch_size = batch_size
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.epoch = 0
        self.first = 0
        if len(self) == 0:
            raise ValueError(
                f"{num_items} training utterances do not fill one batch of "
                f"{batch_size} x {world_size} process(es): lower batch_size or check "
                "prepare.json for what was left out."
            )

    def set_epoch(self, epoch, first=0):
        """Chooses the epoch, and the batch at which to begin it when resuming."""
        self.epoch = epoch
        self.first = first

    def __len__(self):
        return self.num_items // (self.batch_size * self.world_size)

    def __iter__(self):
        order = generator(self.seed, ORDER, self.epoch).permutation(self.num_items)
        step = self.batch_size * self.world_size
        for number in range(self.first, len(self)):
            begin = number * step + self.rank * self.batch_size
            items = order[begin : begin + self.batch_size]
            yield [(self.epoch, int(item)) for item in items]
