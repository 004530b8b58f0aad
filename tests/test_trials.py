"""Trial lists in and out."""

from types import SimpleNamespace

import numpy as np
import pytest

from speechbrain_dino.trials import Trials, read_trials, trial_rows, write_scores


def write(path, text):
    path.write_text(text)
    return path


def test_read_trials_gives_fields_in_order(tmp_path):
    path = write(tmp_path / "list.txt", "1 a/1.wav b/2.wav\r\n0 c.wav  a/1.wav\n\n")
    trials = read_trials(path)
    assert trials.labels.tolist() == [1, 0]
    assert trials.labels.dtype == np.int8
    assert trials.enrol == ["a/1.wav", "c.wav"]
    assert trials.test == ["b/2.wav", "a/1.wav"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 a b\n0 a\n", r"list\.txt:2: .*'0 a'"),
        ("1 a b c\n", r"list\.txt:1: "),
        ("1 a b\n\n0 a b\n", r"list\.txt:2: "),
        ("1 a b\n2 a b\n", r"list\.txt:2: .*label of 0 or 1"),
        ("target a b\n", r"list\.txt:1: "),
        ("", r"list\.txt: the trial list is empty"),
        ("\n\n", r"list\.txt: the trial list is empty"),
    ],
)
def test_read_trials_names_file_and_line(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        read_trials(write(tmp_path / "list.txt", text))


def test_an_unknown_utterance_is_named_with_its_line():
    table = SimpleNamespace(ids=["a"], vectors=np.ones((1, 2), dtype=np.float32))
    trials = Trials(np.array([1, 0]), ["a", "a"], ["a", "zz"], "lists/o.txt")
    with pytest.raises(ValueError, match=r"lists/o\.txt:2: no utterance 'zz'"):
        trial_rows(table, trials)


def test_written_scores_give_the_same_figures(tmp_path):
    rng = np.random.default_rng(0)
    scores = rng.normal(size=200).astype(np.float32) / 3
    labels = rng.integers(0, 2, 200).astype(np.int8)
    trials = Trials(labels, [f"e{i}" for i in range(200)], ["t"] * 200, "x")
    write_scores(tmp_path / "scores" / "o.txt", trials, scores)
    rows = [x.split() for x in (tmp_path / "scores" / "o.txt").read_text().splitlines()]
    assert rows[7][:3] == [str(labels[7]), "e7", "t"]
    back = np.array([float(row[3]) for row in rows], dtype=np.float32)
    np.testing.assert_array_equal(back, scores)
    with pytest.raises(ValueError, match="200 trials, 3 scores"):
        write_scores(tmp_path / "o.txt", trials, scores[:3])
