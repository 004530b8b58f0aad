"""Batches change no embedding; the table keeps names and rows together."""

import numpy as np
import pytest
import soundfile
import torch
from speechbrain.lobes.features import MFCC, Fbank
from speechbrain.lobes.models.ECAPA_TDNN import ECAPA_TDNN
from speechbrain.lobes.models.ResNet import ResNet
from speechbrain.lobes.models.Xvector import Xvector
from speechbrain.processing.features import InputNormalization

from speechbrain_dino.data.manifest import Manifest
from speechbrain_dino.embeddings.extract import (
    Embedder,
    EmbeddingTable,
    embed,
    plan_batches,
)
from speechbrain_dino.models.encoders import LResNet34
from speechbrain_dino.models.features import MeanNorm

ENCODERS = {
    "ecapa": lambda: ECAPA_TDNN(80, lin_neurons=24, channels=[16] * 4 + [48]),
    "resnet": lambda: ResNet(80, channels=[8, 8, 8, 8], lin_neurons=24),
    "xvector": lambda: Xvector(
        in_channels=80, tdnn_channels=[16] * 4 + [48], lin_neurons=24
    ),
    "lresnet34": lambda: LResNet34(80, channels=(4, 8, 8, 8), lin_neurons=24),
}
# 101 frames: 16000..16159 samples; 120 frames: 19100; 9 frames: 1300..1400.
LENGTHS = [16000, 16159, 19100, 16080, 1300, 1400, 16001, 30000]


def make(encoder, norm=None, features=None):
    """An embedder whose normalization layers have statistics of a batch."""
    model = ENCODERS[encoder]()
    model.train()
    for _ in range(2):
        model(4 * torch.randn(4, 60, 80))
    norm = norm or InputNormalization(norm_type="sentence", std_norm=False)
    return Embedder(features or Fbank(n_mels=80, f_min=20, f_max=7600), norm, model)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    """Utterances of several lengths, one of them ending in digital silence."""
    folder = tmp_path_factory.mktemp("wav")
    rng = np.random.default_rng(0)
    rows = []
    for i, length in enumerate(LENGTHS):
        wav = rng.normal(0, 0.1 * 10 ** -(i % 3), length)
        if i == 3:
            wav[-3000:] = 0
        path = folder / f"{i}.wav"
        soundfile.write(path, wav, 16000)
        rows.append(
            {
                "ID": f"u{i}",
                "duration": length / 16000,
                "wav": str(path),
                "start": 0,
                "stop": length,
            }
        )
    return Manifest.from_rows(rows)


def one_by_one(manifest, embedder):
    """Each file alone, whole, straight through the embedder."""
    embedder.eval()
    with torch.no_grad():
        wavs = [soundfile.read(u.wav, dtype="float32")[0] for u in manifest]
        return torch.cat([embedder(torch.tensor(w)[None]) for w in wavs]).numpy()


@pytest.mark.parametrize("norm", ["sentence", "window"])
@pytest.mark.parametrize("encoder", ENCODERS)
def test_a_batch_gives_what_each_utterance_gives_alone(manifest, encoder, norm):
    norm = MeanNorm(window_seconds=0.3) if norm == "window" else None
    embedder = make(encoder, norm)
    sizes = []
    hook = embedder.embedding_model.register_forward_pre_hook(
        lambda module, args: sizes.append(len(args[0]))
    )
    table = embed(manifest, embedder)
    assert sorted(sizes) == ([8] if embedder.masks_padding else [1, 1, 2, 4])
    hook.remove()
    expected = one_by_one(manifest, embedder)
    assert expected.shape == (8, 24)
    length = np.linalg.norm(expected, axis=1, keepdims=True)
    assert np.abs((expected[0] - expected[1]) / length[0]).max() > 1e-3
    assert np.abs((table.vectors - expected) / length).max() < 1e-4
    assert table.ids == [f"u{i}" for i in range(8)]


@pytest.mark.parametrize("features", [Fbank, MFCC])
def test_zero_padding_within_a_frame_changes_no_feature(features):
    compute = features(n_mels=80)
    embedder = Embedder(compute, MeanNorm(), torch.nn.Identity())
    wav = 0.1 * torch.randn(16000)
    alone = compute(wav[None])
    padded = torch.zeros(1, 16159)
    padded[0, :16000] = wav
    assert embedder.frames(16000) == embedder.frames(16159) == alone.shape[1]
    assert embedder.frames(16160) == alone.shape[1] + 1
    torch.testing.assert_close(compute(padded), alone, atol=1e-4, rtol=0)


def test_unknown_features_share_a_batch_only_at_equal_length():
    features = torch.nn.Identity()
    embedder = Embedder(features, MeanNorm(), torch.nn.Identity())
    assert len(set(embedder.frames(np.array([16000, 16001, 16002])))) == 3


class MaskedMean(torch.nn.Module):
    """An encoder that leaves padding out."""

    masks_padding = True

    def forward(self, feats, lengths):
        ends = (lengths * feats.shape[1]).round()
        mask = torch.arange(feats.shape[1]) < ends[:, None]
        total = (feats.exp() * mask[..., None]).sum(dim=1)
        return total / mask.sum(dim=1, keepdim=True)


