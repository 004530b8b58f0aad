"""Files as people have them: what comes out is what is in them, or they are named."""

import errno
import io
import os
import signal
import socket

import numpy as np
import pytest
import soundfile as sf
import soxr
from audio_files import noise, write

from speechbrain_dino.corpora import convert as convert_module
from speechbrain_dino.corpora.audio_folder import prepare_audio_folder
from speechbrain_dino.corpora.convert import convert
from speechbrain_dino.data import audio_source, mp3
from speechbrain_dino.data.audio import read_int16, read_utterance
from speechbrain_dino.data.audio_facts import inspect
from speechbrain_dino.data.audio_source import BadAudio
from speechbrain_dino.data.manifest import Manifest

resource = pytest.importorskip("resource")  # not on Windows

RATE = 16000


def song(seconds, rate=RATE, seed=0):
    """Tones that change every tenth of a second, float64 (T,): stretches differ."""
    hertz = np.random.default_rng(seed).uniform(200, 3000, round(10 * seconds) + 1)
    times = np.arange(round(rate * seconds)) / rate
    phase = 2 * np.pi * np.cumsum(hertz[(10 * times).astype(int)]) / rate
    return 0.4 * np.sin(phase)


def encoded(samples, rate=RATE, **options):
    """The bytes of an MP3."""
    file = io.BytesIO()
    with sf.SoundFile(file, "w", rate, 1, format="MP3", **options) as writer:
        writer.write(samples)
    return file.getvalue()


def without_header(data):
    """An MP3 of the same frames, without the one that says how many there are."""
    frames = mp3.audio_frames(data)
    return b"".join(data[frame.first : frame.first + frame.size] for frame in frames)


def likeness(samples, truth):
    """Correlation at the best shift by up to half a second."""
    most, shifts = RATE // 2, []
    length = min(len(samples), len(truth)) - most
    for a, b in ((samples, truth), (truth, samples)):
        windows = np.lib.stride_tricks.sliding_window_view(a[: length + most], length)
        b = b[:length] / np.linalg.norm(b[:length])
        for window in windows:
            shifts.append(window @ b / max(np.linalg.norm(window), 1e-9))
            if shifts[-1] > 0.99:
                return shifts[-1]
    return max(shifts)


def converted(tmp_path, data, name="a.mp3"):
    """The samples, and the notes, of what `convert` makes of a file."""
    (tmp_path / name).write_bytes(data)
    notes = convert(tmp_path / name, tmp_path / "out.wav").notes
    return sf.read(tmp_path / "out.wav")[0], notes


