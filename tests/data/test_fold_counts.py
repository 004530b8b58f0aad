"""Counts of classes in folds, in numbers and as a table."""

import numpy as np
from emotion_trees import manifest_of

from speechbrain_dino.data.fold_makers import Fold
from speechbrain_dino.data.folds import count_folds, table_of


def test_counts_and_table():
    rows = [("a", "ann", "1", "f", "sad"), ("b", "ann", "1", "f", "angry")]
    rows += [("c", "ben", "1", "m", "sad"), ("d", "", "1", "", "sad")]
    rows += [("e", "", "1", "", "sad")]
    parts = ([0, 1], [2], [3, 4])
    folds = [Fold("Session1", *(np.array(part) for part in parts))]
    counts = count_folds(folds, manifest_of(rows), ["sad", "angry"])
    assert counts == {
        "Session1": {
            "train": {"sad": 1, "angry": 1, "all": 2, "speakers": 1},
            "valid": {"sad": 1, "angry": 0, "all": 1, "speakers": 1},
            "test": {"sad": 2, "angry": 0, "all": 2, "speakers": 2},
        }
    }
    assert table_of(counts, ["sad", "angry"]).splitlines() == [
        "fold      part   sad  angry  all  speakers",
        "Session1  train    1      1    2         1",
        "Session1  valid    1      0    1         1",
        "Session1  test     2      0    2         2",
    ]
