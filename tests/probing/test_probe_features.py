"""Sources of a probe: what they give, what they cost, what is refused."""

import numpy as np
import pytest
import torch
from test_embedding_folder import make_manifest
from test_pretrained import export

from speechbrain_dino.embeddings.extract import embed
from speechbrain_dino.embeddings.pretrained import load_pretrained
from speechbrain_dino.probing.sources import (
    MFCCStatistics,
    PretrainedEncoder,
    UntrainedEncoder,
    compared,
)


@pytest.fixture
def manifest(tmp_path):
    return make_manifest(tmp_path, 6)


def test_layers_of_a_trained_encoder(tmp_path, manifest):
    folder = export(tmp_path / "run", 1)
    loaded = PretrainedEncoder(folder).load(manifest, 16000)
    assert list(loaded.columns) == ["embedding", "pooled", "both"]
    vectors = embed(manifest, loaded.embedder).vectors
    alone = embed(manifest, load_pretrained(folder).embedder).vectors
    np.testing.assert_allclose(
        vectors[:, loaded.columns["embedding"]], alone, atol=1e-5
    )
    assert vectors[:, loaded.columns["pooled"]].shape == (6, 32)
    assert vectors[:, loaded.columns["both"]].shape == (6, 38)
    only = PretrainedEncoder(folder, "embedding").load(manifest, 16000)
    assert only.digest == load_pretrained(folder).digest != loaded.digest
    pooled = PretrainedEncoder(folder, ["pooled"], "fc").load(manifest, 16000)
    assert list(pooled.columns) == ["pooled"] and pooled.digest == loaded.digest


def test_an_untrained_encoder_has_the_same_layers(tmp_path, manifest):
    folder = export(tmp_path / "run", 1)
    loaded = UntrainedEncoder(folder, seed=3).load(manifest, 16000)
    vectors = embed(manifest, loaded.embedder).vectors
    assert vectors.shape == (6, 38) and np.isfinite(vectors).all()
    trained = PretrainedEncoder(folder).load(manifest, 16000)
    assert loaded.digest != trained.digest
    assert np.abs(vectors - embed(manifest, trained.embedder).vectors).max() > 0.1


def test_mfcc_statistics(manifest):
    for deltas, size in ((False, 40), (True, 120)):
        loaded = MFCCStatistics(deltas=deltas).load(manifest, 16000)
        table = embed(manifest, loaded.embedder)
        assert table.vectors.shape == (6, size)
        # Alone as in a batch with others.
        alone = embed(manifest, loaded.embedder, batch_seconds=0)
        np.testing.assert_allclose(table.vectors, alone.vectors, atol=1e-4)
        wave = torch.randn(1, 16000)
        with torch.no_grad():
            mfcc = loaded.embedder.compute_features(wave)[0]
            statistics = loaded.embedder(wave)[0]
        torch.testing.assert_close(statistics[: size // 2], mfcc.mean(0))
        torch.testing.assert_close(statistics[size // 2 :], mfcc.std(0, correction=0))


def test_what_is_compared():
    systems = {"mfcc": MFCCStatistics()}
    further = {"x": "a/b", "y": {"source": "c", "layers": ["pooled"]}}
    sources = compared(systems, further, ["embedding"])
    assert [s.layers for s in list(sources.values())[1:]] == [["embedding"], ["pooled"]]
    assert compared(systems, None) == systems
    for name in ("mfcc", "a/b", ""):
        with pytest.raises(ValueError, match="compare: "):
            compared(systems, {name: "a/b"})
    with pytest.raises(ValueError, match=r"layers \['last'\]: expected some of"):
        PretrainedEncoder("a/b", "last")
