"""Calibration and fusion of a run's lists against the same done by hand."""

import json

import numpy as np
import pytest

from speechbrain_dino.data.trials import Trials, read_scores, write_scores
from speechbrain_dino.embeddings.table import EmbeddingTable
from speechbrain_dino.scoring.backends import Cohort, Cosine
from speechbrain_dino.scoring.calibrated_lists import CalibrationPlan
from speechbrain_dino.scoring.calibration import fit_calibration
from speechbrain_dino.scoring.conditions import describe
from speechbrain_dino.scoring.cosine import summarize
from speechbrain_dino.scoring.lists import ListMetrics, score_lists

WAYS = {"cosine": Cosine(), "mean": Cosine(subtract_mean=True)}


@pytest.fixture
def scored(tmp_path):
    """Lists dev, O and kept_back (no labels), metrics_of, scored ways, folder."""
    rng = np.random.default_rng(0)
    ids = [f"id{speaker}/{number}" for speaker in range(12) for number in range(3)]
    means = 0.6 * np.repeat(rng.normal(size=(12, 4)), 3, axis=0) + 0.5
    table = EmbeddingTable(ids, means + rng.normal(size=(36, 4)))
    lists = {}
    for name, first, last in (("dev", 0, 18), ("O", 18, 36)):
        enrol, test = first + np.stack(np.triu_indices(last - first, 1))
        sides = [[ids[row] for row in rows] for rows in (enrol, test)]
        labels = (enrol // 3 == test // 3).astype(np.int8)
        lists[name] = Trials(labels, *sides, f"{name}.txt")
    lists["kept_back"] = lists["O"]._replace(labels=None)
    metrics_of = ListMetrics(lists, table, describe(ids), bootstrap=20)
    cohort = Cohort(rng.normal(size=(20, 4)) + 0.5, None, "others")
    output = tmp_path / "out"
    ways = score_lists(lists, table, WAYS, cohort, output, metrics_of)
    return lists, metrics_of, ways, output


def read(output, way, name):
    return read_scores(output / "scores" / way / f"{name}.txt")[1]


def other_system(folder, lists, seed=1):
    """Score files in another order than the lists; returns scores in the lists'."""
    rng, scores = np.random.default_rng(seed), {}
    for name, trials in lists.items():
        same = [a[:4] == b[:4] for a, b in zip(trials.enrol, trials.test)]
        scores[name] = rng.normal(np.asarray(same) * 1.5)
        order = rng.permutation(len(same))
        sides = [[side[i] for i in order] for side in trials[1:3]]
        mixed = Trials(None, *sides, "")
        write_scores(folder / f"{name}.txt", mixed, scores[name][order])
    return scores


def test_every_way_is_calibrated_on_the_named_list(scored):
    lists, metrics_of, ways, output = scored
    plan = CalibrationPlan("dev", [], lists, WAYS, output)
    further = plan.run(ways, metrics_of)
    assert list(further) == ["cosine_calibrated", "mean_calibrated"]
    for way, folder in (("cosine", ""), ("mean", "mean")):
        about = further[f"{way}_calibrated"]
        expected = fit_calibration(read(output, folder, "dev"), lists["dev"].labels)
        assert list(about["lists"]) == ["O"]  # neither dev nor one without labels
        for name in ("O", "kept_back"):
            ratios = expected(read(output, folder, name))
            written = read(output, f"{way}_calibrated", name)
            np.testing.assert_allclose(written, ratios, rtol=1e-12)
        assert not (output / "scores" / f"{way}_calibrated" / "dev.txt").exists()
        metrics = dict(about["lists"]["O"])
        intervals = metrics.pop("intervals")
        ratios = read(output, f"{way}_calibrated", "O")
        assert metrics == summarize(lists["O"].labels, ratios, calibrated=True)
        assert intervals["cllr"][0] < metrics["cllr"] < intervals["cllr"][1]
        raw = ways[way]["lists"]["O"]
        assert metrics["eer"] == pytest.approx(raw["eer"], abs=1e-12)
        saved = json.loads(
            (output / "calibration" / f"{way}_calibrated.json").read_text(
                encoding="utf-8"
            )
        )
        assert saved["weights"] == about["weights"].tolist()
    assert further["mean_calibrated"]["cohort"] == "others"
    assert further["mean_calibrated"]["calibration_list"] == "dev"


def test_systems_are_fused_by_the_names_of_the_trials(scored, tmp_path):
    lists, metrics_of, ways, output = scored
    other = other_system(tmp_path / "other", lists)
    systems = [str(tmp_path / "other"), "cosine"]
    plan = CalibrationPlan("dev", systems, lists, WAYS, output)
    fusion = plan.run(ways, metrics_of)["fusion"]
    columns = {
        name: np.stack([other[name], read(output, "", name)], axis=1) for name in lists
    }
    expected = fit_calibration(columns["dev"], lists["dev"].labels)
    np.testing.assert_allclose(fusion["weights"], expected.weights, rtol=1e-9)
    ratios = expected(columns["O"])
    np.testing.assert_allclose(read(output, "fusion", "O"), ratios, rtol=1e-9)
    assert fusion["systems"] == systems and "cohort" not in fusion
    metrics = fusion["lists"]["O"]
    assert metrics["cllr"] == pytest.approx(
        summarize(lists["O"].labels, ratios, calibrated=True)["cllr"], rel=1e-9
    )
    assert metrics["eer"] < ways["cosine"]["lists"]["O"]["eer"]


def test_other_systems_alone_keep_the_order_of_the_list(scored, tmp_path):
    lists, metrics_of, ways, output = scored
    folders = [tmp_path / "a", tmp_path / "b"]
    scores = [other_system(folder, lists, i) for i, folder in enumerate(folders)]
    CalibrationPlan("dev", folders, lists, WAYS, output).run(ways, metrics_of)
    dev, tested = [np.stack([s[n] for s in scores], axis=1) for n in ("dev", "O")]
    ratios = fit_calibration(dev, lists["dev"].labels)(tested)
    np.testing.assert_allclose(read(output, "fusion", "O"), ratios, rtol=1e-9)
    assert (
        read_scores(output / "scores" / "fusion" / "O.txt")[0].test == lists["O"].test
    )


def test_scores_of_another_run_can_be_learned_on(scored, tmp_path, caplog):
    lists, metrics_of, ways, output = scored
    scores = read(output, "", "dev")
    file = tmp_path / "earlier" / "dev.txt"
    write_scores(file, lists["dev"], scores)
    tested = {"O": lists["O"]}
    plan = CalibrationPlan(file, [], tested, WAYS, output)
    further = plan.run(ways, metrics_of)
    assert list(further) == ["cosine_calibrated"]
    assert "mean is not calibrated" in caplog.text
    expected = fit_calibration(scores, lists["dev"].labels)
    np.testing.assert_array_equal(
        further["cosine_calibrated"]["weights"], expected.weights
    )


def test_the_first_way_may_be_left_out(scored, tmp_path):
    lists, metrics_of, ways, output = scored
    plan = CalibrationPlan("dev", [], lists, ["gone", "cosine", "mean"], output)
    further = plan.run(ways, metrics_of)
    assert list(further) == ["cosine_calibrated", "mean_calibrated"]


def test_trials_of_the_calibration_list_are_named(scored, caplog):
    lists, metrics_of, ways, output = scored
    plan = CalibrationPlan("O", [], lists, WAYS, output)
    calibrated = plan.run({"cosine": ways["cosine"]}, metrics_of)["cosine_calibrated"]
    assert calibrated["known_trials"] == {"dev": 0, "kept_back": 153}
    assert "153 of 153 trials of kept_back are in the calibration list O" in caplog.text
    assert "trials of dev" not in caplog.text


@pytest.mark.parametrize(
    ("wanted", "fuse", "message"),
    [
        (None, ["cosine", "mean"], "fuse: cosine, mean needs calibration_list"),
        ("no", [], r"no is neither one of the trial lists \(dev, O, kept_back\) nor a"),
        ("kept_back", [], "calibration_list: O.txt has no labels to learn"),
        ("dev", ["cosine"], "expected at least two systems, each once, not cosine"),
        ("dev", ["cosine"] * 2, "at least two systems, each once, not cosine, cosi"),
        ("dev", "cosine", r"fuse: expected a list, \[cosine, \.\.\.\], not 'cosine'"),
        ("dev", ["cosine", "x"], r"x is neither a way to score \(cosine, mean\) nor a"),
        (
            "dev",
            ["cosine", "{0}/part"],
            r"part has no O\.txt; it needs scores of dev, O",
        ),
        ("{0}/out/scores/O.txt", [], "lies among the scores of this run"),
        ("dev", ["cosine", "{0}/out/scores/mean"], "lies among the scores of this run"),
    ],
)
def test_impossible_requests_are_refused_first(scored, tmp_path, wanted, fuse, message):
    lists, *_, output = scored
    write_scores(tmp_path / "part" / "dev.txt", lists["dev"], np.zeros(153))
    wanted = wanted and wanted.format(tmp_path)
    if isinstance(fuse, list):
        fuse = [system.format(tmp_path) for system in fuse]
    with pytest.raises(ValueError, match=message):
        CalibrationPlan(wanted, fuse, lists, WAYS, output)


def test_a_list_must_be_left_and_names_be_free(scored):
    lists, *_, output = scored
    with pytest.raises(ValueError, match="dev is the only trial list"):
        CalibrationPlan("dev", [], {"dev": lists["dev"]}, WAYS, output)
    with pytest.raises(ValueError, match="fusion is the name of what is calibrated"):
        CalibrationPlan("dev", [], lists, ["cosine", "fusion"], output)


def test_a_way_that_was_left_out_cannot_be_fused(scored, caplog):
    lists, metrics_of, ways, output = scored
    plan = CalibrationPlan("dev", ["cosine", "mean"], lists, WAYS, output)
    assert plan.run(ways, metrics_of)["fusion"]["cohort"] == "others"
    left_out = {}
    further = plan.run({"cosine": ways["cosine"]}, metrics_of, left_out)
    assert list(further) == ["cosine_calibrated"]
    assert left_out == {"fusion": "fuse: mean was not scored"}
    assert "fusion is left out: fuse: mean was not scored" in caplog.text


def test_scores_that_cannot_be_calibrated_take_no_others_with_them(scored):
    lists, metrics_of, ways, output = scored
    write_scores(output / "scores" / "mean" / "dev.txt", lists["dev"], np.ones(153))
    left_out = {}
    plan = CalibrationPlan("dev", ["cosine", "mean"], lists, WAYS, output)
    assert list(plan.run(ways, metrics_of, left_out)) == ["cosine_calibrated"]
    assert list(left_out) == ["mean_calibrated", "fusion"]
    assert "all scores of system 1 are equal" in left_out["mean_calibrated"]


def test_the_calibration_list_needs_both_kinds(scored, tmp_path):
    lists, _, _, output = scored
    file = tmp_path / "own.txt"
    file.write_text("\ufeff1 a b 0.5\n1 a c 0.25\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"calibration_list: .*own.txt: all trials"):
        CalibrationPlan(file, [], lists, WAYS, output)
    file.write_text("\ufeff1 a b 0.5\n0 a c 0.25\n", encoding="utf-8")
    assert CalibrationPlan(file, [], lists, WAYS, output).name == "own"


def test_without_a_calibration_list_nothing_is_calibrated(scored):
    lists, metrics_of, ways, output = scored
    plan = CalibrationPlan(None, [], lists, WAYS, output)
    assert plan.run(ways, metrics_of) == {}
    assert not (output / "calibration").exists()
