"""Kaldi's log-mels against torchaudio's, one waveform after the other."""

import numpy as np
import pytest
import soundfile as sf
import torch
from speechbrain.inference.classifiers import EncoderClassifier
from torch._subclasses.fake_tensor import FakeTensorMode
from torchaudio.compliance.kaldi import fbank

from speechbrain_dino.embeddings.export import export_inference_folder
from speechbrain_dino.models.embedder import Embedder, relative_lengths
from speechbrain_dino.models.encoders import LResNet34
from speechbrain_dino.models.features import MeanNorm
from speechbrain_dino.models.kaldi_features import KaldiFbank


def slow(wave, n_mels=80, **options):
    """Torchaudio's, of one waveform (time,) in -1..1."""
    return fbank(wave[None] * 32768, num_mel_bins=n_mels, **options)


@pytest.mark.parametrize("window", ["povey", "hamming", "hanning", "rectangular"])
@pytest.mark.parametrize("snip_edges", [True, False])
@pytest.mark.parametrize("samples", [400, 559, 560, 561, 16079, 48240])
def test_equals_torchaudios(window, snip_edges, samples):
    waves = 0.1 * torch.randn(3, samples)
    waves[1] = 0  # digital silence
    waves[2] = torch.randint(-3, 4, (samples,)) / 32768  # next to it
    features = KaldiFbank(window=window, snip_edges=snip_edges, f_max=7600)
    options = {"window_type": window, "snip_edges": snip_edges, "high_freq": 7600}
    for wave, feats in zip(waves, features(waves), strict=True):
        torch.testing.assert_close(feats, slow(wave, **options), atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    "ours, theirs",
    [
        ({"n_mels": 40, "f_min": 0}, {"n_mels": 40, "low_freq": 0}),
        ({"preemphasis": 0.0}, {"preemphasis_coefficient": 0.0}),
        ({"remove_dc": False}, {"remove_dc_offset": False}),
        ({"win_length": 20, "hop_length": 5}, {"frame_length": 20, "frame_shift": 5}),
        ({"sample_rate": 8000}, {"sample_frequency": 8000}),
    ],
)
def test_options_are_torchaudios(ours, theirs):
    wave = 0.1 * torch.randn(16000) + 0.05
    feats = KaldiFbank(**ours)(wave[None])[0]
    torch.testing.assert_close(feats, slow(wave, **theirs), atol=1e-4, rtol=0)


def test_equals_torchaudios_on_real_speech(voxceleb_mini):
    features = KaldiFbank(window="hamming")
    paths = sorted((voxceleb_mini / "wav").rglob("*.flac"))[::200]
    assert len(paths) > 5
    for path in paths:
        wave = torch.from_numpy(sf.read(path, dtype="float32")[0])
        expected = slow(wave, window_type="hamming")
        torch.testing.assert_close(features(wave[None])[0], expected, atol=1e-4, rtol=0)


def test_dither_is_gaussian_and_of_training_alone():
    """Of silence, log-mels as torchaudio's with as much dither."""
    features = KaldiFbank(dither=1.0)
    silence = torch.zeros(20, 16000)
    torch.manual_seed(0)
    feats = features(silence)
    expected = slow(silence[0].repeat(20), dither=1.0)
    mean = feats.flatten(0, 1).exp().mean(0) / expected.exp().mean(0)
    assert (mean.log().abs() < 0.15).all()
    torch.manual_seed(0)
    torch.testing.assert_close(features(silence), feats)  # by the step's seed
    assert not torch.equal(features(silence), feats)
    features.eval()
    torch.testing.assert_close(features(silence)[0], slow(silence[0]))


def test_energy_floor():
    feats = KaldiFbank(energy_floor=2.0)(torch.zeros(1, 800))
    torch.testing.assert_close(feats, torch.full_like(feats, np.log(2)))


def test_what_follows_changes_no_frame():
    features, samples = KaldiFbank(), torch.tensor([16000, 15999, 720, 400, 100])
    padded = torch.zeros(5, 16000)
    rows = [0.1 * torch.randn(n) for n in samples.tolist()]
    for row, wave in zip(padded, rows):
        row[: len(wave)] = wave
    feats = features(padded)
    for row, wave in zip(feats, rows):
        alone = features(wave[None])[0]
        assert len(alone) == features.frames(len(wave))
        torch.testing.assert_close(row[: len(alone)], alone)
    assert features.frames(samples).tolist() == [98, 98, 3, 1, 1]
    lengths = relative_lengths(features, samples, 16000)
    assert (lengths * 98).round().tolist() == [98, 98, 3, 1, 1]


def test_every_length_is_another_where_samples_are_reflected():
    samples = torch.tensor([16000, 16001])
    assert KaldiFbank(snip_edges=False).frames(samples).tolist() == [16000, 16001]


def test_it_stays_on_the_device_and_in_float32():
    with FakeTensorMode(allow_non_fake_inputs=True):
        features = KaldiFbank(dither=1.0).to("cuda")
        with torch.autocast("cuda", dtype=torch.bfloat16):
            feats = features(torch.rand(2, 8000, device="cuda"))
    assert (feats.device.type, feats.dtype) == ("cuda", torch.float32)


def test_exported_features_embed_alike(tmp_path):
    """In SpeechBrain's class, without dither."""
    yaml = (
        "compute_features: !new:speechbrain_dino.models.kaldi_features.KaldiFbank\n"
        "    n_mels: 80\n    window: hamming\n    dither: 1.0\n"
        "mean_var_norm: !new:speechbrain_dino.models.features.MeanNorm\n"
        "embedding_model: !new:speechbrain_dino.models.encoders.LResNet34\n"
        "    channels: [4, 4, 8, 8]\n    lin_neurons: 16\n"
    )
    (tmp_path / "run.yaml").write_text(yaml, encoding="utf-8")
    encoder = LResNet34(channels=[4, 4, 8, 8], lin_neurons=16)
    features = KaldiFbank(window="hamming", dither=1.0)
    embedder = Embedder(features, MeanNorm(), encoder).eval()
    folder = export_inference_folder(tmp_path, tmp_path / "run.yaml", embedder)
    model = EncoderClassifier.from_hparams(str(folder))
    waves = 0.1 * torch.randn(2, 16000)
    with torch.no_grad():
        expected = embedder(waves)
    torch.testing.assert_close(model.encode_batch(waves)[:, 0], expected)


@pytest.mark.parametrize("options", [{"window": "kaiser"}, {"f_max": 9000}])
def test_wrong_options_are_refused(options):
    with pytest.raises(ValueError, match=r"window is 'kaiser'|f_max 9000 Hz"):
        KaldiFbank(**options)
