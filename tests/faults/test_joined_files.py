"""Files joined from several, and files that are not what their names say."""

import io
import tempfile
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile as sf

from speechbrain_dino.corpora.audio_folder import prepare_audio_folder
from speechbrain_dino.corpora.convert import convert
from speechbrain_dino.data.audio_facts import inspect, length_note
from speechbrain_dino.data.audio_source import BadAudio
from speechbrain_dino.data.joined import edges_of, has_tail, parts_of
from speechbrain_dino.data.manifest import Manifest

RATE = 16000


def speechlike(seconds, seed):
    rng = np.random.default_rng(seed)
    return rng.uniform(-9000, 9000, round(seconds * RATE)).astype(np.int16)


def encoded(samples, format, subtype=None, rate=RATE):
    file = io.BytesIO()
    sf.write(file, samples, rate, format=format, subtype=subtype)
    return file.getvalue()


def aac(samples, format="ipod", faststart=False):
    """Bytes of an m4a, or of a stream of AAC (``adts``)."""
    options = {"movflags": "faststart"} if faststart else {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a"
        with av.open(str(path), "w", format=format, options=options) as container:
            _write_aac(container, (samples / 32768).astype(np.float32))
        return path.read_bytes()


def _write_aac(container, samples):
    stream = container.add_stream("aac", rate=RATE)
    stream.layout = "mono"
    samples = np.pad(samples, (0, -len(samples) % 1024))
    for number, block in enumerate(samples.reshape(-1, 1, 1024)):
        frame = av.AudioFrame.from_ndarray(block, format="fltp", layout="mono")
        frame.sample_rate, frame.pts = RATE, 1024 * number
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


A, B = speechlike(2.0, 0), speechlike(1.5, 1)
LOSSLESS = {"a.wav": "WAV", "a.flac": "FLAC", "a.aiff": "AIFF", "a.au": "AU"}


@pytest.mark.parametrize("name", LOSSLESS)
def test_all_parts_are_used(tmp_path, name):
    first, second = encoded(A, LOSSLESS[name]), encoded(B, LOSSLESS[name])
    path = tmp_path / "in" / name
    path.parent.mkdir()
    path.write_bytes(first + second)
    assert edges_of(path) == [0, len(first), len(first + second)]
    assert length_note(path) == "joined"
    summary = prepare_audio_folder(tmp_path / "in", tmp_path / "save", vad=False)
    assert summary["remarks"]["joined"]["count"] == 1 and summary["kept"] == 1
    utterance = Manifest.from_csv(tmp_path / "save" / "train.csv")[0]
    samples, _ = sf.read(utterance.wav, dtype="int16")
    np.testing.assert_array_equal(samples, np.concatenate([A, B]))


def test_parts_of_different_kinds_and_rates(tmp_path):
    path = tmp_path / "a.wav"
    parts = encoded(A, "WAV"), encoded(B, "FLAC"), encoded(A, "RF64")
    path.write_bytes(parts[2] + parts[0] + parts[1] + b"rest")
    found = [sf.read(part, dtype="int16")[0] for part in parts_of(path)[:2]]
    for samples in found:
        np.testing.assert_array_equal(samples, A)
    path.write_bytes(encoded(A, "WAV") + encoded(B[:8000], "WAV", rate=8000))
    convert(path, tmp_path / "made.wav")
    assert sf.info(tmp_path / "made.wav").frames == len(A) + 16000


def test_joined_m4a(tmp_path):
    path, one = tmp_path / "a.m4a", aac(A)
    path.write_bytes(one)
    single = convert(path, tmp_path / "single.wav")
    path.write_bytes(one + aac(B, faststart=True))
    joined = convert(path, tmp_path / "joined.wav")
    assert single.notes == () and joined.notes == ("joined",)
    first, _ = sf.read(tmp_path / "single.wav", dtype="int16")
    both, _ = sf.read(tmp_path / "joined.wav", dtype="int16")
    np.testing.assert_array_equal(both[: len(first)], first)
    assert len(B) <= len(both) - len(first) <= len(B) + 2 * 1024


@pytest.mark.parametrize("format", ["WAV", "AIFF", "AU"])
def test_what_follows_and_is_no_audio_is_said(tmp_path, format):
    path, whole = tmp_path / "a", encoded(A, format)
    for rest, note in ((b"", ""), (b"\1" * 100, ""), (b"\1" * 9000, "trailing")):
        path.write_bytes(whole + rest)
        assert length_note(path) == note and has_tail(path) == bool(note)
        assert edges_of(path) == [0, len(whole + rest)]


def test_sizes_that_programs_leave_open_are_no_ends(tmp_path):
    path, whole = tmp_path / "a.wav", bytearray(encoded(A, "WAV"))
    for size in (0, 0x7FFFFFFF, 0xFFFFFFFF):
        whole[4:8] = size.to_bytes(4, "little")
        path.write_bytes(whole)
        assert edges_of(path) == [0, len(whole)] and not has_tail(path)


CONTENTS = {
    "m4a": aac(A),
    "adts": aac(A, "adts"),
    "mp3": encoded(A, "MP3"),
    "ogg": encoded(A, "OGG", "VORBIS"),
    "opus": encoded(A, "OGG", "OPUS"),
    "flac": encoded(A, "FLAC"),
    "wav": encoded(A, "WAV"),
}


@pytest.mark.parametrize("kind", CONTENTS)
@pytest.mark.parametrize("ending", [".wav", ".flac", ".mp3", ".m4a", ".ogg"])
def test_content_counts_not_the_name(tmp_path, kind, ending):
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / f"a{ending}").write_bytes(CONTENTS[kind])
    summary = prepare_audio_folder(folder, tmp_path / "save", vad=False)
    assert summary["kept"] == 1 and not summary["left_out"]
    utterance = Manifest.from_csv(tmp_path / "save" / "train.csv")[0]
    assert abs(utterance.stop - len(A)) <= 2 * 1152


@pytest.mark.parametrize("faststart", [False, True])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_cut_m4a_is_unreadable_as_a_whole(tmp_path, faststart, share):
    whole = aac(A, faststart=faststart)
    path = tmp_path / "a.m4a"
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(BadAudio, match="unreadable"):
        convert(path, tmp_path / "made.wav")
    assert not (tmp_path / "made.wav").exists()


def test_text_is_no_audio_whatever_its_name(tmp_path):
    for name in ("a.wav", "a.flac", "a.mp3", "a.m4a"):
        path = tmp_path / name
        path.write_text("<html>404 Not Found</html>", encoding="utf-8")
        assert inspect((path, True, False)).problem == "unreadable"
