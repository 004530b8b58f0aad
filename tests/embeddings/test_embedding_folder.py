"""Tables on disk: killed and resumed, stale ones never reused, shared by processes."""

import logging
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import recipe_runs as runs
import soundfile
import torch
from speechbrain.lobes.features import Fbank

from speechbrain_dino.data.manifest import Manifest
from speechbrain_dino.embeddings import cache as embedding_folder
from speechbrain_dino.embeddings.cache import embed_to_folder, plan_parts
from speechbrain_dino.embeddings.extract import Embedder, embed
from speechbrain_dino.embeddings.table import EmbeddingTable
from speechbrain_dino.models.features import MeanNorm
from speechbrain_dino.utils import precision


class Spread(torch.nn.Module):
    """An embedding of 8 numbers; counts utterances, may stop at a number."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(20, 8)
        self.counter = {"utterances": 0, "break_after": None}

    def forward(self, feats, lengths):
        self.counter["utterances"] += len(feats)
        limit = self.counter["break_after"]
        if limit is not None and self.counter["utterances"] > limit:
            raise KeyboardInterrupt
        return self.layer(feats.std(dim=1))


@pytest.fixture
def embedder():
    return Embedder(Fbank(n_mels=20), MeanNorm(), Spread())


@pytest.fixture
def manifest(tmp_path):
    """Twelve utterances of 0.2 to 0.4 seconds."""
    return make_manifest(tmp_path)


def make_manifest(folder, count=12):
    rng = np.random.default_rng(0)
    rows = []
    for number in range(count):
        samples = int(rng.integers(3200, 6400))
        wav = folder / f"{number}.wav"
        soundfile.write(wav, rng.uniform(-0.5, 0.5, samples), 16000)
        row = {"ID": f"u{number}", "duration": samples / 16000, "wav": str(wav)}
        rows.append(row | {"start": 0, "stop": samples})
    return Manifest.from_rows(rows)


def embedded(embedder):
    return embedder.embedding_model.counter["utterances"]


def test_the_table_is_that_of_embed(manifest, embedder, tmp_path):
    table = embed_to_folder(tmp_path / "t", manifest, embedder, part_seconds=1.0)
    expected = embed(manifest, embedder, batch_seconds=0)
    assert table.ids == list(manifest.ids)
    assert table.vectors.dtype == np.float32
    assert isinstance(table.vectors, np.memmap)
    np.testing.assert_allclose(table.vectors, expected.vectors, atol=1e-4)
    assert sorted(path.name for path in (tmp_path / "t").iterdir()) == [
        "ids.txt",
        "owner.json",
        "table.json",
        "vectors.npy",
    ]


def test_a_finished_table_is_reused_without_reading_audio(manifest, embedder, tmp_path):
    first = embed_to_folder(tmp_path / "t", manifest, embedder).vectors.copy()
    assert embedded(embedder) == 12
    again = embed_to_folder(tmp_path / "t", manifest, embedder)
    assert embedded(embedder) == 12
    np.testing.assert_array_equal(again.vectors, first)


def test_an_interrupted_table_is_resumed_and_ends_with_the_same_bits(
    manifest, embedder, tmp_path
):
    whole = embed_to_folder(tmp_path / "whole", manifest, embedder, part_seconds=1.0)
    counter = embedder.embedding_model.counter
    counter.update(utterances=0, break_after=7)
    with pytest.raises(KeyboardInterrupt):
        embed_to_folder(tmp_path / "t", manifest, embedder, part_seconds=1.0)
    assert not (tmp_path / "t" / "table.json").exists()
    counter.update(utterances=0, break_after=None)
    table = embed_to_folder(tmp_path / "t", manifest, embedder, part_seconds=1.0)
    assert 0 < counter["utterances"] < 12
    np.testing.assert_array_equal(table.vectors, whole.vectors)


def _other_weights(manifest, embedder):
    embedder.embedding_model.layer.weight.data[0, 0] += 1
    return {}


def _other_features(manifest, embedder):
    embedder.mean_var_norm.window = 10
    return {}


def _other_audio(manifest, embedder):
    wav = np.random.default_rng(5).uniform(-0.5, 0.5, int(manifest.lengths[3]))
    stat = os.stat(manifest[3].wav)
    soundfile.write(manifest[3].wav, wav, 16000)
    os.utime(manifest[3].wav, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    return {}


def _windows(manifest, embedder):
    return {"window_seconds": 0.1}


@pytest.mark.parametrize(
    "change", [_other_weights, _other_features, _other_audio, _windows]
)
def test_a_stale_table_is_never_reused(manifest, embedder, tmp_path, change):
    embed_to_folder(tmp_path / "t", manifest, embedder)
    options = change(manifest, embedder)
    table = embed_to_folder(tmp_path / "t", manifest, embedder, **options)
    expected = embed(manifest, embedder, **options)
    np.testing.assert_allclose(table.vectors, expected.vectors, atol=1e-4)


def test_parts_of_another_model_are_not_continued(manifest, embedder, tmp_path):
    counter = embedder.embedding_model.counter
    counter["break_after"] = 7
    with pytest.raises(KeyboardInterrupt):
        embed_to_folder(tmp_path / "t", manifest, embedder, part_seconds=1.0)
    counter.update(utterances=0, break_after=None)
    _other_weights(manifest, embedder)
    embed_to_folder(tmp_path / "t", manifest, embedder, part_seconds=1.0)
    assert counter["utterances"] == 12
    assert not list((tmp_path / "t").glob("parts-*"))


def test_fewer_utterances_are_another_table(manifest, embedder, tmp_path):
    embed_to_folder(tmp_path / "t", manifest, embedder)
    table = embed_to_folder(tmp_path / "t", manifest.subset([4, 2]), embedder)
    assert table.ids == ["u4", "u2"]
    assert EmbeddingTable.load(tmp_path / "t").vectors.shape == (2, 8)


def test_processes_share_the_parts(manifest, embedder, tmp_path, monkeypatch):
    alone = embed_to_folder(tmp_path / "one", manifest, embedder, part_seconds=1.0)
    monkeypatch.setenv("WORLD_SIZE", "2")
    counter = embedder.embedding_model.counter
    shares = []
    for rank in (1, 0):  # the last one puts the table together
        counter["utterances"] = 0
        monkeypatch.setattr(embedding_folder, "get_rank", lambda rank=rank: rank)
        monkeypatch.setattr(embedding_folder, "if_main_process", lambda r=rank: r == 0)
        if rank == 1:  # does not wait for the other here, so there is no table yet
            with pytest.raises(FileNotFoundError):
                embed_to_folder(tmp_path / "two", manifest, embedder, part_seconds=1.0)
        else:
            table = embed_to_folder(
                tmp_path / "two", manifest, embedder, part_seconds=1.0
            )
        shares.append(counter["utterances"])
    assert sum(shares) == 12
    assert min(shares) >= 3
    np.testing.assert_array_equal(table.vectors, alone.vectors)


def test_parts_hold_every_utterance_once_and_about_equal_audio():
    lengths = np.random.default_rng(0).integers(1000, 9000, 500)
    parts = plan_parts(lengths, 50_000)
    assert sorted(np.concatenate(parts).tolist()) == list(range(500))
    audio = [lengths[rows].sum() for rows in parts]
    assert max(audio) < 50_000 + 9000
    assert min(audio[:-1]) > 50_000 - 9000
    assert lengths[parts[0]].min() >= lengths[parts[1]].max()


def test_missing_audio_is_named(manifest, embedder, tmp_path):
    os.remove(manifest[5].wav)
    with pytest.raises(
        FileNotFoundError, match=r"audio of 'u5' is not there: .*5\.wav"
    ):
        embed_to_folder(tmp_path / "t", manifest, embedder)
    with pytest.raises(ValueError, match="the manifest is empty"):
        embed_to_folder(tmp_path / "t", manifest.subset([]), embedder)


KILLED = """
import sys, time
from pathlib import Path
import torch
sys.path.insert(0, sys.argv[1])
import test_embedding_folder as t
from speechbrain_dino.embeddings.cache import embed_to_folder
from speechbrain_dino.models.embedder import Embedder
torch.manual_seed(0)
embedder = Embedder(t.Fbank(n_mels=20), t.MeanNorm(), t.Spread())
whole = embedder.embedding_model.forward
folder = Path(sys.argv[2])
def halting(feats, lengths):
    if list(folder.glob("t/parts-*/000001.npy")):
        time.sleep(3600)  # two parts are there: waits to be killed
    return whole(feats, lengths)