def test_a_cut_mp3_is_as_long_as_what_is_there(tmp_path):
    data, truth = encoded(song(9)), song(9)
    samples, notes = converted(tmp_path, data[: len(data) // 3])
    assert abs(len(samples) / RATE - 3) < 0.15
    assert likeness(samples, truth) > 0.98
    assert notes == ("length",)


@pytest.mark.parametrize("kind", ["joined", "varying", "garbage", "two rates"])
def test_an_mp3_is_whole_whatever_its_header_says(tmp_path, kind):
    first, second = song(4), song(3, seed=1)
    if kind == "joined":
        data = encoded(first) + encoded(second)
    elif kind == "varying":
        # Silence takes few bits: the first frames say nothing of the others.
        first = np.concatenate([0.0 * first, first])
        options = {"bitrate_mode": "VARIABLE", "compression_level": 0.2}
        both = np.concatenate([first, second])
        data = without_header(encoded(both, **options))
    elif kind == "garbage":
        both = encoded(np.concatenate([first, second]))
        middle = len(both) // 2
        junk = np.random.default_rng(0).bytes(5000)
        data = both[:middle] + junk + both[middle:]
    else:
        data = encoded(first) + encoded(song(3, 44100, seed=1), 44100)
    samples, _ = converted(tmp_path, data)
    whole = len(first) + len(second)
    assert abs(len(samples) - whole) / RATE < 0.25
    assert likeness(samples[: len(first)], first[-len(first) :]) > 0.9
    assert likeness(samples[-len(second) :], second) > 0.9


def test_a_whole_mp3_has_no_remark(tmp_path):
    samples, notes = converted(tmp_path, encoded(song(2)))
    assert (len(samples), notes) == (2 * RATE, ())
    assert likeness(samples, song(2)) > 0.98


@pytest.mark.parametrize("rates", [(16000, 16000), (16000, 8000)])
@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_joined_ogg_is_read_to_its_end(tmp_path, subtype, rates):
    parts, content = [], b""
    for seed, rate in enumerate(rates):
        parts.append(soxr.resample(noise(1.5, 6000, seed=seed), 6000, 16000))
        samples = soxr.resample(parts[-1], 16000, rate)
        path = tmp_path / f"{seed}.ogg"
        sf.write(path, samples, rate, format="OGG", subtype=subtype)
        content += path.read_bytes()
    (tmp_path / "joined.ogg").write_bytes(content)
    assert "length" in convert(tmp_path / "joined.ogg", tmp_path / "a.wav").notes
    samples, _ = sf.read(tmp_path / "a.wav")
    truth = np.concatenate(parts)
    assert abs(len(samples) - len(truth)) < 100
    for part in (slice(2000, 22000), slice(26000, 46000)):
        assert np.corrcoef(samples[part], truth[part])[0, 1] > 0.8
    assert convert(tmp_path / "0.ogg", tmp_path / "b.wav").notes == ()


@pytest.mark.parametrize("rate, kind", [(16000, "wav"), (8000, "wav"), (16000, "aiff")])
def test_what_is_shorter_than_it_declares_is_counted(tmp_path, rate, kind):
    folder = tmp_path / "in"
    whole = write(folder / f"whole.{kind}", 3.0, rate, seed=1)
    with open(whole, "rb") as file:
        data = file.read()
    (folder / f"cut.{kind}").write_bytes(data[: len(data) * 5 // 6])
    if kind == "wav":  # as from a pipe
        data = data[:4] + b"\xff" * 4 + data[8:40] + b"\xff" * 4 + data[44:]
        (folder / "piped.wav").write_bytes(data[: len(data) * 8 // 9])
    summary = prepare_audio_folder(folder, tmp_path / "save", min_duration=0.5)
    assert summary["kept"] == len(os.listdir(folder))
    assert summary["remarks"]["length"]["count"] == 1
    assert summary["remarks"]["length"]["example"] == str(folder / f"cut.{kind}")


def test_a_cut_flac_is_not_filled_up(tmp_path):
    path = write(tmp_path / "a.flac", 4.0, rate=8000)
    data = (tmp_path / "a.flac").read_bytes()
    (tmp_path / "a.flac").write_bytes(data[: len(data) // 2])
    with pytest.raises(BadAudio, match="unreadable"):
        convert(path, tmp_path / "a.wav")
    assert not (tmp_path / "a.wav").exists()


LEVELS = [
    (1e-3, "FLOAT", "quiet"),
    (1e-3, "PCM_24", "quiet"),
    (3e-4, "PCM_32", "quiet"),
    (32768.0, "FLOAT", "loud"),
    (4.0, "DOUBLE", "loud"),
    (1.0, "FLOAT", ""),
    (1.0, "PCM_24", ""),
]


@pytest.mark.parametrize(("level", "subtype", "note"), LEVELS)
@pytest.mark.parametrize("check", ["full", "headers"])
def test_levels_beyond_16_bits(tmp_path, level, subtype, note, check):
    truth = song(3)
    write(tmp_path / "in" / "a.wav", samples=level * truth, subtype=subtype)
    save = tmp_path / "save"
    prepare_audio_folder(tmp_path / "in", save, check=check)
    utterance = Manifest.from_csv(save / "train.csv")[0]
    samples = read_utterance(utterance).astype(float)
    assert np.abs(samples).max() > 0.4 * 32768 - 1
    expected = truth / np.abs(truth).max()
    assert np.abs(samples / np.abs(samples).max() - expected).max() < 1e-3
    assert (utterance.wav == str(tmp_path / "in" / "a.wav")) == (not note)


def test_silence_is_not_amplified(tmp_path):
    dither = np.random.default_rng(0).uniform(-1, 1, 3 * RATE) / 32768
    write(tmp_path / "in" / "a.wav", samples=dither, subtype="FLOAT")
    write(tmp_path / "in" / "b.wav", 3.0)
    summary = prepare_audio_folder(tmp_path / "in", tmp_path / "save")
    assert (summary["kept"], list(summary["left_out"])) == (1, ["silent"])


@pytest.mark.parametrize("subtype", ["GSM610", "IMA_ADPCM", "MS_ADPCM", "ULAW", "ALAW"])
def test_any_stretch_of_any_codec_can_be_read(tmp_path, subtype):
    truth = song(3)
    write(tmp_path / "in" / "a.wav", samples=truth, subtype=subtype)
    prepare_audio_folder(tmp_path / "in", tmp_path / "save")
    utterance = Manifest.from_csv(tmp_path / "save" / "train.csv")[0]
    samples = read_int16(utterance.wav, 20001, 36001)
    assert np.corrcoef(samples, truth[20001:36001])[0, 1] > 0.9


def test_content_counts_not_the_name(tmp_path):
    truth = song(3)
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "mp3.wav").write_bytes(encoded(truth))
    sf.write(folder / "aiff.wav", song(3, seed=2), RATE, format="AIFF")
    prepare_audio_folder(folder, tmp_path / "save")
    manifest = Manifest.from_csv(tmp_path / "save" / "train.csv")
    for row, seed in zip(range(2), (2, 0)):
        stretch = read_int16(manifest[row].wav, 10000, 42000)
        assert likeness(stretch, song(3, seed=seed)[10000:42000]) > 0.9


def test_what_is_no_regular_file_is_not_waited_for(tmp_path):
    folder = tmp_path / "in"
    good = write(folder / "good.wav", 3.0)
    os.mkfifo(folder / "fifo.wav")
    os.symlink("/dev/zero", folder / "device.wav")
    os.symlink("loop.wav", folder / "loop.wav")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(folder / "socket.wav"))
        summary = prepare_audio_folder(folder, tmp_path / "save")
    counts = {kind: entry["count"] for kind, entry in summary["left_out"].items()}
    assert (summary["kept"], counts) == (1, {"special": 3, "missing": 1})
    for name in ("fifo.wav", "device.wav"):
        path = str(folder / name)
        assert inspect((path, True, False)).problem == "special"
        with pytest.raises(ValueError, match="it is no regular file"):
            read_int16(path)
        with pytest.raises(BadAudio, match="special"):
            convert(path, tmp_path / "a.wav")
    os.remove(good)
    os.mkfifo(good)  # after it was prepared
    with pytest.raises(ValueError, match="it is no regular file"):
        read_int16(good)


@pytest.fixture
def narrow(tmp_path):
    """Ten files to convert."""
    for seed in range(10):
        write(tmp_path / "in" / f"{seed}.wav", 3.0, 8000, seed=seed)
    return tmp_path / "in"


@pytest.fixture
def no_more_than(monkeypatch):
    """Lets no file become longer than some bytes, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    def limit(size):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))

    yield limit
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_disk_that_takes_no_more_stops_the_preparation(
    narrow, no_more_than, monkeypatch, workers, tmp_path
):
    monkeypatch.setattr("speechbrain_dino.data.audio_facts._SERIAL", 4)
    no_more_than(50000)
    with pytest.raises(OSError, match=r"File too large: .*\.wav") as error:
        prepare_audio_folder(narrow, tmp_path / "save", num_workers=workers)
    assert error.value.errno == errno.EFBIG
    assert not (tmp_path / "save" / "train.csv").exists()
    assert not list((tmp_path / "save" / "audio").glob("*.wav"))
    no_more_than(resource.RLIM_INFINITY)
    assert prepare_audio_folder(narrow, tmp_path / "save")["kept"] == 10


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
def test_errors_of_writing_are_the_systems(narrow, tmp_path, monkeypatch, number):
    def fail(self, data):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(convert_module.wave.Wave_write, "writeframes", fail)
    with pytest.raises(OSError, match=r"save/audio/0\.wav\.wav") as error:
        prepare_audio_folder(narrow, tmp_path / "save")
    assert error.value.errno == number


@pytest.mark.parametrize("number", [errno.EIO, errno.EMFILE, errno.ENOMEM])
def test_errors_of_reading_are_the_systems(tmp_path, monkeypatch, number):
    path = str(tmp_path / "a.wav")
    (tmp_path / "a.wav").write_bytes(b"what libsndfile gets of a failing disk")

    def fail(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(audio_source, "open", fail, raising=False)
    for act in (
        lambda: inspect((path, True, False)),
        lambda: convert(path, tmp_path / "b.wav"),
        lambda: read_int16(path),
    ):
        with pytest.raises(OSError, match=r"a\.wav") as error:
            act()
        assert error.value.errno == number


def test_too_many_open_files_are_no_bad_audio(tmp_path):
    path = write(tmp_path / "a.wav")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.open(os.devnull, os.O_RDONLY)
    os.close(lowest)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, before[1]))
        with pytest.raises(OSError, match=r"Too many open files: .*a\.wav"):
            inspect((path, True, False))
        with pytest.raises(OSError, match=r"Too many open files: .*a\.wav"):
            read_int16(path)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert inspect((path, True, False)).problem == ""


def test_a_file_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    write(tmp_path / "in" / "good.wav", 3.0)
    secret = write(tmp_path / "in" / "secret.wav", 3.0, seed=1)
    os.chmod(secret, 0)
    if os.access(secret, os.R_OK):  # root may read everything
        real = sf.SoundFile

        def refuse(path, *args, **options):
            if path == secret:
                raise sf.LibsndfileError(2)
            return real(path, *args, **options)

        def deny(path, *args):
            if path == secret:
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
            return open(path, *args)

        monkeypatch.setattr("soundfile.SoundFile", refuse)
        monkeypatch.setattr(audio_source, "open", deny, raising=False)
    summary = prepare_audio_folder(tmp_path / "in", tmp_path / "save")
    assert (summary["kept"], list(summary["left_out"])) == (1, ["denied"])
