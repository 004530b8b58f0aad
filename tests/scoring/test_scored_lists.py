"""Lists scored in several ways: what is left out, and the table."""

import numpy as np
import pytest

from speechbrain_dino.data.trials import Trials
from speechbrain_dino.embeddings.table import EmbeddingTable
from speechbrain_dino.scoring.backends import PLDA, Cohort, Cosine
from speechbrain_dino.scoring.cosine import as_norm
from speechbrain_dino.scoring.lists import results_frame, score_lists


@pytest.fixture
def small():
    rng = np.random.default_rng(0)
    table = EmbeddingTable([f"u{n}" for n in range(8)], rng.normal(size=(8, 4)))
    labels = np.array([1, 0, 1, 0], dtype=np.int8)
    trials = Trials(labels, ["u0", "u1", "u2", "u3"], ["u4", "u5", "u6", "u7"], "l.txt")
    return table, {"l": trials, "kept_back": trials._replace(labels=None)}


def test_ways_without_what_they_need_are_left_out(small, caplog):
    table, lists = small
    ways = {"cosine": Cosine(), "s": Cosine(normalize=as_norm, cohort_by="speaker")}
    assert list(score_lists(lists, table, ways)) == ["cosine"]
    assert "s is left out: it needs a cohort and none is given" in caplog.text
    cohort = Cohort(np.random.default_rng(1).normal(size=(9, 4)), None, "c.csv")
    assert list(score_lists(lists, table, ways, cohort)) == ["cosine"]
    assert "it needs labels and the cohort c.csv has no labels" in caplog.text
    with pytest.raises(ValueError, match="no way to score is left"):
        score_lists(lists, table, {"s": ways["s"]})


def test_a_way_that_fails_takes_no_other_with_it(small, tmp_path, caplog):
    table, lists = small
    rng = np.random.default_rng(1)
    cohort = Cohort(rng.normal(size=(3, 4)), np.array(["a", "a", "b"]), "c.csv")

    def half(vectors, enrol, test, cohort):
        """Fails at the second list, when the first has been scored."""
        calls.append(len(enrol))
        if len(calls) > 1:
            raise ValueError("no luck")
        return np.arange(len(enrol))

    calls = []
    broken = Cosine()
    broken.normalize = lambda vectors, members, enrol, test: half(
        vectors, enrol, test, members
    )
    ways = {"plda": PLDA(), "half": broken, "cosine": Cosine(), "mean": Cosine(True)}
    left_out = {}
    scored = score_lists(lists, table, ways, cohort, tmp_path, left_out=left_out)
    assert list(scored) == ["cosine", "mean"]
    assert list(left_out) == ["plda", "half"]
    assert "they do not vary in every dimension within speakers" in left_out["plda"]
    assert left_out["half"] == "l.txt: no luck"
    assert "half is left out: l.txt: no luck" in caplog.text
    files = sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*.txt"))
    names = ("kept_back.txt", "l.txt")
    assert files == [f"scores/{way}{n}" for way in ("", "mean/") for n in names]
    frame = results_frame(scored, left_out)
    assert frame["scoring"].tolist() == ["cosine", "mean", "plda", "half"]
    assert frame["EER %"].tolist()[2:] == ["left out", "left out"]
    assert frame["trials"].tolist() == [4, 4, "-", "-"]
    with pytest.raises(ValueError, match=r"no way to score is left \(plda: "):
        score_lists(lists, table, {"plda": PLDA()}, cohort)


def test_skipped_trials_have_a_column(small):
    table, lists = small
    scored = score_lists(lists, table, {"cosine": Cosine()})
    assert "skipped" not in results_frame(scored)
    scored["cosine"]["lists"]["l"]["skipped"] = 7
    assert results_frame(scored)["skipped"].tolist() == [7]


def test_lists_without_labels_get_scores_alone(small, tmp_path):
    table, lists = small
    scored = score_lists(lists, table, {"cosine": Cosine()}, None, tmp_path)
    assert list(scored["cosine"]["lists"]) == ["l"]
    lines = (
        (tmp_path / "scores" / "kept_back.txt").read_text(encoding="utf-8").splitlines()
    )
    assert lines[0].split()[:2] == ["u0", "u4"]
    assert results_frame(scored)["list"].tolist() == ["l"]


def test_the_table_has_a_line_per_list_and_way_that_there_is():
    metrics = {"eer": 0.0123, "min_dcf_0.01": 0.5, "min_dcf_0.05": 0.25, "trials": 9}
    ratios = {"act_dcf_0.01": 0.75, "act_dcf_0.05": 0.5, "cllr": 0.2, "min_cllr": 0.1}
    with_interval = metrics | {"intervals": {"eer": [0.01, 0.025]}}
    plain = results_frame({"cosine": {"lists": {"O": metrics}}})
    assert list(plain) == [
        *("list", "scoring", "EER %", "minDCF(0.01)", "minDCF(0.05)"),
        *("trials", "cohort"),
    ]
    frame = results_frame(
        {
            "cosine": {"lists": {"O": metrics, "E": with_interval}},
            "fusion": {"lists": {"E": metrics | ratios}},
        }
    )
    assert frame[["list", "scoring"]].to_numpy().tolist() == [
        ["O", "cosine"],
        ["E", "cosine"],
        ["E", "fusion"],
    ]
    assert frame["95 %"].tolist() == ["-", "1.00-2.50", "-"]
    assert frame["Cllr"].tolist() == ["-", "-", 0.2]
    assert frame["minCllr"].tolist() == ["-", "-", 0.1]
    assert frame["actDCF(0.01)"].tolist() == ["-", "-", 0.75]