embedder.embedding_model.forward = halting
rows = t.make_manifest(folder)
rows.to_csv(folder / "all.csv")
embed_to_folder(folder / "t", rows, embedder, "model", part_seconds=1.0)
"""


def test_a_killed_process_loses_at_most_a_part(tmp_path):
    command = [sys.executable, "-c", KILLED, os.path.dirname(__file__), str(tmp_path)]
    process = subprocess.Popen(command, env=runs.environment())
    assert runs.until(lambda: list(tmp_path.glob("t/parts-*/000001.npy")))
    process.send_signal(signal.SIGKILL)
    process.wait()
    parts = {path: path.stat().st_mtime_ns for path in tmp_path.glob("t/parts-*/*.npy")}
    assert len(parts) >= 2
    assert not (tmp_path / "t" / "vectors.npy").exists()
    torch.manual_seed(0)
    embedder = Embedder(Fbank(n_mels=20), MeanNorm(), Spread())
    rows = Manifest.from_csv(tmp_path / "all.csv")
    resumed = embed_to_folder(tmp_path / "t", rows, embedder, "model", part_seconds=1.0)
    assert embedded(embedder) < 12
    whole = embed_to_folder(tmp_path / "w", rows, embedder, "model", part_seconds=1.0)
    np.testing.assert_array_equal(resumed.vectors, whole.vectors)


def test_tables_of_machines_that_choose_otherwise_are_not_mixed_up(
    monkeypatch, tmp_path, embedder, manifest, caplog
):
    vectors = {}
    for machine, instructions in (("old", False), ("new", True)):
        monkeypatch.setattr(precision, "cpu_has_bf16", lambda able=instructions: able)
        monkeypatch.setattr(precision, "measured_factor", lambda: 0.6)
        precision.resolved_precision.cache_clear()
        with caplog.at_level(logging.INFO):
            table = embed_to_folder(tmp_path, manifest, embedder, precision="auto")
        vectors[machine] = np.array(table.vectors)
    precision.resolved_precision.cache_clear()
    assert caplog.text.count("holds other embeddings: they are recomputed") == 1
    assert "precision fp32: chosen as this CPU has no bf16" in caplog.text
    for machine, name in (("old", "fp32"), ("new", "bf16")):
        table = embed_to_folder(tmp_path / name, manifest, embedder, precision=name)
        np.testing.assert_array_equal(vectors[machine], table.vectors)
    assert np.abs(vectors["old"] - vectors["new"]).max() > 0
