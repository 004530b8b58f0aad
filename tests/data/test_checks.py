"""Every kind of bad audio is found, counted and named."""

import os

import numpy as np
import pytest
from audio_files import noise, write

from speechbrain_dino.data import audio_facts
from speechbrain_dino.data.audio_facts import Facts, look_up
from speechbrain_dino.data.checks import REMEDIES, check_manifest
from speechbrain_dino.data.manifest import Manifest


@pytest.fixture
def zoo(tmp_path):
    """One file of each kind, as a manifest; the good ones come first."""
    bad = noise()
    bad[5000] = np.nan
    flac = tmp_path / "unreadable.flac"
    same = (32767 * noise()).astype(np.int16)
    paths = {
        "good": write(tmp_path / "good.wav", samples=same),
        "good_float": write(tmp_path / "float.wav", seed=1, subtype="FLOAT"),
        "missing": str(tmp_path / "missing.wav"),
        "empty": str(tmp_path / "empty.wav"),
        "unreadable": write(flac, seed=2),
        "wrong_rate": write(tmp_path / "rate.wav", rate=8000),
        "stereo": write(tmp_path / "stereo.wav", channels=2),
        "non_finite": write(tmp_path / "nan.wav", samples=bad, subtype="FLOAT"),
        "silent": write(tmp_path / "silent.wav", samples=np.full(16000, 1e-2)),
        "too_short": write(tmp_path / "short.wav", 0.2, seed=3),
        "past_end": write(tmp_path / "past.wav", 0.9, seed=4),
        "duplicate": write(tmp_path / "good.flac", samples=same),
    }
    (tmp_path / "empty.wav").write_bytes(b"")
    flac.write_bytes(flac.read_bytes()[:2000])
    rows = [
        {
            "ID": name,
            "duration": 1.0,
            "wav": path,
            "start": 0,
            "stop": 3200 if name == "too_short" else 16000,
        }
        for name, path in paths.items()
    ]
    return Manifest.from_rows(rows), paths


def test_full_check_finds_every_kind(zoo):
    manifest, paths = zoo
    kept, left_out = check_manifest(manifest, 16000, min_duration=0.5)
    assert list(kept.ids) == ["good", "good_float"]
    assert left_out == {
        kind: {"count": 1, "example": paths[kind], "remedy": REMEDIES[kind]}
        for kind in paths
        if not kind.startswith("good")
    }


def test_headers_check_finds_what_headers_say(zoo):
    manifest, _ = zoo
    kept, left_out = check_manifest(manifest, 16000, 0.5, check="headers")
    # The file that is not finite has 32 bits: such files are always read.
    need_samples = {"unreadable", "silent", "duplicate"}
    assert set(left_out) == set(manifest.ids) - {"good", "good_float"} - need_samples
    assert set(kept.ids) == {"good", "good_float"} | need_samples


def test_nothing_left_is_an_error(zoo):
    manifest, paths = zoo
    bad = manifest.subset([3, 8])
    with pytest.raises(ValueError, match="there is no utterance to train on") as error:
        check_manifest(bad)
    assert paths["silent"] in str(error.value)
    assert "1 empty, such as" in str(error.value)
    with pytest.raises(ValueError, match="check='deep': expected 'full' or 'headers'"):
        check_manifest(manifest, check="deep")


def test_no_audio_at_all_is_unreadable(tmp_path):
    (tmp_path / "text.wav").write_text("this is no audio", encoding="utf-8")
    assert look_up([str(tmp_path / "text.wav")], True, False)[0].problem == "unreadable"


def test_facts_and_digest_do_not_depend_on_the_container(tmp_path):
    samples = (32767 * noise()).astype(np.int16)
    wav = write(tmp_path / "a.wav", samples=samples)
    flac = write(tmp_path / "a.flac", samples=samples)
    other = write(tmp_path / "b.wav", seed=1)
    first, second, third = look_up([wav, flac, other], True, False)
    assert first[:4] == second[:4] == (16000, 16000, 1, "")
    assert first.digest == second.digest != third.digest
    assert look_up([wav], False, False)[0] == Facts(16000, 16000, 1, codec="WAV/PCM_16")


def test_second_run_reads_only_what_changed(tmp_path, monkeypatch):
    paths = [write(tmp_path / f"{i}.wav", 0.1, seed=i) for i in range(4)]
    ledger = tmp_path / "ledger.jsonl"
    read = []
    real = audio_facts.inspect
    monkeypatch.setattr(
        audio_facts, "inspect", lambda job: (read.append(job[0]), real(job))[1]
    )
    first = look_up(paths, False, False, 1, ledger)
    assert (read, first[0].digest) == (paths, "")
    read.clear()
    assert look_up(paths, False, False, 1, ledger) == first
    assert read == []
    full = look_up(paths, True, False, 1, ledger)
    assert read == paths
    assert look_up(paths, False, False, 1, ledger) == full
    with_speech = look_up(paths[:1], True, True, 1, ledger)
    assert with_speech[0].speech == "0-1600"
    read.clear()
    write(tmp_path / "1.wav", 0.1, seed=9)
    stat = os.stat(paths[2])
    os.utime(paths[2], ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    os.remove(paths[3])
    changed = look_up(paths, True, False, 1, ledger)
    assert read == paths[1:]
    assert changed[0] == with_speech[0]
    assert changed[1].digest != full[1].digest
    assert (changed[2], changed[3].problem) == (full[2], "missing")


def test_processes_give_the_same_in_order(tmp_path):
    paths = [write(tmp_path / f"{i}.wav", 0.05 + i / 1000, seed=i) for i in range(80)]
    serial = look_up(paths, True, True, num_workers=1)
    assert look_up(paths, True, True, num_workers=2) == serial
    assert [facts.frames for facts in serial] == [800 + 16 * i for i in range(80)]
