"""Lists scored in several ways: what is left out, and what a condition holds."""

import numpy as np
import pytest

from speechbrain_dino.backends import Cohort, Cosine
from speechbrain_dino.embedding_table import EmbeddingTable
from speechbrain_dino.metrics import eer
from speechbrain_dino.scored_lists import by_condition, results_frame, score_lists
from speechbrain_dino.scoring import as_norm
from speechbrain_dino.trials import Trials


@pytest.fixture
def small():
    rng = np.random.default_rng(0)
    table = EmbeddingTable([f"u{n}" for n in range(8)], rng.normal(size=(8, 4)))
    labels = np.array([1, 0, 1, 0], dtype=np.int8)
    trials = Trials(labels, ["u0", "u1", "u2", "u3"], ["u4", "u5", "u6", "u7"], "l.txt")
    return table, {"l": trials, "kept_back": trials._replace(labels=None)}


def test_ways_without_what_they_need_are_left_out(small, caplog):
    table, lists = small
    ways = {"cosine": Cosine(), "s": Cosine(normalise=as_norm, cohort_by="speaker")}
    assert list(score_lists(lists, table, ways)) == ["cosine"]
    assert "s needs a cohort and none is given" in caplog.text
    cohort = Cohort(np.random.default_rng(1).normal(size=(9, 4)), None, "c.csv")
    assert list(score_lists(lists, table, ways, cohort)) == ["cosine"]
    assert "s needs labels, which the cohort c.csv has not" in caplog.text
    with pytest.raises(ValueError, match="no way to score is left"):
        score_lists(lists, table, {"s": ways["s"]})


def test_lists_without_labels_get_scores_alone(small, tmp_path):
    table, lists = small
    scored = score_lists(lists, table, {"cosine": Cosine()}, None, tmp_path)
    assert list(scored["cosine"]["lists"]) == ["l"]
    lines = (tmp_path / "scores" / "kept_back.txt").read_text().splitlines()
    assert lines[0].split()[:2] == ["u0", "u4"]
    assert results_frame(scored)["list"].tolist() == ["l"]


def test_conditions_are_lists_of_their_own():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 300)
    scores = rng.normal(labels)
    kind = rng.choice(["a", "b", "c", ""], 300)
    labels[kind == "c"] = 1
    lines = by_condition(labels, scores, {"kind": kind})
    assert [line["value"] for line in lines] == ["a", "b", "c"]
    for line in lines:
        inside = kind == line["value"]
        impostors = labels == 0
        if line["value"] != "c":
            impostors &= inside
        rate = eer(scores[inside & (labels == 1)], scores[impostors])[0]
        assert line["eer"] == rate
        assert line["impostors"] == ("all" if line["value"] == "c" else "own")
        assert line["trials"] == line["targets"] + impostors.sum()
