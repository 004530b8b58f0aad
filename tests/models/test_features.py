"""Mean normalization."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from speechbrain.lobes.features import MFCC, Fbank
from speechbrain.processing.features import Filterbank, InputNormalization
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torchaudio.transforms import MelSpectrogram

from speechbrain_dino.models.features import FastFbank, MeanNorm, move_constants


def slow(feats, window):
    """Each frame minus the mean of the frames around it, one after another."""
    result = np.empty_like(feats)
    for t in range(len(feats)):
        near = feats
        if window is not None and len(feats) > window:
            near = feats[max(t - window // 2, 0) : t - window // 2 + window]
        result[t] = feats[t] - near.mean(axis=0)
    return result


@given(st.integers(1, 60), st.one_of(st.none(), st.integers(1, 70)))
@settings(max_examples=60, deadline=None)
def test_equals_the_obvious_version(frames, window):
    feats = np.random.default_rng(frames).normal(50, 30, (2, frames, 3))
    norm = MeanNorm(None if window is None else window * 0.01)
    for row, result in zip(feats, norm(torch.from_numpy(feats).float())):
        np.testing.assert_allclose(result.numpy(), slow(row, window), atol=2e-4)


@pytest.mark.parametrize("window", [None, 0.05, 0.3, 3.0])
def test_padded_equals_alone(window):
    frames = [40, 25, 7, 1]
    alone = [torch.randn(n, 4) * 20 for n in frames]
    batch = torch.randn(4, 40, 4) * 1000
    for row, feats in zip(batch, alone):
        row[: len(feats)] = feats
    norm = MeanNorm(window)
    result = norm(batch, torch.tensor(frames) / 40)
    for row, feats in zip(result, alone):
        torch.testing.assert_close(row[: len(feats)], norm(feats[None])[0])
        assert (row[len(feats) :] == 0).all()


def test_with_variance_equals_instance_norm():
    scale = torch.tensor([0.0, 1e-3, 0.1, 1.0, 9.0, 30.0])
    feats = (torch.randn(3, 50, 6) * scale + 7).double()
    expected = torch.nn.InstanceNorm1d(6)(feats.transpose(1, 2)).transpose(1, 2)
    torch.testing.assert_close(MeanNorm(variance=True)(feats), expected)


def test_variance_of_padded_equals_alone():
    feats = torch.randn(1, 30, 4) * 20 + 3
    norm = MeanNorm(variance=True)
    batch = torch.cat([feats, torch.full((1, 10, 4), 1e3)], dim=1)
    result = norm(batch, torch.tensor([0.75]))
    torch.testing.assert_close(result[:, :30], norm(feats))
    assert (result[:, 30:] == 0).all()


def test_variance_in_a_window_is_an_error():
    with pytest.raises(ValueError, match="leave one of them out"):
        MeanNorm(window_seconds=3.0, variance=True)


def test_long_utterance_keeps_its_digits():
    feats = torch.randn(1, 60000, 1) + 1e3
    result = MeanNorm(3.0)(feats)[0, :, 0]
    for t in (150, 30000, 59800):
        expected = feats[0, t].double() - feats[0, t - 150 : t + 150].double().mean()
        assert result[t].item() == pytest.approx(expected.item(), abs=2e-4)


def test_gain_of_the_recording_does_not_matter():
    feats = torch.randn(2, 400, 80)
    norm = MeanNorm(3.0)
    torch.testing.assert_close(norm(feats + 12.0), norm(feats), atol=1e-4, rtol=0)


@pytest.mark.parametrize("device", ["cuda", "cpu"])
@pytest.mark.parametrize("shape", ["triangular", "rectangular", "gaussian"])
def test_a_moved_filterbank_stays_on_one_device(device, shape):
    """On tensors that claim to be on the device, also where there is none."""
    with FakeTensorMode(allow_non_fake_inputs=True):
        filters = Filterbank(filter_shape=shape)
        move_constants(filters, device)
        assert filters(torch.rand(2, 50, 201, device=device)).device.type == device


@pytest.mark.parametrize("kind", [Fbank, MFCC])
def test_moved_features_stay_on_one_device(kind):
    with FakeTensorMode(allow_non_fake_inputs=True):
        features = kind(deltas=True, context=True).to("cuda")
        move_constants(features, "cuda")
        assert features(torch.rand(2, 8000, device="cuda")).device.type == "cuda"
        move_constants(features, "cpu")
        assert features.cpu()(torch.rand(2, 8000)).device.type == "cpu"


def test_moved_statistics_of_the_input_stay_on_one_device(tmp_path):
    norm = InputNormalization()
    norm(torch.rand(2, 50, 4), torch.ones(2))
    norm._save(tmp_path / "norm.ckpt")
    move_constants(norm, "meta")
    assert norm.glob_mean.device.type == norm.glob_std.device.type == "meta"
    # What is recovered from a checkpoint follows.
    norm._load(tmp_path / "norm.ckpt")
    assert norm.glob_mean.device.type == norm.glob_std.device.type == "meta"


def voices(seconds=2.0, rate=16000):
    """Low, loud harmonics of a gliding pitch with pauses, and faint noise."""
    rng = np.random.default_rng(1)
    t = np.arange(int(seconds * rate)) / rate
    phase = 2 * np.pi * np.cumsum(120 + 30 * np.sin(2 * np.pi * t)) / rate
    wave = sum(np.sin(k * phase) / k**2 for k in range(1, 20))
    wave = wave * (np.sin(3 * np.pi * t) > -0.3) + 1e-4 * rng.standard_normal(len(t))
    return torch.from_numpy(0.1 * wave).float()[None]


@pytest.mark.parametrize("window", ["hann", "hamming"])
def test_features_of_voxceleb_trainers_descendants(window):
    """Log-mels of torchaudio and InstanceNorm1d, as sslsv and 3D-Speaker have them."""
    sizes = {"n_fft": 512, "n_mels": 40, "sample_rate": 16000}
    functions = {"hann": torch.hann_window, "hamming": torch.hamming_window}
    theirs = MelSpectrogram(
        win_length=400, hop_length=160, window_fn=functions[window], **sizes
    )
    expected = nn.InstanceNorm1d(40)((theirs(voices()) + 1e-6).log()).transpose(1, 2)
    similar = {}
    for name in functions:
        ours = FastFbank(name, f_min=0, f_max=8000, **sizes)
        feats = MeanNorm(variance=True)(ours(voices()))
        assert feats.shape == expected.shape
        similar[name] = torch.cosine_similarity(feats, expected, dim=1).min().item()
    other = "hann" if window == "hamming" else "hamming"
    assert similar[window] > 0.95 > similar[other]  # of each mel over time


def test_unknown_windows_are_refused():
    with pytest.raises(ValueError, match="window is 'kaiser'"):
        FastFbank("kaiser")


@pytest.mark.parametrize(
    "options",
    [
        {"n_mels": 80, "n_fft": 512, "f_min": 20, "f_max": 7600},
        {"n_mels": 40},
        {"n_mels": 24, "win_length": 20, "hop_length": 5, "n_fft": 441},
        {"sample_rate": 8000, "n_fft": 256},
        {"n_mels": 20, "filter_shape": "gaussian"},
        {"n_mels": 20, "filter_shape": "rectangular", "deltas": True, "context": True},
        {"n_mels": 20, "requires_grad": True},
    ],
)
@pytest.mark.parametrize("time", [1, 160, 401, 16000, 83111])
def test_fast_features_are_speechbrains(options, time):
    waves = 0.1 * torch.randn(3, time)
    waves[1] = 0
    waves[2, time // 2 :] *= 1e-3
    expected, feats = Fbank(**options)(waves), FastFbank(**options)(waves)
    torch.testing.assert_close(feats, expected, atol=1e-3, rtol=0)  # dB


def test_fast_features_of_voices_are_speechbrains():
    options = {"n_mels": 80, "n_fft": 512, "f_min": 20, "f_max": 7600}
    expected, feats = Fbank(**options)(voices(70.0)), FastFbank(**options)(voices(70.0))
    # Bands 70 dB below the loudest have few digits left.
    torch.testing.assert_close(feats, expected, atol=0.02, rtol=0)
    assert (feats - expected).abs().mean() < 1e-4


def test_fast_features_stay_on_the_device_and_in_float32():
    with FakeTensorMode(allow_non_fake_inputs=True):
        features = FastFbank(n_mels=80).to("cuda")
        with torch.autocast("cuda", dtype=torch.bfloat16):
            feats = features(torch.rand(2, 8000))  # as after SpeechBrain's ``to``
    assert (feats.device.type, feats.dtype) == ("cuda", torch.float32)


def test_fast_features_have_the_state_of_speechbrains():
    assert FastFbank().state_dict().keys() == Fbank().state_dict().keys()
