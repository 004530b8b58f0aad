"""Conversion: rates, channels, formats, restarts, failures."""

import importlib.util
import os

import numpy as np
import pytest
import soundfile as sf
from audio_files import noise, write

from speechbrain_dino.corpora import convert as convert_module
from speechbrain_dino.corpora.convert import convert, convert_all


def tone(rate, seconds=1.0, hertz=440.0):
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(round(rate * seconds)) / rate)


def converted(tmp_path, samples, rate):
    """What `convert` makes of samples at a rate, in blocks of one second."""
    write(tmp_path / "a.wav", samples=samples, rate=rate, subtype="DOUBLE")
    convert(tmp_path / "a.wav", tmp_path / "b.wav")
    result, rate = sf.read(tmp_path / "b.wav")
    assert rate == 16000
    return result


@pytest.fixture
def short_blocks(monkeypatch):
    """Lets files of a few seconds have several blocks."""
    monkeypatch.setattr(convert_module, "_BLOCK_SECONDS", 1)


@pytest.mark.usefixtures("short_blocks")
@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000])
def test_a_tone_stays_the_tone_across_blocks(tmp_path, rate):
    result = converted(tmp_path, tone(rate, 2.5, 1000.0), rate)
    assert len(result) == 40000
    assert np.abs(result - tone(16000, 2.5, 1000.0))[400:-400].max() < 1e-3


@pytest.mark.usefixtures("short_blocks")
@pytest.mark.parametrize("rate", [22050, 44100, 48000])
def test_a_tone_above_half_the_rate_is_not_folded_into_the_band(tmp_path, rate):
    result = converted(tmp_path, tone(rate, 2.5, 10000.0), rate)
    assert np.abs(result[400:-400]).max() < 1e-3


@pytest.mark.parametrize("length", [1, 2, 443, 30001])
@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 48000])
def test_length_in_seconds_is_kept(tmp_path, rate, length):
    result = converted(tmp_path, np.full(length, 0.5), rate)
    assert abs(len(result) - length * 16000 / rate) <= 0.5


@pytest.mark.usefixtures("short_blocks")
def test_at_the_wanted_rate_samples_stay(tmp_path):
    samples = np.random.default_rng(0).integers(-32768, 32768, 40001) / 32768
    np.testing.assert_array_equal(converted(tmp_path, samples, 16000), samples)


def test_channels(tmp_path):
    samples = np.stack([tone(16000), -tone(16000) / 2], axis=1)
    path = write(tmp_path / "two.wav", samples=samples)
    convert(path, tmp_path / "mean.wav")
    convert(path, tmp_path / "first.wav", channel=0)
    mean, first = (sf.read(tmp_path / f"{n}.wav")[0] for n in ("mean", "first"))
    assert np.abs(mean - tone(16000) / 4).max() < 1e-4
    assert np.abs(first - tone(16000)).max() < 1e-4
    assert sf.info(tmp_path / "mean.wav").subtype == "PCM_16"


@pytest.mark.parametrize("extension", ["ogg", "opus", "mp3"])
def test_lossy_formats(tmp_path, extension):
    rate = 48000
    options = {"format": "OGG", "subtype": "OPUS"} if extension == "opus" else {}
    write(tmp_path / f"a.{extension}", samples=tone(rate), rate=rate, **options)
    convert(tmp_path / f"a.{extension}", tmp_path / "a.wav")
    result, rate = sf.read(tmp_path / "a.wav")
    assert rate == 16000
    assert abs(len(result) - 16000) < 1200
    assert abs(result[2000:14000].std() - 0.5 / np.sqrt(2)) < 0.02


def test_m4a(tmp_path):
    av = pytest.importorskip("av")
    with av.open(str(tmp_path / "a.m4a"), "w") as container:
        stream = container.add_stream("aac", rate=44100, layout="mono")
        samples = tone(44100, 2.0).astype(np.float32)[None]
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
        frame.sample_rate = 44100
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    convert(tmp_path / "a.m4a", tmp_path / "a.wav")
    result, rate = sf.read(tmp_path / "a.wav")
    assert rate == 16000
    assert abs(len(result) - 32000) < 1000
    assert abs(result[4000:28000].std() - 0.5 / np.sqrt(2)) < 0.01


def test_m4a_without_pyav_names_the_remedy(tmp_path, monkeypatch):
    (tmp_path / "a.m4a").write_bytes(b"x")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    jobs = [(str(tmp_path / "a.m4a"), str(tmp_path / "a.wav"))]
    with pytest.raises(ImportError, match=r'pip install "speechbrain-dino\[m4a\]"'):
        convert_all(jobs, tmp_path / "ledger.jsonl")


def test_failures_are_named_and_leave_nothing(tmp_path):
    broken = noise()
    broken[100] = np.inf
    paths = [
        write(tmp_path / "nan.wav", samples=broken, subtype="FLOAT", rate=8000),
        str(tmp_path / "text.mp3"),
        write(tmp_path / "none.wav", samples=np.zeros(0)),
        str(tmp_path / "gone.ogg"),
        str(tmp_path / "text.m4a"),
        write(tmp_path / "good.wav", 0.5, 8000),
    ]
    (tmp_path / "text.mp3").write_text("no audio", encoding="utf-8")
    (tmp_path / "text.m4a").write_text("no audio", encoding="utf-8")
    jobs = [(path, str(tmp_path / "out" / f"{i}.wav")) for i, path in enumerate(paths)]
    if importlib.util.find_spec("av") is None:
        del jobs[4]
    problems = convert_all(jobs, tmp_path / "ledger.jsonl")
    expected = ["non_finite", "unreadable", "empty", "missing", "unreadable", ""]
    problems = [facts.problem for facts in problems]
    assert problems == (expected if len(jobs) == 6 else expected[:4] + [""])
    assert os.listdir(tmp_path / "out") == ["5.wav"]
    assert sf.info(tmp_path / "out" / "5.wav").frames == 8000


def test_restart_does_only_what_is_missing_or_stale(tmp_path, monkeypatch):
    paths = [write(tmp_path / f"{i}.wav", 0.1, 8000, seed=i) for i in range(4)]
    jobs = [(path, str(tmp_path / "out" / f"{i}.wav")) for i, path in enumerate(paths)]
    ledger = tmp_path / "ledger.jsonl"
    done, killed = [], []
    real = convert_module.convert

    def watched(source, *rest):
        if source == paths[2] and not killed:
            killed.append(source)
            raise KeyboardInterrupt
        done.append(source)
        return real(source, *rest)

    monkeypatch.setattr(convert_module, "convert", watched)
    with pytest.raises(KeyboardInterrupt):
        convert_all(jobs, ledger, num_workers=1)
    assert done == paths[:2]
    done.clear()
    convert_all(jobs, ledger, num_workers=1)
    assert done == paths[2:]
    done.clear()
    write(tmp_path / "1.wav", 0.2, 8000)
    os.remove(jobs[3][1])
    convert_all(jobs, ledger, num_workers=1)
    assert done == [paths[1], paths[3]]
    assert sf.info(jobs[1][1]).frames == 3200
    done.clear()
    convert_all(jobs, ledger, sample_rate=8000, num_workers=1)
    assert len(done) == 4
