"""Folds that leave a session or a speaker out, and official partitions."""

import numpy as np
import pytest
from emotion_trees import as_sets, ids, manifest_of, shuffled
from hypothesis import given, settings, strategies as st

from speechbrain_dino.data.fold_makers import leave_one_group_out, official

EMOTIONS = ("angry", "sad")
FIVE = [
    (f"Ses0{s}{g}_{e}", f"Ses0{s}{g}", f"Session{s}", g, e)
    for s in range(1, 6)
    for g in "FM"
    for e in EMOTIONS
]


def speakers(manifest, rows):
    return sorted({name.split("_")[0] for name in ids(manifest, rows)})


def test_sessions_are_left_out_with_a_speaker_of_the_next_one_to_validate_on():
    manifest = manifest_of(FIVE)
    folds = leave_one_group_out(manifest)
    named = [(f.name, *(speakers(manifest, part) for part in f[2:])) for f in folds]
    assert named == [
        ("Session1", ["Ses02F"], ["Ses01F", "Ses01M"]),
        ("Session2", ["Ses03M"], ["Ses02F", "Ses02M"]),
        ("Session3", ["Ses04F"], ["Ses03F", "Ses03M"]),
        ("Session4", ["Ses05M"], ["Ses04F", "Ses04M"]),
        ("Session5", ["Ses01F"], ["Ses05F", "Ses05M"]),
    ]
    everything = list(range(len(manifest)))
    assert all(sorted(np.concatenate(f[1:])) == everything for f in folds)
    assert all(len(f.train) == 14 for f in folds)


def test_sessions_are_left_out_with_the_next_one_to_validate_on():
    manifest = manifest_of(FIVE)
    folds = leave_one_group_out(manifest, "session", "session")
    assert [speakers(manifest, f.valid) for f in folds] == [
        [f"Ses0{s}F", f"Ses0{s}M"] for s in (2, 3, 4, 5, 1)
    ]
    assert all(len(f.train) == 12 for f in folds)


def test_speakers_are_left_out_with_the_other_one_of_the_session_to_validate_on():
    manifest = manifest_of(FIVE)
    folds = leave_one_group_out(manifest, "spk_id", "session")
    assert len(folds) == 10
    for f in folds:
        assert speakers(manifest, f.test) == [f.name]
        other = f.name[:-1] + {"F": "M", "M": "F"}[f.name[-1]]
        assert speakers(manifest, f.valid) == [other]
        assert len(f.train) == 16
    folds = leave_one_group_out(manifest, "spk_id", "spk_id")
    names = [f.name for f in folds]
    assert [speakers(manifest, f.valid)[0] for f in folds] == names[1:] + names[:1]


def test_too_few_groups_are_named():
    one = [row for row in FIVE if row[2] == "Session1"]
    with pytest.raises(ValueError, match="all rows have the session 'Session1'"):
        leave_one_group_out(manifest_of(one))
    two = [row for row in FIVE if row[2] in ("Session1", "Session2")]
    with pytest.raises(ValueError, match="fold 'Session1': no utterance in train"):
        leave_one_group_out(manifest_of(two), valid="session")


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(1, 4), st.sampled_from("FM"), st.sampled_from(EMOTIONS)),
        min_size=1,
        max_size=30,
    ),
    st.sampled_from([("session", "spk_id"), ("session", "session"), ("spk_id",) * 2]),
    st.integers(0, 99),
)
def test_no_speaker_crosses_and_the_order_of_rows_does_not_matter(rows, how, seed):
    rows += [(s, g, e) for s in range(5, 8) for g in "FM" for e in EMOTIONS]
    manifest = manifest_of(
        (f"{k}", f"{s}{g}", f"{s}", g, e) for k, (s, g, e) in enumerate(rows)
    )
    folds = leave_one_group_out(manifest, *how)
    for f in folds:
        parts = [{manifest[i].spk_id for i in part} for part in f[1:]]
        assert not parts[0] & parts[1] and not parts[0] & parts[2]
        assert not parts[1] & parts[2]
    tested = sorted(i for f in folds for i in f.test)
    assert tested == list(range(len(manifest)))
    other = shuffled(manifest, seed)
    assert as_sets(leave_one_group_out(other, *how), other) == as_sets(folds, manifest)


PARTITIONED = [
    ("a", "1", "train", "sad"),
    ("b", "1", "train", "angry"),
    ("c", "2", "train", "sad"),
    ("d", "3", "development", "sad"),
    ("e", "4", "test1", "sad"),
    ("f", "5", "test2", "angry"),
    ("g", "", "train", "sad"),
    ("h", "", "test1", "angry"),
]
COLUMNS = ("spk_id", "partition", "emotion")


def test_official_partitions_one_fold_per_test_set(caplog):
    manifest = manifest_of(PARTITIONED, COLUMNS)
    folds = official(manifest)
    assert [f.name for f in folds] == ["test1"]
    assert [ids(manifest, part) for part in folds[0][1:]] == [
        ["a", "b", "c", "g"],
        ["d"],
        ["e", "h"],
    ]
    assert "fold test1: no angry in valid" in caplog.messages
    folds = official(manifest, tests=["test1", "test2"])
    assert [ids(manifest, f.test) for f in folds] == [["e", "h"], ["f"]]
    assert all((f.train == folds[0].train).all() for f in folds)


def test_a_speaker_in_two_partitions_is_named_or_left_out():
    rows = [*PARTITIONED, ("i", "2", "test1", "sad"), ("j", "2", "development", "sad")]
    rows += [("k", "3", "train", "sad")]
    manifest = manifest_of(rows, COLUMNS)
    with pytest.raises(ValueError, match=r"fold 'test1': spk_id '2' is in .*1 more$"):
        official(manifest)
    (fold,) = official(manifest, shared_speakers="leave_out")
    assert [ids(manifest, part) for part in fold[1:]] == [
        ["a", "b", "g"],
        ["d"],
        ["e", "h", "i"],
    ]
    with pytest.raises(ValueError, match="expected 'error' or 'leave_out'"):
        official(manifest, shared_speakers="drop")


def test_an_unknown_partition_is_named():
    with pytest.raises(ValueError, match="partition 'test3': the manifest has"):
        official(manifest_of(PARTITIONED, COLUMNS), tests="test3")
