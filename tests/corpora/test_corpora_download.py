"""Downloads that are cut, refused, not there or not what they should be."""

import os
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from urllib.parse import unquote

import pytest
import soundfile as sf
from audio_files import noise
from emotion_trees import crema_d

from speechbrain_dino.corpora.crema_d import fetch
from speechbrain_dino.corpora.crema_d_tables import DEMOGRAPHICS, SENTENCES, VOTES
from speechbrain_dino.corpora.download import download, is_pointer, is_whole

FAST = {"backoff": 0.001, "timeout": 600.0, "retries": 3}
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 70414\n"


def wav(seed=0):
    file = BytesIO()
    sf.write(file, noise(0.5, seed=seed), 16000, format="WAV", subtype="PCM_16")
    return file.getvalue()


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        server = self.server
        path = unquote(self.path).lstrip("/")
        asked = self.headers.get("Range")
        with server.lock:
            server.asked.append((path, asked))
            failing = server.failures.get(path, 0)
            server.failures[path] = failing - 1
        if failing > 0:
            self.send_error(server.code)
            return
        if path not in server.files:
            self.send_error(404)
            return
        content, start = server.files[path], 0
        if asked and server.ranges:
            start = int(asked.removeprefix("bytes=").rstrip("-"))
            if start >= len(content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(content)}")
                self.end_headers()
                return
        self.send_response(206 if start else 200)
        if start:
            last = len(content) - 1
            self.send_header("Content-Range", f"bytes {start}-{last}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        # Whoever cuts the connection has announced the whole.
        self.wfile.write(content[start : start + server.cut])


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    """The server of these tests is this machine: no proxy of the user's stands between.

    urllib reads the variables in small letters first.
    """
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture
def server():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.files, server.asked, server.failures = {}, [], {}
    server.ranges, server.cut, server.code = True, 10**9, 503
    server.lock = threading.Lock()
    server.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def addresses(server, names):
    return {name: [f"{server.url}/{name}"] for name in names}


def test_files_come_whole_and_once(server, tmp_path):
    server.files = {f"AudioWAV/{k}.wav": wav(k) for k in range(20)}
    files = addresses(server, server.files)
    assert download(files, tmp_path, connections=4, **FAST) == []
    contents = {name: (tmp_path / name).read_bytes() for name in files}
    assert contents == server.files
    assert len(os.listdir(tmp_path / "AudioWAV")) == 20
    assert len(server.asked) == 20
    download(files, tmp_path, **FAST)
    assert len(server.asked) == 20


def test_a_cut_connection_is_resumed(server, tmp_path):
    server.files, server.cut = {"a.wav": wav()}, 3000
    download(addresses(server, ["a.wav"]), tmp_path, **FAST)
    assert (tmp_path / "a.wav").read_bytes() == server.files["a.wav"]
    total = len(server.files["a.wav"])
    expected = [None, *(f"bytes={k}-" for k in range(3000, total, 3000))]
    assert [asked for _, asked in server.asked] == expected


def test_an_earlier_part_is_resumed(server, tmp_path):
    server.files = {"a.wav": wav()}
    (tmp_path / "a.wav.part").write_bytes(wav()[:5000])
    download(addresses(server, ["a.wav"]), tmp_path, **FAST)
    assert (tmp_path / "a.wav").read_bytes() == wav()
    assert server.asked == [("a.wav", "bytes=5000-")]


def test_a_part_that_is_already_all_or_too_long(server, tmp_path):
    server.files = {"a.wav": wav(), "b.wav": wav(1)}
    (tmp_path / "a.wav.part").write_bytes(wav())
    (tmp_path / "b.wav.part").write_bytes(wav(2) + b"more")
    download(addresses(server, server.files), tmp_path, **FAST)
    assert (tmp_path / "a.wav").read_bytes() == wav()
    assert (tmp_path / "b.wav").read_bytes() == wav(1)


def test_a_server_without_ranges_starts_again(server, tmp_path):
    server.files, server.ranges = {"a.wav": wav()}, False
    (tmp_path / "a.wav.part").write_bytes(b"RIFF of another file")
    download(addresses(server, ["a.wav"]), tmp_path, **FAST)
    assert (tmp_path / "a.wav").read_bytes() == wav()


def test_a_server_that_cuts_without_ranges_ends_the_download(server, tmp_path):
    server.files, server.ranges, server.cut = {"a.wav": wav()}, False, 3000
    with pytest.raises(OSError, match=r"3000 of 16044 .* after 4 tries") as error:
        download(addresses(server, ["a.wav"]), tmp_path, **FAST)
    assert f"0 of 1 files are in {tmp_path}; the same command" in str(error.value)
    assert not (tmp_path / "a.wav").exists()
    assert (tmp_path / "a.wav.part").stat().st_size == 3000


def test_a_busy_server_is_asked_again(server, tmp_path):
    server.files, server.failures = {"a.wav": wav()}, {"a.wav": 3}
    download(addresses(server, ["a.wav"]), tmp_path, **FAST)
    assert len(server.asked) == 4
    server.failures, server.files["b.wav"] = {"b.wav": 4}, wav(1)
    with pytest.raises(OSError, match=r"HTTP Error 503: .*, after 4 tries"):
        download(addresses(server, ["b.wav"]), tmp_path, **FAST)


def test_a_refusal_is_not_asked_again(server, tmp_path):
    server.files, server.failures, server.code = {"a.wav": wav()}, {"a.wav": 9}, 403
    with pytest.raises(OSError, match=r"/a.wav: HTTP Error 403"):
        download(addresses(server, ["a.wav"]), tmp_path, **FAST)
    assert len(server.asked) == 1


def test_no_server_is_an_error(tmp_path):
    with socket.socket() as nobody:  # bound, so that it is nobody else's; not listening
        nobody.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{nobody.getsockname()[1]}/a.wav"
        files = {"a.wav": [f"http://{address}"]}
        with pytest.raises(OSError, match=rf"{address}: .*refused.*, after 2 tries"):
            download(files, tmp_path, **(FAST | {"retries": 1}))


def test_files_that_are_not_there_are_returned(server, tmp_path):
    server.files = {"a.wav": wav(), "c_X.wav": wav(1)}
    files = addresses(server, ["a.wav", "b.wav"])
    files["c_XX.wav"] = [f"{server.url}/c_XX.wav", f"{server.url}/c_X.wav"]
    assert download(files, tmp_path, **FAST) == ["b.wav"]
    assert (tmp_path / "c_XX.wav").read_bytes() == wav(1)
    assert sorted(os.listdir(tmp_path)) == ["a.wav", "c_XX.wav"]


def test_a_wrong_address_is_found_early(server, tmp_path):
    files = addresses(server, [f"{k}.wav" for k in range(200)])
    with pytest.raises(OSError, match=r"is the address right\?"):
        download(files, tmp_path, connections=2, **FAST)
    assert len(server.asked) < 100


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (POINTER, "gives a Git LFS pointer, not the file itself: give the address"),
        (b"<!DOCTYPE html><html>", "gives no audio, it begins with b'<!DOCTYPE html"),
        (b"", "gives an empty file"),
    ],
)
def test_what_is_no_audio_is_named(server, tmp_path, content, message):
    server.files = {"a.wav": content}
    with pytest.raises(ValueError, match=rf"{server.url}/a.wav {message}"):
        download(addresses(server, ["a.wav"]), tmp_path, **FAST)
    assert os.listdir(tmp_path) == []


