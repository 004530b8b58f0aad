"""Audio without speech gets no embedding unasked: it is named, and the rest goes on."""

import os

import numpy as np
import pytest
import soundfile
import torch
from speechbrain.lobes.features import Fbank

from speechbrain_dino.data.manifest import Manifest
from speechbrain_dino.embeddings.cache import embed_to_folder
from speechbrain_dino.embeddings.extract import embed
from speechbrain_dino.embeddings.table import EmbeddingTable
from speechbrain_dino.models.embedder import Embedder
from speechbrain_dino.models.features import MeanNorm
from speechbrain_dino.utils.ownership import NotOwnedError


class Spread(torch.nn.Module):
    """An embedding of 8 numbers that needs five frames, as ECAPA-TDNN does."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(20, 8)

    def forward(self, feats, lengths):
        if feats.shape[1] < 5:
            raise RuntimeError("padding size should be less than the input")
        return self.layer(feats.std(dim=1))


@pytest.fixture
def embedder():
    return Embedder(Fbank(n_mels=20), MeanNorm(), Spread())


def speech(samples=8000, seed=0):
    return np.random.default_rng(seed).uniform(-0.5, 0.5, samples)


BAD = {
    "zeros": ("silent", np.zeros(8000)),
    "dc": ("silent", np.full(8000, 0.25)),
    "dither": ("silent", np.random.default_rng(1).integers(0, 2, 8000) / 32768),
    "canceled": ("silent", np.stack([speech(), -speech()], 1)),
    "nan": ("non_finite", np.where(np.arange(8000) == 99, np.nan, speech())),
    "inf": ("non_finite", np.where(np.arange(8000) == 99, np.inf, speech())),
    "sample": ("too_short", np.ones(1) / 2),
    "blip": ("too_short", speech(1500)),
    "cut": ("past_end", speech(4000)),
    "text": ("unreadable", None),
    "nothing": ("missing", None),
}


@pytest.fixture
def manifest(tmp_path):
    """Good utterances at both ends, every kind of bad audio in between."""
    sounds = {"first": speech(seed=1), **{k: v[1] for k, v in BAD.items()}}
    rows = []
    for name, samples in (sounds | {"last": speech(9000, seed=2)}).items():
        wav, length = tmp_path / f"{name}.wav", 8000
        if samples is not None:
            soundfile.write(wav, samples, 16000, subtype="FLOAT")
            length = 8000 if name == "cut" else len(samples)
        elif name == "text":
            wav.write_text("version https://git-lfs.github.com/spec/v1\n")
        row = {"ID": name, "duration": length / 16000, "wav": str(wav), "start": 0}
        rows.append(row | {"stop": length})
    return Manifest.from_rows(rows)


KINDS = {name: kind for name, (kind, _) in BAD.items()}
# An encoder of five frames takes 1500 samples, but not one.
COMPUTABLE = ["zeros", "dc", "dither", "canceled", "blip"]


def good_alone(manifest, embedder):
    return embed(manifest.subset([0, len(manifest) - 1]), embedder).vectors


@pytest.mark.parametrize("keep", [False, True])
def test_bad_audio_is_named_and_the_rest_embedded(manifest, embedder, tmp_path, keep):
    on_bad = "keep" if keep else "skip"
    kept = COMPUTABLE if keep else []
    table = embed(manifest, embedder, on_bad=on_bad)
    assert table.status == KINDS
    assert sorted(table.ids) == sorted(["first", "last", *kept])
    ends = table.vectors[table.rows(["first", "last"])]
    np.testing.assert_allclose(ends, good_alone(manifest, embedder), atol=1e-4)
    saved = embed_to_folder(tmp_path / "t", manifest, embedder, on_bad=on_bad)
    assert (saved.status, saved.ids) == (table.status, table.ids)
    np.testing.assert_allclose(saved.vectors, table.vectors, atol=1e-4)
    again = EmbeddingTable.load(tmp_path / "t")
    assert again.status == KINDS
    lines = (tmp_path / "t" / "status.csv").read_text(encoding="utf-8").splitlines()
    assert lines[:2] == ["ID,wav,status", f"zeros,{manifest[1].wav},silent"]
    with pytest.raises(KeyError, match=r"'nan' \(its audio: non_finite\)"):
        again.rows(["nan"])


@pytest.mark.parametrize("name", list(BAD))
def test_fail_names_the_file_and_keeps_what_was_done(
    manifest, embedder, tmp_path, name
):
    row = list(manifest.ids).index(name)
    some = manifest.subset([0, row])
    # Of a missing file the state cannot be taken, so that comes first.
    match = "is not there" if name == "nothing" else rf"'{name}' .*\({KINDS[name]}\)"
    with pytest.raises((ValueError, FileNotFoundError), match=match):
        embed_to_folder(tmp_path / "t", some, embedder, on_bad="fail")
    table = embed_to_folder(tmp_path / "t", some, embedder, on_bad="skip")
    assert table.ids == ["first"]
    with pytest.raises((ValueError, FileNotFoundError), match=match):
        embed_to_folder(tmp_path / "t", some, embedder, on_bad="fail")


def test_if_all_is_bad_the_message_counts(manifest, embedder, tmp_path):
    bad = manifest.subset(np.arange(1, len(manifest) - 1))
    with pytest.raises(ValueError, match=r"no utterance could .*\n  4 silent, such as"):
        embed(bad, embedder, on_bad="skip")
    with pytest.raises(ValueError, match="no utterance could be embedded"):
        embed_to_folder(tmp_path / "t", bad, embedder, on_bad="skip")
    with pytest.raises(ValueError, match="on_bad is 'no'; expected one of skip"):
        embed(bad, embedder, on_bad="no")


def test_a_channel_instead_of_the_mean(manifest, embedder):
    row = list(manifest.ids).index("canceled")
    vectors = [
        embed(manifest.subset([row]), embedder, on_bad="skip", channel=channel).vectors
        for channel in ("left", "right")
    ]
    np.testing.assert_allclose(*vectors, atol=1e-3)  # features know no sign
    with pytest.raises(ValueError, match="channel is 'both'; expected one of mix"):
        embed(manifest, embedder, channel="both")


def test_silent_windows_of_a_long_recording_do_not_count(tmp_path, embedder):
    wav = tmp_path / "long.wav"
    parts = [speech(8000, 1), np.zeros(8000), speech(8000, 2)]
    soundfile.write(wav, np.concatenate(parts), 16000)
    row = {"ID": "long", "duration": 1.5, "wav": str(wav), "start": 0, "stop": 24000}
    windows = [
        row | {"ID": str(k), "start": 8000 * k, "stop": 8000 * (k + 1)} for k in (0, 2)
    ]
    expected = embed(Manifest.from_rows(windows), embedder).vectors.mean(0)
    table = embed(
        Manifest.from_rows([row]), embedder, window_seconds=0.5, on_bad="skip"
    )
    assert table.status == {}
    np.testing.assert_allclose(table.vectors[0], expected, atol=1e-4)
    soundfile.write(wav, np.concatenate(parts[:2]), 16000)  # the last window is gone
    with pytest.raises(ValueError, match="1 past_end"):
        embed(Manifest.from_rows([row]), embedder, window_seconds=0.5, on_bad="skip")


def test_an_embedding_that_overflows_is_named(manifest, embedder):
    class Overflowing(torch.nn.Module):
        def forward(self, feats, lengths):
            return feats.mean(dim=1) / (0.0 if feats.shape[1] == 57 else 1.0)

    embedder.embedding_model = Overflowing()
    ends = manifest.subset([0, len(manifest) - 1])
    table = embed(ends, embedder, on_bad="skip")
    assert (table.ids, table.status) == (["first"], {"last": "overflow"})


def test_recordings_up_to_two_minutes_keep_their_bits(tmp_path, embedder):
    """Windows are the default and change nothing below their length."""
    seen = []

    class Seen(Spread):
        def forward(self, feats, lengths):
            seen.append(tuple(feats.shape[:2]))
            return super().forward(feats, lengths)

    embedder.embedding_model = Seen()
    rows = []
    for name, seconds in (("short", 120), ("long", 121)):
        wav = tmp_path / f"{name}.wav"
        soundfile.write(wav, speech(16000 * seconds), 16000)
        row = {"ID": name, "duration": float(seconds), "wav": str(wav), "start": 0}
        rows.append(row | {"stop": 16000 * seconds})
    table = embed(Manifest.from_rows(rows), embedder)
    assert max(frames for _, frames in seen) == 12001
    whole = embed(Manifest.from_rows(rows[:1]), embedder, window_seconds=None)
    np.testing.assert_array_equal(table.vectors[0], whole.vectors[0])


def test_only_what_embedding_wrote_is_replaced(manifest, embedder, tmp_path):
    ends = manifest.subset([0, len(manifest) - 1])
    folder = tmp_path / "t"
    (folder / "parts-of-my-thesis").mkdir(parents=True)
    (folder / "parts-of-my-thesis" / "000001.npy").write_text("mine")
    (folder / "notes.txt").write_text("mine")
    embed_to_folder(folder, ends, embedder, part_seconds=0.5)
    embed_to_folder(folder, ends.subset([0]), embedder, part_seconds=0.5)
    assert (folder / "parts-of-my-thesis" / "000001.npy").read_text() == "mine"
    assert (folder / "notes.txt").read_text() == "mine"
    (tmp_path / "u").mkdir()
    (tmp_path / "u" / "ids.txt").write_text("mine")
    with pytest.raises(NotOwnedError, match=r"u/ids\.txt is in the way"):
        embed_to_folder(tmp_path / "u", ends, embedder)
    assert (tmp_path / "u" / "ids.txt").read_text() == "mine"


def test_a_table_made_before_there_were_marks_is_replaced(manifest, embedder, tmp_path):
    ends = manifest.subset([0, len(manifest) - 1])
    embed_to_folder(tmp_path / "t", ends, embedder)
    os.remove(tmp_path / "t" / "owner.json")
    table = embed_to_folder(tmp_path / "t", ends.subset([1]), embedder)
    assert table.ids == ["last"]
