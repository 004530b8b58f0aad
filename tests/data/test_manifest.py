"""The manifest: round trips, what it refuses, what it weighs."""

import pickle
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from speechbrain.dataio.dataset import DynamicItemDataset

from speechbrain_dino.data.manifest import Manifest


def rows(count, **extra):
    """Made-up rows: 3 utterances per session, 2 sessions per speaker."""
    return [
        {
            "ID": f"id{i // 6}--s{i // 3}--{i}",
            "duration": 1.0 + i / 10,
            "wav": f"/corpus/wav/id{i // 6}/s{i // 3}/{i}.wav",
            "start": 10 * i,
            "stop": 10 * i + 16000,
            "spk_id": f"id{i // 6}",
        }
        | {name: value(i) for name, value in extra.items()}
        for i in range(count)
    ]


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def test_rows_come_back():
    given_rows = rows(14, emotion=lambda i: ["ang", "hap"][i % 2])
    manifest = Manifest.from_rows(iter(given_rows))
    assert len(manifest) == 14
    assert manifest[5] == ("id0--s1--5", 1.5, "/corpus/wav/id0/s1/5.wav", 50, 16050) + (
        "id0",
        None,
    )
    assert [manifest[i].wav for i in range(14)] == [r["wav"] for r in given_rows]
    assert list(manifest.ids) == [r["ID"] for r in given_rows]
    assert manifest.column("emotion").tolist() == ["ang", "hap"] * 7
    assert manifest.column("duration").tolist() == [r["duration"] for r in given_rows]
    assert manifest.lengths.dtype == np.int64
    assert manifest.lengths.tolist() == [16000] * 14
    assert manifest[-1] == manifest[13]
    with pytest.raises(IndexError):
        manifest[14]


def test_csv_round_trip_and_speechbrain_reads_it(tmp_path):
    speech = np.array([[0, 100], [200, 15000]])
    given_rows = rows(8, speech=lambda i: speech + 10 * i if i % 2 else None)
    given_rows[3]["spk_id"] = None
    given_rows[4]["ID"] = 'a, "quoted" name'
    first = Manifest.from_rows(given_rows)
    first.to_csv(tmp_path / "train.csv")
    second = Manifest.from_csv(tmp_path / "train.csv")
    for i, row in enumerate(given_rows):
        for manifest in (first, second, pickle.loads(pickle.dumps(second))):
            utterance = manifest[i]
            assert utterance[:6] == tuple(row.values())[:6]
            assert np.array_equal(utterance.speech, row["speech"])
    assert second.lengths.tolist() == [16000, 14900] * 4
    dataset = DynamicItemDataset.from_csv(tmp_path / "train.csv")
    dataset.set_output_keys(["id", "wav", "duration", "stop", "spk_id"])
    assert dataset[1] == {
        "id": "id0--s0--1",
        "wav": "/corpus/wav/id0/s0/1.wav",
        "duration": 1.1,
        "stop": "16010",
        "spk_id": "id0",
    }
    assert [path.name for path in tmp_path.iterdir()] == ["train.csv"]


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_subset_is_the_list_of_its_rows(data):
    count = data.draw(st.integers(1, 12))
    runs = [
        sorted(data.draw(st.sets(st.integers(0, 500), min_size=4, max_size=4)))
        if data.draw(st.booleans())
        else []
        for _ in range(count)
    ]
    given_rows = rows(
        count, speech=lambda i: np.reshape(runs[i], (-1, 2)).astype(int) + 10 * i
    )
    manifest = Manifest.from_rows(given_rows)
    chosen = data.draw(st.lists(st.integers(0, count - 1)))
    subset = manifest.subset(chosen)
    assert list(subset.ids) == [given_rows[i]["ID"] for i in chosen]
    assert subset.lengths.tolist() == [manifest.lengths[i] for i in chosen]
    for k, i in enumerate(chosen):
        assert subset[k][:6] == manifest[i][:6]
        assert np.array_equal(subset[k].speech, manifest[i].speech)
        usable = 16000 if not runs[i] else sum(np.diff(np.reshape(runs[i], (-1, 2))))[0]
        assert manifest.lengths[i] == usable
    mask = np.isin(np.arange(count), chosen)
    assert list(manifest.subset(mask).ids) == [
        manifest.ids[i] for i in sorted(set(chosen))
    ]


