"""Which utterances pseudo labels take part, and how much two clusterings differ."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from speechbrain_dino.training.pseudo_labels import label_change

LABELS = st.lists(st.integers(-1, 4), min_size=1, max_size=30)


def change_slowly(one, other):
    stayed = 0
    for cluster in set(one):
        inside = [b for a, b in zip(one, other) if a == cluster]
        stayed += max(inside.count(label) for label in set(inside))
    return 1 - stayed / len(one)


@settings(max_examples=60, deadline=None)
@given(st.data(), LABELS)
def test_label_change_is_the_slow_version(data, before):
    size = {"min_size": len(before), "max_size": len(before)}
    after = data.draw(st.lists(st.integers(-1, 4), **size))
    expected = max(change_slowly(before, after), change_slowly(after, before))
    change = label_change(np.array(before), np.array(after))
    assert change == pytest.approx(expected)


def test_numbers_of_clusters_say_nothing():
    before = np.array([0, 0, 1, 2, 2, -1])
    assert label_change(before, np.array([5, 5, 0, 1, 1, 7])) == 0
