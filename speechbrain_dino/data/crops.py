"""Multi-crop: several stretches of an utterance, cut from one read of its file."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from speechbrain_dino.data.audio import read_span
from speechbrain_dino.data.worker_memory import (
    PREFETCH,
    PipeLoader,
    as_bytes,
    shared_memory_suffices,
    start_worker,
)
from speechbrain_dino.utils.randomness import CROPS, ORDER, generator

PLACEMENTS = ("independent", "disjoint")


@dataclass
class CropBatch:
    """Crops of a batch, the crops of one length in one tensor.

    Arguments
    ---------
    views : list of torch.Tensor
        One tensor per crop length, global crops first, int16 samples
        ``(crops, batch, time)``.
    draws : list of torch.Tensor
        For each of ``views``: uniform numbers in [0, 1) that the augmentations turn
        into noises and rooms, float32 ``(crops, batch, draws)``.
    items : torch.Tensor
        Row of each utterance in the manifest, ``(batch,)``.
    """

    views: list
    draws: list
    items: torch.Tensor

    def pin_memory(self):
        """Moves the samples to page-locked memory, for copies beside the compute."""
        return replace(self, views=[view.pin_memory() for view in self.views])

    def to(self, device, **kwargs):
        """Copies the samples to a device; the draws stay on the CPU."""
        moved = [view.to(device, non_blocking=True) for view in self.views]
        return replace(self, views=moved)


class MultiCropDataset(Dataset):
    """Global and local crops of the utterances of a manifest.

    Arguments
    ---------
    global_crops, local_crops : int
        Numbers of crops, seen by teacher and student, and by the student alone.
    global_seconds, local_seconds : float or callable
        Lengths in seconds; or schedules, functions of the epochs that are finished.
    placement : str
        "independent": uniform starts (the paper). "disjoint": no two crops share a
        sample where the utterance is long enough for all of them, else no two global
        crops, else independent.
    num_draws : int
        Uniform numbers per crop for the augmentations.
    sample_rate, seed : int
        Sampling rate of the audio in Hz; seed of the run.

    Example
    -------
    >>> from speechbrain_dino.data.manifest import Manifest
    >>> import soundfile
    >>> wav = getfixture("tmp_path") / "a.wav"
    >>> soundfile.write(wav, np.zeros(32000, dtype=np.int16), 16000)
    >>> row = {"ID": "a", "duration": 2.0, "wav": str(wav), "start": 0, "stop": 32000}
    >>> data = MultiCropDataset(
    ...     Manifest.from_rows([row]), global_seconds=1.0, local_seconds=0.5
    ... )
    >>> views, draws, item = data[0, 0]
    >>> [tuple(view.shape) for view in views]
    [(2, 16000), (4, 8000)]
    """

    def __init__(
        self,
        manifest,
        global_crops=2,
        global_seconds=4.0,
        local_crops=4,
        local_seconds=2.0,
        sample_rate=16000,
        placement="independent",
        num_draws=0,
        seed=1234,
    ):
        if global_crops < 1 or local_crops < 0:
            raise ValueError(
                f"global_crops={global_crops}, local_crops={local_crops} were given; "
                "at least one global crop is needed."
            )
        if placement not in PLACEMENTS:
            raise ValueError(f"placement={placement!r}; choose one of {PLACEMENTS}.")
        self.manifest = manifest
        self.placement = placement
        self.num_draws = num_draws
        self.seed = seed
        self.sample_rate = sample_rate
        self.counts = [global_crops] + [local_crops] * (local_crops > 0)
        self.seconds = [global_seconds, local_seconds][: len(self.counts)]
        self.partners = None  # a speechbrain_dino.training.cluster_crops.Partners

    def __len__(self):
        return len(self.manifest)

    def __getitem__(self, key):
        batch = self.batch([key])
        views = [view[:, 0] for view in batch.views]
        return views, [draws[:, 0] for draws in batch.draws], int(batch.items[0])

    def __getitems__(self, keys):
        return self.batch(keys)

    def samples(self, epoch):
        """Samples of a crop of each kind in an epoch (from 1)."""
        seconds = [s(max(epoch - 1, 0)) if callable(s) else s for s in self.seconds]
        return [round(value * self.sample_rate) for value in seconds]

    def bytes_of_an_item(self):
        """Memory that an utterance takes in a batch of the first epoch."""
        samples = np.dot(self.counts, self.samples(1))
        return int(2 * samples + 4 * sum(self.counts) * self.num_draws)

    def batch(self, keys):
        """The :class:`CropBatch`, on the CPU, of (epoch, row) keys of one epoch.

        Every sample is copied once, from the file's buffer to its place in the batch.
        """
        sizes = self.samples(keys[0][0])
        lengths = np.repeat(sizes, self.counts)
        views = [
            np.empty((count, len(keys), samples), dtype=np.int16)
            for count, samples in zip(self.counts, sizes)
        ]
        places = [crop for view in views for crop in view]
        draws = np.empty((len(places), len(keys), self.num_draws), dtype=np.float32)
        for column, (epoch, item) in enumerate(keys):
            rng = generator(self.seed, CROPS, epoch, item)
            for place, crop in zip(places, self._crops(rng, epoch, item, lengths)):
                place[column] = crop
            draws[:, column] = rng.random(draws[:, column].shape, dtype=np.float32)
        return CropBatch(
            [torch.from_numpy(view) for view in views],
            list(torch.from_numpy(draws).split(self.counts)),
            torch.tensor([item for _, item in keys]),
        )

    def _crops(self, rng, epoch, item, lengths):
        """The crops of an utterance, or of several of its cluster."""
        kinds = np.arange(len(lengths)) < self.counts[0]
        if self.partners is None or epoch == 0:  # epoch 0 is for validation
            return self._cut(rng, item, lengths, kinds)
        rows = self.partners.rows(rng, item, len(lengths))
        crops = [None] * len(lengths)
        for row in np.unique(rows):
            chosen = np.flatnonzero(rows == row)
            cut = self._cut(rng, int(row), lengths[chosen], kinds[chosen])
            for place, crop in zip(chosen, cut):
                crops[place] = crop
        return crops

    def _cut(self, rng, item, lengths, is_global):
        """Crops of an utterance, longer ones than itself filled by repetition."""
        total = int(self.manifest.lengths[item])
        starts = place_crops(
            rng, total, lengths, is_global.sum(), self.placement == "disjoint"
        )
        lo = int(starts.min())
        hi = min(int((starts + lengths).max()), total)
        span = read_span(self.manifest[item], lo, hi, sample_rate=self.sample_rate)
        for start, length in zip(starts - lo, lengths):
            crop = span[start : start + length]
            yield crop if len(crop) == length else np.resize(crop, length)


def place_crops(rng, total, lengths, num_global, disjoint):
    """First sample of each crop, ``(crops,)``; 0 for crops longer than the utterance.

    Arguments
    ---------
    rng, total : np.random.Generator, int
        Source of the numbers; samples of the utterance.
    lengths, num_global : np.ndarray, int
        Samples of each crop ``(crops,)``, global ones first; number of these.
    disjoint : bool
        Whether crops should not overlap, as far as the utterance allows.

    Example
    -------
    >>> rng = np.random.default_rng(0)
    >>> place_crops(rng, 6, np.array([2, 2, 2]), 2, disjoint=True)
    array([4, 0, 2])
    """
    starts = rng.integers(0, np.maximum(total - lengths, 0) + 1)
    if not disjoint:
        return starts
    for count in (len(lengths), num_global):
        slack = total - lengths[:count].sum()
        if slack >= 0:
            order = rng.permutation(count)
            # Sorted uniform gaps before intervals of fixed length: uniform placement.
            gaps = np.sort(rng.integers(0, slack + 1, size=count))
            ahead = np.concatenate(([0], np.cumsum(lengths[:count][order])[:-1]))
            starts[:count][order] = gaps + ahead
            break
    return starts


def crop_loader(dataset, batch_size, num_workers=2, rank=0, world_size=1, pin=False):
    """DataLoader of multi-crop batches, whose sampler is an :class:`EpochBatches`.

    Arguments
    ---------
    batch_size, num_workers : int
        Utterances per batch and process; loader processes, 0 reads in this one.
    rank, world_size : int
        Number of this training process, and of all.
    pin : bool
        Whether to read into page-locked memory (for a GPU).
    """
    batches = EpochBatches(len(dataset), batch_size, dataset.seed, rank, world_size)
    size = batch_size * dataset.bytes_of_an_item()
    shared = not num_workers or shared_memory_suffices(size, num_workers)
    return (DataLoader if shared else PipeLoader)(
        dataset,
        batch_sampler=batches,
        collate_fn=_as_read if shared else as_bytes,
        num_workers=num_workers,
        pin_memory=pin and shared,
        prefetch_factor=PREFETCH if num_workers else None,
        persistent_workers=num_workers > 0,
        worker_init_fn=start_worker,
    )


def _as_read(batch):
    """The dataset puts its batches together itself; nothing is left to collate."""
    return batch


class EpochBatches(Sampler):
    """Batches of (epoch, item) keys in an order that depends on (seed, epoch) alone.

    With several processes each takes its part of every global batch, so that N
    processes with batches of B see what one process with batches of N B sees.

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