def test_a_pointer_on_the_disk_is_fetched(server, tmp_path):
    server.files = {"a.wav": wav()}
    (tmp_path / "a.wav").write_bytes(POINTER)
    assert is_pointer(tmp_path / "a.wav") and not is_whole(tmp_path / "a.wav")
    download(addresses(server, ["a.wav"]), tmp_path, **FAST)
    assert is_whole(tmp_path / "a.wav") and not is_pointer(tmp_path / "a.wav")


NAMES = ["1001_DFA_ANG_XX", "1001_IEO_SAD_HI", "1040_ITH_SAD_XX"]


def crema_server(server, tmp_path):
    """CREMA-D as its address serves it: one name ends in a single X."""
    tables = crema_d(
        tmp_path / "tables",
        [],
        people={1001: (30, "Male"), 1040: (30, "Female")},
        votes=dict.fromkeys(NAMES, ("N", "N")),
        sentences=NAMES,
    )
    for name in (SENTENCES, DEMOGRAPHICS, VOTES):
        server.files[f"tables/{name}"] = (tables / name).read_bytes()
    for seed, name in enumerate([*NAMES[:2], "1040_ITH_SAD_X"]):
        server.files[f"media/AudioWAV/{name}.wav"] = wav(seed)
    return f"{server.url}/media/", f"{server.url}/tables"


def test_crema_d_is_fetched_by_its_tables(server, tmp_path):
    urls = crema_server(server, tmp_path)
    fetch(tmp_path / "data", *urls, connections=2, **FAST)
    names = sorted(p.name for p in (tmp_path / "data").rglob("*.*"))
    assert names == sorted(
        ["SentenceFilenames.csv", "VideoDemographics.csv", "summaryTable.csv"]
        + [f"{name}.wav" for name in NAMES]
    )
    asked = len(server.asked)
    fetch(tmp_path / "data", *urls, connections=2, **FAST)
    assert len(server.asked) == asked
    # As it is in the release.
    audio = tmp_path / "data" / "AudioWAV"
    (audio / "1040_ITH_SAD_XX.wav").rename(audio / "1040_ITH_SAD_X.wav")
    fetch(tmp_path / "data", *urls, connections=2, **FAST)
    assert len(server.asked) == asked


def test_what_crema_d_lacks_is_named(server, tmp_path, caplog):
    urls = crema_server(server, tmp_path)
    del server.files[f"media/AudioWAV/{NAMES[1]}.wav"]
    fetch(tmp_path / "data", *urls, connections=1, **FAST)
    assert f"1 files are not at {urls[0]}: ['AudioWAV/{NAMES[1]}.wav']" in caplog.text
    server.files[f"tables/{VOTES}"] = b"<html>sign in</html>"
    (tmp_path / "data" / VOTES).unlink()
    with pytest.raises(ValueError, match=r"summaryTable.csv gives a web page"):
        fetch(tmp_path / "data", *urls, connections=1, **FAST)
    del server.files[f"tables/{VOTES}"]
    with pytest.raises(FileNotFoundError, match=r"summaryTable.csv is not there"):
        fetch(tmp_path / "data", *urls, connections=1, **FAST)
