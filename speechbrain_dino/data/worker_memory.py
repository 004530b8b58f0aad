"""Batches on their way from loader processes: through shared memory if it suffices."""

import logging
import os
import pickle
import shutil
from multiprocessing.queues import Queue

from torch.utils.data import DataLoader

from speechbrain_dino.utils.ending import end_with_parent

logger = logging.getLogger(__name__)

SHARED_MEMORY = "/dev/shm"
PREFETCH = 4
"""Batches that a worker reads ahead."""


def shared_memory_suffices(batch_bytes, workers):
    """Whether the batches that all workers hold fit into shared memory; warns if not.

    Containers have little of it, Docker's 64 MB: what does not fit kills workers, or
    is lost on the way, and the training would wait for it for ever.

    Arguments
    ---------
    batch_bytes : int
        Size of a batch.
    workers : int
        Loader processes of this process.
    """
    try:
        free = shutil.disk_usage(SHARED_MEMORY).free
    except OSError:  # not Linux: what is shared lies elsewhere
        return True
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    # One more is in use while the next ones are read.
    need = batch_bytes * (workers * PREFETCH + 1) * processes
    if need <= free:
        return True
    logger.warning(
        "%d MB of shared memory (%s) are free, and the loader needs about %d MB "
        "(batches of %.1f MB x %d ahead x %d workers): batches go through pipes, which "
        "is slower. Give the container more (docker run --shm-size), or lower "
        "num_workers",
        free >> 20,
        SHARED_MEMORY,
        need >> 20,
        batch_bytes / 2**20,
        PREFETCH,
        workers * processes,
    )
    return False


class PipeLoader(DataLoader):
    """A DataLoader whose workers send batches as bytes, without shared memory.

    Its ``collate_fn`` is :func:`as_bytes`.
    """

    def __iter__(self):
        for batch in super().__iter__():
            yield pickle.loads(batch)


def as_bytes(batch):
    """A batch as bytes; ``multiprocessing`` alone would put it into shared memory."""
    return pickle.dumps(batch, protocol=5)


def start_worker(worker):
    """Makes a worker end with its parent, and at a batch that it cannot hand over."""
    end_with_parent(worker)
    Queue._on_queue_feeder_error = staticmethod(_end_worker)


def _end_worker(error, batch):
    # Python would print the error and go on, and the training wait for the batch.
    text = " ".join(str(error).split())
    os.write(2, f"\nA loader process could not hand over a batch: {text}\n".encode())
    os._exit(1)
