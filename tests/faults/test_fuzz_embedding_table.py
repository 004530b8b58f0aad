"""Embedding tables that are cut or have flipped bits: named, or computed again.

The long form: ``FAULTS_EXAMPLES=10000 python -m pytest tests/faults``.
"""

import os
import shutil

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings, strategies as st
from speechbrain.lobes.features import Fbank

from speechbrain_dino.data.manifest import Manifest
from speechbrain_dino.embeddings.cache import embed_to_folder
from speechbrain_dino.embeddings.table import EmbeddingTable
from speechbrain_dino.models.embedder import Embedder
from speechbrain_dino.models.features import MeanNorm

EXAMPLES = int(os.environ.get("FAULTS_EXAMPLES", 40))
FILES = ("vectors.npy", "ids.txt", "status.csv", "table.json")


class Mean(torch.nn.Module):
    def forward(self, feats, lengths):
        return feats.std(dim=1)


@pytest.fixture(scope="module")
def embedded(tmp_path_factory):
    """A table with bad audio, what it was made of, and parts of one not finished."""
    folder = tmp_path_factory.mktemp("fuzz")
    rows = []
    for number in range(6):
        samples = np.random.default_rng(number).uniform(-0.5, 0.5, 4000)
        wav = folder / f"{number}.wav"
        soundfile.write(wav, samples * (number != 3), 16000)
        row = {"ID": f"u{number}", "duration": 0.25, "wav": str(wav), "start": 0}
        rows.append(row | {"stop": 4000})
    manifest = Manifest.from_rows(rows)
    embedder = Embedder(Fbank(n_mels=4), MeanNorm(), Mean())
    options = {"on_bad": "skip", "part_seconds": 0.5}

    def make(name, **changed):
        where = folder / name
        return embed_to_folder(where, manifest, embedder, "m", **options | changed)

    whole = make("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "speechbrain_dino.embeddings.cache._assemble",
            lambda *_: (_ for _ in ()).throw(KeyboardInterrupt),
        )
        with pytest.raises(KeyboardInterrupt):
            make("parts")
    return folder, make, np.array(whole.vectors), whole.status


def damages():
    cut = st.tuples(st.just("cut"), st.floats(0, 1, exclude_max=True), st.just(0))
    flip = st.tuples(
        st.just("flip"), st.floats(0, 1, exclude_max=True), st.integers(0, 7)
    )
    return st.one_of(cut, flip)


def damage(path, how):
    kind, place, bit = how
    content = bytearray(path.read_bytes())
    position = int(place * len(content))
    if kind == "cut":
        content = content[:position]
    elif content:
        content[position] ^= 1 << bit
    path.write_bytes(content)


@settings(max_examples=EXAMPLES)
@given(name=st.sampled_from(FILES), how=damages())
def test_a_damaged_table_is_refused_or_computed_again(embedded, name, how):
    folder, make, vectors, status = embedded
    copy = folder / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(folder / "whole", copy)
    damage(copy / name, how)
    try:
        table = EmbeddingTable.load(copy)
    except ValueError as error:
        assert str(copy) in str(error) and "is damaged" in str(error)
    else:  # it is what table.json says beside the checksums that has changed
        assert name == "table.json"
        np.testing.assert_array_equal(table.vectors, vectors)
        assert table.status == status
    again = make("copy")
    np.testing.assert_array_equal(again.vectors, vectors)
    assert (again.ids, again.status) == (["u0", "u1", "u2", "u4", "u5"], status)


@settings(max_examples=EXAMPLES)
@given(number=st.integers(0, 5), how=damages())
def test_a_damaged_part_is_computed_again(embedded, number, how):
    folder, make, vectors, status = embedded
    copy = folder / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(folder / "parts", copy)
    files = sorted(copy.glob("parts-*/0*"))
    damage(files[number % len(files)], how)
    table = make("copy")
    np.testing.assert_array_equal(table.vectors, vectors)
    assert table.status == status


@settings(max_examples=EXAMPLES)
@given(name=st.sampled_from(FILES[:3]), how=damages())
def test_without_checksums_damage_is_an_error_of_its_own_or_seen_by_nobody(
    embedded, name, how
):
    """A table that another program made: no traceback of NumPy's, whatever is in it."""
    folder, _, _, _ = embedded
    copy = folder / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(folder / "whole", copy)
    (copy / "table.json").unlink()
    damage(copy / name, how)
    try:
        EmbeddingTable.load(copy)
    except ValueError as error:
        assert str(copy) in str(error)