def test_data_root_and_blank_lines(tmp_path, monkeypatch):
    text = "ID, duration, wav, start, stop\n\na, 1.0, $data_root/x.wav, 0, 16\n"
    path = write(tmp_path / "m.csv", text + "b, 1.0, sub/y.wav, 0, 16\n")
    manifest = Manifest.from_csv(path, data_root="/data")
    assert [u.wav for u in manifest] == ["/data/x.wav", "/data/sub/y.wav"]
    assert manifest[0].spk_id is None
    with pytest.raises(ValueError, match="pass data_root"):
        Manifest.from_csv(path)
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path / "n.csv", "ID,duration,wav,start,stop\nb,1,y.wav,0,16\n")
    assert Manifest.from_csv("n.csv")[0].wav == str(tmp_path / "y.wav")


HEAD = "ID,duration,wav,start,stop,speech\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"lacks the columns \['ID', 'duration'"),
        ("ID,wav\na,b\n", r"lacks the columns \['duration', 'start', 'stop'\]"),
        (HEAD + "a,1,x,0\n", "row 1 has 4 fields, expected 6"),
        (HEAD + "a,1,x,0,9,\nb,1,x,0.5,9,\n", "row 2 has start '0.5'"),
        (HEAD + "a,one,x,0,9,\n", "row 1 has duration 'one', expected seconds"),
        (HEAD + "a,1,x,9,9,\n", "row 1 runs from sample 9 to 9"),
        (HEAD + "a,1,x,-1,9,\n", "row 1 runs from sample -1 to 9"),
        (HEAD + "a,1,x,0,9,\nb,1,x,0,9,\na,1,x,0,9,\n", "'a' occurs twice.*1 and 3"),
        (HEAD + "a,1,x,0,9,2-12\n", "row 1 has speech '2-12', expected rising runs"),
        (HEAD + "a,1,x,0,9,4-6;2-3\n", "row 1 has speech"),
        (HEAD + "a,1,x,0,9,\nb,1,x,5,9,2-7\n", "row 2 has speech"),
        (HEAD + "a,1,x,0,9,1-2-3\n", "row 1 has speech '1-2-3'"),
        (HEAD + "a,1,x,0,9,1-\n", "row 1 has speech '1-'"),
    ],
)
def test_refuses(tmp_path, text, message):
    path = write(tmp_path / "bad.csv", text)
    with pytest.raises(ValueError, match=message) as error:
        Manifest.from_csv(path)
    assert str(path) in str(error.value)


def test_rows_must_have_equal_keys():
    with pytest.raises(ValueError, match="give every row the same keys"):
        Manifest.from_rows([*rows(1), *rows(1, label=str)])


def test_empty_manifest(tmp_path):
    Manifest.from_rows([]).to_csv(tmp_path / "none.csv")
    manifest = Manifest.from_csv(tmp_path / "none.csv")
    assert len(manifest) == 0
    assert manifest.lengths.tolist() == []


def test_unknown_column():
    with pytest.raises(KeyError, match=r"no column 'label'.*spk_id"):
        Manifest.from_rows(rows(1)).column("label")


def voxceleb_rows(count):
    """Rows with names as long as VoxCeleb2's."""
    for i in range(count):
        yield {
            "ID": f"id{i // 100:05d}--{i // 7:011d}--{i % 7:05d}",
            "duration": 8.0,
            "wav": f"/data/wav/id{i // 100:05d}/{i // 7:011d}/{i % 7:05d}.wav",
            "start": 0,
            "stop": 128000,
            "spk_id": f"id{i // 100:05d}",
        }


def test_bytes_per_row():
    """A packed row is its ID, its file name and a few numbers: under 85 bytes."""
    count = 20_000
    assert len(pickle.dumps(Manifest.from_rows(voxceleb_rows(count)))) / count < 85


def test_bytes_in_memory_per_row(tmp_path):
    """1.1 million rows are to take 0.15 GB at most (benchmarks/manifest_memory.py)."""
    written = Manifest.from_rows(voxceleb_rows(20_000))
    written.to_csv(tmp_path / "train.csv")
    tracemalloc.start()
    try:
        manifest = Manifest.from_csv(tmp_path / "train.csv")
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert held / len(manifest) < 137