def test_an_encoder_that_masks_padding_gets_mixed_batches(manifest):
    embedder = Embedder(Fbank(n_mels=80), MeanNorm(), MaskedMean())
    sizes = []
    embedder.embedding_model.register_forward_pre_hook(
        lambda module, args: sizes.append(len(args[0]))
    )
    table = embed(manifest, embedder)
    assert sizes == [8]
    expected = one_by_one(manifest, embedder)
    np.testing.assert_allclose(table.vectors, expected, rtol=1e-3)


@pytest.mark.parametrize("seconds", [0.5, 2.1, 1000])
def test_batches_are_bounded_and_complete(seconds):
    rng = np.random.default_rng(1)
    lengths = rng.integers(1000, 50000, 300)
    groups = 1 + lengths // 4000
    bound = seconds * 16000
    batches = plan_batches(lengths, groups, bound)
    assert sorted(np.concatenate(batches)) == list(range(300))
    for batch in batches:
        assert len(set(groups[batch])) == 1
        assert len(batch) == 1 or len(batch) * lengths[batch].max() <= bound
    longest = [lengths[batch].max() for batch in batches]
    assert longest[0] == lengths.max()


def test_only_the_beginning_of_long_utterances_is_used(manifest):
    embedder = make("ecapa")
    table = embed(manifest, embedder, max_seconds=1.0)
    with torch.no_grad():
        wavs = [soundfile.read(u.wav, dtype="float32")[0][:16000] for u in manifest]
        expected = torch.cat([embedder.eval()(torch.tensor(w)[None]) for w in wavs])
    np.testing.assert_allclose(table.vectors, expected.numpy(), atol=1e-4, rtol=1e-4)


def test_bf16_is_near(manifest):
    embedder = make("ecapa")
    exact = embed(manifest, embedder).vectors
    table = embed(manifest, embedder, precision="bf16")
    cosine = (exact * table.vectors).sum(1) / (
        np.linalg.norm(exact, axis=1) * np.linalg.norm(table.vectors, axis=1)
    )
    assert cosine.min() > 0.99
    assert np.abs(exact - table.vectors).max() > 0
    with pytest.raises(ValueError, match="is fp16, which is for GPUs"):
        embed(manifest, embedder, precision="fp16")
    with pytest.raises(ValueError, match="is 'half'; expected one of auto, bf16, fp"):
        embed(manifest, embedder, precision="half")


def test_modes_and_weights_stay_as_they_were(manifest):
    embedder = make("ecapa").train()
    embedder.embedding_model.mfa.eval()
    modes = [module.training for module in embedder.modules()]
    state = {k: v.clone() for k, v in embedder.state_dict().items()}
    embed(manifest, embedder)
    assert [module.training for module in embedder.modules()] == modes
    assert all(torch.equal(v, state[k]) for k, v in embedder.state_dict().items())


def test_what_is_wrong_is_named(manifest):
    class Broken(torch.nn.Module):
        def forward(self, feats, lengths):
            return feats.mean(dim=1) / (0.0 if feats.shape[1] == 120 else 1.0)

    embedder = Embedder(Fbank(n_mels=80), MeanNorm(), Broken())
    with pytest.raises(ValueError, match="'u2' is not finite"):
        embed(manifest, embedder)
    with pytest.raises(ValueError, match="the manifest is empty"):
        embed(manifest.subset([]), embedder)
    wav = manifest[0].wav
    long = {"ID": "l", "duration": 2.0, "wav": wav, "start": 0, "stop": 32000}
    with pytest.raises(ValueError, match=r"0\.wav"):
        embed(Manifest.from_rows([long]), embedder)


def test_the_table_survives_a_round_trip(tmp_path):
    vectors = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    ids = ["id1/a b/1.wav", "ü", "c", "d"]
    EmbeddingTable(ids, vectors).save(tmp_path / "t")
    table = EmbeddingTable.load(tmp_path / "t")
    assert table.ids == ids
    np.testing.assert_array_equal(table.vectors, vectors)
    assert table.rows(["d", "c", "d"]).tolist() == [3, 2, 3]
    with pytest.raises(KeyError, match="no embedding of 'x'"):
        table.rows(["c", "x"])


def test_the_table_rejects_what_does_not_fit():
    with pytest.raises(ValueError, match=r"2 names .*\(3, 2\)"):
        EmbeddingTable(["a", "b"], np.zeros((3, 2)))
    with pytest.raises(ValueError, match="'a' occurs twice"):
        EmbeddingTable(["a", "b", "a"], np.zeros((3, 2)))


def test_long_utterances_are_the_mean_of_equal_windows(manifest):
    embedder = make("lresnet34").eval()
    table = embed(manifest, embedder, window_seconds=0.5, batch_seconds=2.0)
    for row, length in enumerate(LENGTHS):
        wav, _ = soundfile.read(manifest[row].wav, dtype="float32")
        count = -(-length // 8000)
        edges = [k * length // count for k in range(1, count)]
        windows = np.split(wav, edges)
        with torch.no_grad():
            each = [embedder(torch.from_numpy(w)[None])[0].numpy() for w in windows]
        expected = np.mean(each, axis=0)
        np.testing.assert_allclose(table.vectors[row], expected, atol=1e-4)
    with pytest.raises(ValueError, match="window_seconds must be positive"):
        embed(manifest, embedder, window_seconds=-1)
