"""Metrics of lists: intervals over the right speakers, and conditions."""

import numpy as np
import pytest

from speechbrain_dino.data.trials import Trials
from speechbrain_dino.embeddings.table import EmbeddingTable
from speechbrain_dino.metrics.bootstrap import bootstrap_intervals
from speechbrain_dino.metrics.verification import eer
from speechbrain_dino.scoring.conditions import describe
from speechbrain_dino.scoring.cosine import summarize
from speechbrain_dino.scoring.lists import ListMetrics, by_condition


@pytest.fixture
def scored():
    """Table, trials of all pairs of 6 speakers' 3 utterances each, scores."""
    rng = np.random.default_rng(0)
    ids = [f"id{speaker}/{number}" for speaker in range(6) for number in range(3)]
    enrol, test = np.triu_indices(len(ids), 1)
    same = enrol // 3 == test // 3
    sides = [[ids[row] for row in rows] for rows in (enrol, test)]
    trials = Trials(same.astype(np.int8), *sides, "O.txt")
    return EmbeddingTable(ids, np.zeros((18, 2))), trials, rng.normal(2 * same)


@pytest.mark.parametrize("calibrated", [False, True])
def test_intervals_are_those_of_the_first_part_of_the_names(scored, calibrated):
    table, trials, scores = scored
    about = describe(table.ids)
    metrics_of = ListMetrics({"O": trials}, table, about, bootstrap=30)
    metrics, _ = metrics_of("O", scores, calibrated)
    speakers = [[name[:3] for name in side] for side in (trials.enrol, trials.test)]
    expected = bootstrap_intervals(
        trials.labels, scores, *speakers, calibrated=calibrated, replicates=30
    )
    assert ("cllr" in expected) == calibrated
    assert metrics["intervals"] == {key: list(ends) for key, ends in expected.items()}
    low, high = metrics["intervals"]["eer"]
    assert low < metrics["eer"] < high
    del metrics["intervals"]
    assert metrics == summarize(trials.labels, scores, calibrated)
    assert "intervals" not in ListMetrics({"O": trials}, table, about)("O", scores)[0]


def test_speakers_that_contradict_the_labels_give_no_interval(scored, caplog):
    table, trials, scores = scored
    about = describe(table.ids)
    about["speaker"] = about["ID"]
    lists = {"O": trials}
    assert "intervals" not in ListMetrics(lists, table, about, 9)("O", scores)[0]
    assert "O.txt: 18 of 153 labels contradict" in caplog.text
    assert "line 1, id0/0 id0/1" in caplog.text


@pytest.mark.parametrize("wrong", [-1, "many", 0.5])
def test_a_number_of_draws_is_needed(scored, wrong):
    with pytest.raises(ValueError, match=f"bootstrap={wrong!r}: expected how often"):
        ListMetrics({}, scored[0], bootstrap=wrong)


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
