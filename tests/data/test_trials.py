"""Trial lists in and out."""

from types import SimpleNamespace

import numpy as np
import pytest

from speechbrain_dino.data.trials import (
    Trials,
    check_both_kinds,
    read_scores,
    read_trials,
    trial_rows,
    write_scores,
    write_trials,
)


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def test_read_trials_gives_fields_in_order(tmp_path):
    path = write(tmp_path / "list.txt", "1 a/1.wav b/2.wav\r\n0 c.wav  a/1.wav\n\n")
    trials = read_trials(path)
    assert trials.labels.tolist() == [1, 0]
    assert trials.labels.dtype == np.int8
    assert trials.enrol == ["a/1.wav", "c.wav"]
    assert trials.test == ["b/2.wav", "a/1.wav"]


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("0 a b\n1 c d\n", [0, 1]),
        ("a b nontarget\nc d target\n", [0, 1]),
        ("a b\nc d\n", None),
        # Names that look like labels: the words of Kaldi's form decide.
        ("1 b target\n0 d nontarget\n", [1, 0]),
    ],
)
def test_read_trials_recognizes_the_form(tmp_path, text, labels):
    trials = read_trials(write(tmp_path / "list.txt", text))
    assert (trials.labels is None) == (labels is None)
    if labels is not None:
        assert trials.labels.tolist() == labels
        assert trials.labels.dtype == np.int8
    assert trials.test == ["b", "d"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 a b\n0 a\n", r"list\.txt:2: .*'0 a'"),
        ("1 a b c\n", r"list\.txt:1: "),
        ("1 a b\n\n0 a b\n", r"list\.txt:2: "),
        ("1 a b\n2 a b\n", r"list\.txt:2: .*label of 0 or 1"),
        ("target a b\n", r"list\.txt:1: .*'enrol test label' with a label of nontar"),
        ("a b target\na b 1\n", r"list\.txt:2: .*label of nontarget or target as in"),
        ("a b\nc d\n1 a b\n", r"list\.txt:3: expected 'enrol test' as in line 1"),
        ("", r"list\.txt: the trial list is empty"),
        ("\n\n", r"list\.txt: the trial list is empty"),
    ],
)
def test_read_trials_names_file_and_line(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        read_trials(write(tmp_path / "list.txt", text))


@pytest.mark.parametrize(
    ("text", "enrol", "test"),
    [
        ("1\tmy files/a.wav\tb.wav\n0\ta.wav\tb c.wav\n", "my files/a.wav", "b c.wav"),
        ("1\ta.wav\tb.wav\n0\ta.wav\tb c.wav\n", "a.wav", "b c.wav"),
        ("a b.wav\tc.wav\ttarget\na.wav\tb c.wav\tnontarget\n", "a b.wav", "b c.wav"),
        ("a.wav\tb.wav target\na.wav\tc.wav nontarget\n", "a.wav", "c.wav"),
        ("a b.wav\tb.wav\r\na.wav\t b c.wav \r\n", "a b.wav", "b c.wav"),
    ],
)
def test_tabs_set_names_with_spaces_apart(tmp_path, text, enrol, test):
    trials = read_trials(write(tmp_path / "list.txt", text))
    assert (trials.enrol[0], trials.test[1]) == (enrol, test)
    labels = None if "\r" in text else [1, 0]
    assert (trials.labels is None) == (labels is None)
    if labels:
        assert trials.labels.tolist() == labels
    write_trials(tmp_path / "copy.txt", trials)
    assert read_trials(tmp_path / "copy.txt")[1:3] == trials[1:3]
    write_scores(tmp_path / "scores.txt", trials, np.array([0.5, 0.25]))
    again, scores = read_scores(tmp_path / "scores.txt")
    assert again[1:3] == trials[1:3] and scores.tolist() == [0.5, 0.25]


def test_what_is_wrong_among_tabs_is_named(tmp_path):
    for text, line in (
        ("1\ta b.wav\tc.wav\n1\ta b.wav\n", 2),
        ("1\ta.wav\tb.wav\n0\ta b.wav\tc.wav\n2\ta.wav\tb.wav\n", 3),
        ("1\t\ta b c.wav\n", 1),
    ):
        with pytest.raises(ValueError, match=rf"list\.txt:{line}: expected"):
            read_trials(write(tmp_path / "list.txt", text))


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path):
    path = write(tmp_path / "list.txt", "\ufeff1 a.wav b.wav\n0 a.wav c.wav\n")
    trials = read_trials(path)
    assert (trials.labels.tolist(), trials.enrol) == ([1, 0], ["a.wav", "a.wav"])
    trials = read_trials(write(tmp_path / "list.txt", "\ufeffa.wav b.wav\n"))
    assert trials.enrol == ["a.wav"]
    path = write(tmp_path / "s.txt", "\ufeff1 a.wav b.wav 0.5\n0 a.wav c.wav 0.25\n")
    assert read_scores(path)[1].tolist() == [0.5, 0.25]


