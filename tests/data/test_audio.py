"""Reading speech as 16-bit samples."""

import numpy as np
import pytest
import soundfile as sf
from hypothesis import HealthCheck, given, settings, strategies as st

from speechbrain_dino.data.audio import read_int16, read_span, read_utterance
from speechbrain_dino.data.manifest import Utterance

FRAMES = 400


@pytest.fixture(scope="module")
def ramp(tmp_path_factory):
    """A file whose samples are their positions."""
    path = tmp_path_factory.mktemp("audio") / "ramp.wav"
    sf.write(path, np.arange(FRAMES, dtype=np.int16), 16000)
    return str(path)


def utterance(wav, start=0, stop=FRAMES, speech=None):
    return Utterance("a", (stop - start) / 16000, wav, start, stop, None, speech)


def test_float_file_has_the_samples_of_the_integer_file(tmp_path):
    samples = np.array([-32768, -20000, -1, 0, 1, 12345, 32767], dtype=np.int16)
    for subtype in ("PCM_16", "PCM_24", "FLOAT", "DOUBLE"):
        sf.write(tmp_path / "a.wav", samples / 32768, 16000, subtype=subtype)
        np.testing.assert_array_equal(read_int16(tmp_path / "a.wav"), samples)


def test_float_file_beyond_full_scale_is_clipped_not_wrapped(tmp_path):
    sf.write(tmp_path / "a.wav", np.array([-3.0, 1.0, 3.0]), 16000, subtype="FLOAT")
    assert read_int16(tmp_path / "a.wav").tolist() == [-32768, 32767, 32767]


@pytest.mark.parametrize("subtype", ["PCM_16", "FLOAT"])
def test_channels_are_averaged(tmp_path, subtype):
    stereo = np.array([[100, 300], [-32768, -32768], [32767, 32767], [-5, 8]])
    sf.write(tmp_path / "a.wav", stereo / 32768, 16000, subtype=subtype)
    assert read_int16(tmp_path / "a.wav").tolist() == [200, -32768, 32767, 2]


@pytest.mark.parametrize("name", ["a.flac", "a.ogg", "a.mp3"])
def test_other_formats_have_the_level_of_the_original(tmp_path, name):
    tone = 0.5 * np.sin(np.arange(16000) * 2 * np.pi * 440 / 16000)
    sf.write(tmp_path / name, tone, 16000)
    samples = read_int16(tmp_path / name) / 32768
    assert np.sqrt(np.mean(samples**2)) == pytest.approx(0.5 / np.sqrt(2), rel=0.03)


@given(st.integers(0, FRAMES), st.integers(0, FRAMES))
@settings(max_examples=50)
def test_partial_reads_are_slices(ramp, a, b):
    lo, hi = sorted((a, b))
    np.testing.assert_array_equal(read_int16(ramp, lo, hi), np.arange(lo, hi))
    np.testing.assert_array_equal(read_int16(ramp, lo), np.arange(lo, FRAMES))


@pytest.mark.parametrize("start, stop", [(0, 500), (300, 401), (450, 500), (450, None)])
def test_a_file_that_became_shorter_is_named(ramp, start, stop):
    with pytest.raises(ValueError, match=r"ramp\.wav holds 400 samples, \d+ were exp"):
        read_int16(ramp, start, stop)


def test_a_damaged_or_missing_file_is_named(tmp_path):
    path = tmp_path / "cut.flac"
    sf.write(path, np.random.default_rng(0).uniform(-1, 1, 40000), 16000)
    path.write_bytes(path.read_bytes()[:20000])
    for wav in (path, tmp_path / "none.wav"):
        with pytest.raises(ValueError, match=rf"{wav.name} cannot be read .* prepare"):
            read_int16(wav)


@st.composite
def speech_runs(draw):
    """Sorted runs with gaps between them, inside the file."""
    edges = draw(st.sets(st.integers(0, FRAMES), min_size=2, max_size=12))
    edges = sorted(edges)[: len(edges) // 2 * 2]
    return np.array(edges).reshape(-1, 2)


@given(speech_runs(), st.data())
@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
def test_span_is_a_slice_of_the_runs_put_together(ramp, runs, data):
    speech = np.concatenate([np.arange(start, stop) for start, stop in runs])
    lo = data.draw(st.integers(0, len(speech) - 1))
    hi = data.draw(st.integers(lo + 1, len(speech)))
    one = utterance(ramp, speech=runs)
    np.testing.assert_array_equal(read_span(one, lo, hi), speech[lo:hi])
    np.testing.assert_array_equal(read_utterance(one), speech)


def test_without_runs_positions_count_from_the_utterance_start(ramp):
    one = utterance(ramp, 100, 200)
    np.testing.assert_array_equal(read_span(one, 10, 20), np.arange(110, 120))
    np.testing.assert_array_equal(read_utterance(one), np.arange(100, 200))
