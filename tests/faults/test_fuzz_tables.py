"""Any bytes in a table are read, or refused in one line: manifests, labels, truth."""

import os

import numpy as np
from hypothesis import HealthCheck, example, given, settings, strategies as st

from speechbrain_dino.clustering.labels import load_labels
from speechbrain_dino.data.manifest import Manifest
from speechbrain_dino.runs.cluster import read_truth

EXAMPLES = int(os.environ.get("FAULTS_EXAMPLES", "200"))
FUZZ = settings(
    max_examples=EXAMPLES,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

HEADER = ["ID", "duration", "wav", "start", "stop"]
WORDS = ["", "a", "a.wav", "/c/é.wav", "$data_root/a.wav", '"', '""', "x\ny", "\0", "ü"]
WORDS += [
    "0",
    "1",
    "-1",
    "1.5",
    "nan",
    "inf",
    "1e9",
    "9" * 30,
    "0-1;1-2",
    "3-1",
    "\uff11",
]
WORDS += [" ", "\ufeff", "\udce9", "a" * 300, "--", ",", ";", "None"]
FIELDS = st.one_of(st.sampled_from(WORDS), st.text(max_size=6), st.integers().map(str))
ROWS = st.lists(st.lists(FIELDS, max_size=8), max_size=6)


def as_bytes(header, rows):
    lines = [",".join(header), *(",".join(row) for row in rows)]
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def tables(header, *more):
    """Tables with this header and odd rows, with a changed header, and any bytes."""
    headers = st.one_of(
        st.just([*header, *more]),
        st.just(header),
        st.permutations(header),
        st.lists(st.sampled_from([*header, *more, "", "é"]), max_size=8),
    )
    return st.one_of(st.builds(as_bytes, headers, ROWS), st.binary(max_size=300))


def read_or_refused(read, path, content):
    """What is read, or None where it is refused with the file's name."""
    path.write_bytes(content)
    try:
        return read(path)
    except ValueError as error:
        assert str(path) in str(error)
        assert len(str(error)) < 2000
        return None


@FUZZ
@example(b"")
@example(b"ID,duration,wav,start,stop\na,1,a.wav,0,99999999999999999999999")
@example(b"ID,duration,wav,start,stop,stop\na,1,a.wav,0,1,2")
@example(b"ID,duration,wav,start,stop,speech\na,1,a.wav,0,9,1-" + b"9" * 40)
@example(b"ID,duration,wav,start,stop\na,1,\x00,0,9\n")
@example(b"\xff\xfeI\x00D\x00")
@given(tables(HEADER, "spk_id", "speech", "gender"))
def test_manifest(tmp_path, content):
    manifest = read_or_refused(Manifest.from_csv, tmp_path / "m.csv", content)
    if manifest is None:
        return
    for row in range(len(manifest)):
        utterance = manifest[row]
        assert 0 <= utterance.start < utterance.stop
        assert np.isfinite(utterance.duration) and os.path.isabs(utterance.wav)
        assert manifest.lengths[row] > 0
    assert len(set(manifest.ids)) == len(manifest)
    manifest.to_csv(tmp_path / "again.csv")
    again = Manifest.from_csv(tmp_path / "again.csv")
    assert len(again) == len(manifest) and list(again.lengths) == list(manifest.lengths)


@FUZZ
@example(b"ID,label\na,99999999999999999999999\nb,0")
@example(b"ID,label\na,1000000000000\nb,0")
@given(tables(["ID", "label"]))
def test_labels(tmp_path, content):
    labels = read_or_refused(load_labels, tmp_path / "labels.csv", content)
    if labels is not None:
        assert labels.dtype == np.int64 and labels.min() >= -1
        assert len(np.unique(labels[labels >= 0])) >= 2


@FUZZ
@given(tables(["ID", "spk_id"], "wav"))
def test_truth(tmp_path, content):
    truth = read_or_refused(lambda p: read_truth(p, "spk_id"), tmp_path / "t", content)
    assert truth is None or all(isinstance(name, str) for name in truth)