def test_text_in_another_encoding_is_named(tmp_path):
    path = tmp_path / "list.txt"
    path.write_bytes("1 a.wav b.wav\n0 a.wav jos\xe9.wav\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"list\.txt:2: expected text in UTF-8.*0xe9"):
        read_trials(path)


def test_lists_need_both_kinds():
    trials = Trials(np.array([0, 0]), ["a", "a"], ["b", "c"], "mine.txt")
    with pytest.raises(ValueError, match=r"mine.txt: all trials are nontarget trials"):
        check_both_kinds(trials)
    check_both_kinds(trials._replace(labels=np.array([0, 1])))
    check_both_kinds(trials._replace(labels=None))


def test_an_unknown_utterance_is_named_with_its_line():
    table = SimpleNamespace(ids=["a"], vectors=np.ones((1, 2), dtype=np.float32))
    trials = Trials(np.array([1, 0]), ["a", "a"], ["a", "zz"], "lists/o.txt")
    with pytest.raises(ValueError, match=r"lists/o\.txt:2: no utterance 'zz'"):
        trial_rows(table, trials)


def test_written_scores_come_back_exactly(tmp_path):
    rng = np.random.default_rng(0)
    scores = rng.normal(size=200).astype(np.float32) / 3
    labels = rng.integers(0, 2, 200).astype(np.int8)
    trials = Trials(labels, [f"e{i}" for i in range(200)], ["t"] * 200, "x")
    write_scores(tmp_path / "scores" / "o.txt", trials, scores)
    rows = [
        x.split()
        for x in (tmp_path / "scores" / "o.txt")
        .read_text(encoding="utf-8")
        .splitlines()
    ]
    assert rows[7][:3] == [str(labels[7]), "e7", "t"]
    back = np.array([float(row[3]) for row in rows], dtype=np.float32)
    np.testing.assert_array_equal(back, scores)
    with pytest.raises(ValueError, match="200 trials, 3 scores"):
        write_scores(tmp_path / "o.txt", trials, scores[:3])


def test_scores_without_labels_come_back(tmp_path):
    trials = Trials(None, ["a", "b"], ["c", "d"], "x")
    write_scores(tmp_path / "s.txt", trials, np.array([0.1, -2.5]))
    assert (tmp_path / "s.txt").read_text(encoding="utf-8") == "a c 0.1\nb d -2.5\n"
    back, scores = read_scores(tmp_path / "s.txt")
    assert (back.labels, back.enrol, back.test) == (None, ["a", "b"], ["c", "d"])
    assert scores.tolist() == [0.1, -2.5]


def test_read_scores_reads_files_of_other_toolkits(tmp_path):
    path = write(tmp_path / "s.txt", "a c 0.5 target\nb d -1e-3 nontarget\n")
    trials, scores = read_scores(path)
    assert trials.labels.tolist() == [1, 0]
    assert scores.tolist() == [0.5, -0.001]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 a b 0.1\n1 a b nan\n", r"s\.txt:2: expected a finite number.*'nan' \(1 l"),
        ("1 a b x\n", r"s\.txt:1: expected a finite number as score, found 'x'"),
        ("1 a b 0.1\n1 a b\n", r"s\.txt:2: expected 'label enrol test score'"),
        ("", r"s\.txt: the score file is empty"),
    ],
)
def test_read_scores_names_file_and_line(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        read_scores(write(tmp_path / "s.txt", text))


@pytest.mark.parametrize("text", ["1 a b\n0 c d\n", "a b\nc d\n"])
def test_written_trials_come_back(tmp_path, text):
    trials = read_trials(write(tmp_path / "list.txt", text))
    write_trials(tmp_path / "copy" / "list.txt", trials)
    assert (tmp_path / "copy" / "list.txt").read_text(encoding="utf-8") == text
