"""Packed columns against plain lists."""

import pickle

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from speechbrain_dino.data.packed import CHUNK, Labels, LabelsBuilder, Strings, smallest

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)


@settings(deadline=None, max_examples=50)
@given(st.lists(TEXT, max_size=20), st.data())
def test_strings_and_labels_read_like_the_list(values, data):
    strings = Strings(values)
    builder = LabelsBuilder()
    builder.extend(values)
    labels = builder.finish()
    rows = data.draw(st.lists(st.integers(0, len(values) - 1))) if values else []
    for packed in (strings, labels, pickle.loads(pickle.dumps(strings))):
        assert len(packed) == len(values)
        assert list(packed) == values
        assert packed[1:3] == values[1:3]
        assert list(packed.take(np.array(rows, dtype=int))) == [values[i] for i in rows]
    assert labels.array().tolist() == values


def test_more_strings_than_one_chunk():
    values = [str(i) for i in range(2 * CHUNK + 5)]
    assert list(Strings(values)) == values


def test_row_outside():
    for packed in (Strings(["a"]), Labels([0], ["a"])):
        assert packed[-1] == "a"
        with pytest.raises(IndexError, match=r"row 1 was asked for.*1 rows"):
            packed[1]


def test_smallest_keeps_the_numbers():
    for values in ([], [-5, 3], [2**31 - 1], [2**31], [-(2**31) - 1]):
        assert smallest(values).tolist() == values
    assert smallest([2**31 - 1]).dtype == np.int32
    assert smallest([2**31]).dtype == np.int64
