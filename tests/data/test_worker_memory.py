"""Little shared memory: the same batches through pipes; a lost batch ends the run."""

import sys
from collections import namedtuple

import numpy as np
import pytest
import soundfile as sf
import torch
from torch.utils.data import DataLoader, Dataset

from speechbrain_dino.data import crops, worker_memory
from speechbrain_dino.data.crops import MultiCropDataset, crop_loader
from speechbrain_dino.data.manifest import Manifest
from speechbrain_dino.data.worker_memory import PipeLoader, start_worker
from speechbrain_dino.utils.storage import tell_storage_errors

Usage = namedtuple("Usage", "free")


@pytest.fixture
def dataset(tmp_path):
    rows = []
    for number in range(6):
        wav = tmp_path / f"{number}.wav"
        samples = np.random.default_rng(number).integers(-999, 999, 16000)
        sf.write(wav, samples.astype(np.int16), 16000)
        row = {"ID": str(number), "duration": 1.0, "wav": str(wav)}
        rows.append({**row, "start": 0, "stop": 16000})
    lengths = {"global_seconds": 0.5, "local_seconds": 0.25}
    return MultiCropDataset(Manifest.from_rows(rows), **lengths, num_draws=3)


def test_an_item_is_as_large_as_it_is(dataset):
    batch = dataset.batch([(1, 0), (1, 1)])
    sizes = [part.nbytes for part in (*batch.views, *batch.draws)]
    assert 2 * dataset.bytes_of_an_item() == sum(sizes)


@pytest.mark.parametrize(("free", "suffices"), [(2 * 9 * 500, True), (8999, False)])
def test_need_is_that_of_all_workers(monkeypatch, caplog, free, suffices):
    monkeypatch.setattr(worker_memory.shutil, "disk_usage", lambda path: Usage(free))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert worker_memory.shared_memory_suffices(500, workers=2) == suffices
    assert ("docker run --shm-size" in caplog.text) != suffices


def test_where_there_is_no_such_folder_nothing_is_doubted(monkeypatch):
    monkeypatch.setattr(worker_memory, "SHARED_MEMORY", "/nowhere/shm")
    assert worker_memory.shared_memory_suffices(1 << 60, workers=9)


def test_pipes_bring_the_same_batches(dataset, monkeypatch):
    loaders = []
    for suffices in (True, False):
        monkeypatch.setattr(crops, "shared_memory_suffices", lambda *_, s=suffices: s)
        loaders.append(crop_loader(dataset, 2, num_workers=1))
    assert [type(loader) for loader in loaders] == [DataLoader, PipeLoader]
    for epoch in (1, 2):
        for loader in loaders:
            loader.batch_sampler.set_epoch(epoch)
        batches = [list(loader) for loader in loaders]
        assert [len(each) for each in batches] == [3, 3]
        for one, other in zip(*batches):
            parts = [[*b.views, *b.draws, b.items] for b in (one, other)]
            assert all(torch.equal(x, y) for x, y in zip(*parts))


class CannotBeSent(Dataset):
    """Its items cannot be pickled, as tensors cannot without shared memory."""

    def __len__(self):
        return 4

    def __getitem__(self, item):
        return (lambda: item) if item == 2 else item


def test_a_batch_that_is_lost_ends_the_run(capfd, monkeypatch):
    loader = DataLoader(
        CannotBeSent(),
        collate_fn=list,
        num_workers=1,
        worker_init_fn=start_worker,
        timeout=600,
    )
    with pytest.raises(RuntimeError, match="exited unexpectedly") as died:
        list(loader)
    assert "could not hand over a batch" in capfd.readouterr().err
    monkeypatch.setattr("sys.excepthook", None)
    monkeypatch.setattr("logging.raiseExceptions", True)
    errors = []
    monkeypatch.setattr(
        "speechbrain_dino.utils.storage.logger.error",
        lambda form, text: errors.append(text),
    )
    tell_storage_errors("out")
    sys.excepthook(RuntimeError, died.value, None)
    assert len(errors) == 1 and "lower num_workers" in errors[0]
