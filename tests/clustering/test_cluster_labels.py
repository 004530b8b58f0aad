"""Files of pseudo labels: what is written is read, what is wrong is named."""

import numpy as np
import pytest

from speechbrain_dino.clustering.labels import (
    Clustering,
    load_labels,
    numbered_by_size,
    read_summary,
    save_labels,
)


def test_round_trip(tmp_path):
    ids = ["a/1.wav", "b, c.wav", "d.wav", "e.wav"]
    labels = np.array([1, 0, -1, 0])
    save_labels(tmp_path, ids, Clustering(labels, {"clusters": np.int64(2)}))
    assert (load_labels(tmp_path) == labels).all()
    assert load_labels(tmp_path / "labels.csv", ids[::-1]).tolist() == [0, -1, 0, 1]
    assert read_summary(tmp_path) == {"clusters": 2}
    with pytest.raises(ValueError, match="4 labels do not fit 3"):
        save_labels(tmp_path, ids[:3], Clustering(labels, {}))


def test_another_manifest_is_named(tmp_path):
    (tmp_path / "labels.csv").write_text("ID,label\na,0\nb,1\nx,1\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"for 1 utterances.*'c'.*names 1 .*'x'"):
        load_labels(tmp_path, ["a", "b", "c"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,label\na,0\n", "does not begin with ID,label"),
        ("ID,label\na,0\nb,1.5\n", "line 3: 'b,1.5' is no name and whole number"),
        ("ID,label\na\n", "line 2: 'a' is no name"),
        ("ID,label\na,0\nb,1\na,1\n", "line 4: 'a' occurs twice"),
        ("ID,label\na,0\nb,2\n", "up to 2 and none that is 1"),
        ("ID,label\na,0\nb,0\nc,-1\n", "holds 1 classes"),
        ("ID,label\na,-1\n", "holds 0 classes"),
        ("ID,label\na,0\nb,1\nc,-2\n", "holds the label -2"),
    ],
)
def test_malformed_files(tmp_path, text, message):
    (tmp_path / "labels.csv").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        load_labels(tmp_path)


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_labels(tmp_path)


def test_numbers_fall_with_size():
    labels = numbered_by_size(np.array([9, 4, 4, -5, 2, 2, 4]))
    assert labels.tolist() == [2, 0, 0, -1, 1, 1, 0]
    assert numbered_by_size(np.array([5, 3, 5, 3])).tolist() == [0, 1, 0, 1]
