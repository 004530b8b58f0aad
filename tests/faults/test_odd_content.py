"""JSON that somebody, or another program, wrote: one line that names the file."""

import copy
import json

import numpy as np
import pytest
from damage import many
from hypothesis import HealthCheck, given, settings, strategies as st

from speechbrain_dino.corpora.preparation import Preparation, read_summary
from speechbrain_dino.data.file_notes import Ledger
from speechbrain_dino.reports import report
from speechbrain_dino.reports.report import write_report
from speechbrain_dino.runs.compare.plan import Plan
from speechbrain_dino.runs.finetune import _results_of
from speechbrain_dino.runs.resume import check_conditions, note_changes
from speechbrain_dino.runs.rounds import RoundsState
from speechbrain_dino.runs.train import _seconds
from speechbrain_dino.scoring.calibration import Calibration
from speechbrain_dino.training.checkpoints import WholeCheckpointer
from speechbrain_dino.training.curves import Curves
from speechbrain_dino.utils.checked_json import DamagedFileError, read_checked
from speechbrain_dino.utils.ownership import NotOwnedError, claim, read_mark
from speechbrain_dino.utils.results import update_results

VALUES = (3, None, [], "x", {}, [[1]], {"a": {"b": None}}, True, 10**400, float("nan"))
TEXTS = ("", "null", "[]", "3", "{}", '"x"', "[" * 100000, "NaN", "9" * 5000, '{"a":')
SUMMARY = {
    "kept": 2, "hours": 0.1, "test": 1, "converted": 0, "trials": {"O": 3},
    "left_out": {"empty": {"count": 1, "example": "a.wav", "remedy": "none"}},
    "remarks": {}, "skipped": {"O": {"trials": 1}}, "tested_on": {"O": ["other"]},
    "trained_on": {"other": {"utterances": 2, "speakers": 0}},
}  # fmt: skip
RESULTS = {
    "seed": 1, "seconds": 3.5, "precision": "fp32", "command": "python train.py",
    "git": {"commit": "0", "dirty": False}, "hardware": {"cpu": "x", "gpus": []},
    "verification": {"O": {"eer": 0.1, "min_dcf_0.01": 0.5, "trials": 3}},
    "verification_before": {"O": {"eer": 0.2, "trials": 3}},
    "data": SUMMARY, "epochs": 1, "averaged_epochs": [1], "health": {"epoch": 1},
}  # fmt: skip


def variants(content):
    """The content with one of its values, at any depth, replaced by each odd one."""

    def paths(node, path=()):
        for key in node if isinstance(node, dict) else ():
            yield (*path, key)
            yield from paths(node[key], (*path, key))

    for path in paths(content):
        for value in VALUES:
            other = copy.deepcopy(content)
            place = other
            for key in path[:-1]:
                place = place[key]
            place[path[-1]] = value
            yield other


def assert_read_or_named(path, read, content, errors=ValueError):
    """What is no error of the user leaves this as what it is."""
    odd = [json.dumps(one) for one in variants(content)]
    for text in [*TEXTS, *odd, None]:
        if text is None:
            path.unlink()
            path.mkdir()
        else:
            path.write_text(text, encoding="utf-8")
        try:
            read()
        except errors as error:
            assert path.name in str(error), (text, error)
            assert "\n" not in str(error), text
    path.rmdir()


@pytest.fixture
def no_pictures(monkeypatch):
    monkeypatch.setattr(report, "_pictures", lambda runs: {})


def test_results_of_the_page(tmp_path, no_pictures):
    path = tmp_path / "results.json"
    (tmp_path / "hyperparams.yaml").write_text("seed: 1\n", encoding="utf-8")
    assert_read_or_named(path, lambda: write_report(tmp_path), RESULTS)


def test_results_that_are_added_to(tmp_path):
    path = tmp_path / "results.json"

    def act():
        note_changes(tmp_path, {"seed": (1, 2)})
        update_results(path, {"verification": {"O": {"eer": 0.3}}, "data": SUMMARY})
        assert read_checked(path)["verification"]["O"]["eer"] == 0.3
        assert read_checked(path)["changes"][-1]["keys"] == {"seed": [1, 2]}

    assert_read_or_named(path, act, {**RESULTS, "changes": [1]})


def test_the_program_is_not_taken_for_a_damaged_file(tmp_path, monkeypatch):
    def fail(*_):
        raise KeyError("a fault of the program")

    update_results(tmp_path / "results.json", RESULTS)
    monkeypatch.setattr(report, "_pictures", fail)
    with pytest.raises(KeyError):
        write_report(tmp_path)


def test_summaries_of_preparations(tmp_path):
    path = tmp_path / "prepare.json"
    claim(tmp_path, "preparation")

    def act():
        read = read_summary(tmp_path)
        f"{read.get('kept') or 0:,} {read.get('hours') or 0:.1f}"
        for one in (read.get("left_out") or {}).values():
            one.get("count")

    assert_read_or_named(path, act, SUMMARY, (ValueError, OSError))


@pytest.mark.parametrize("text", [*TEXTS, json.dumps({**SUMMARY, "kept": [[1]]})])
def test_a_corpus_with_an_odd_summary_is_prepared_again(tmp_path, text):
    job = Preparation(tmp_path, {}, files=[], outputs=[])
    job.previous()
    job.finish(dict(SUMMARY))
    assert job.previous()["kept"] == 2
    (tmp_path / "prepare.json").write_text(text, encoding="utf-8")
    claim(tmp_path, "preparation")
    assert job.previous() is None


def test_notes_of_rounds(tmp_path):
    path = tmp_path / "rounds.json"
    line = {"round": 1, "cluster": {"clusters": 3}, "model": "m", "health": {}}
    line |= {"verification": {"O": {"eer": 0.1}}}

    def act():
        state = RoundsState(path)
        for row in state.lines():
            row.get("cluster", {}).get("label_change")
            [one.get("eer") for one in row.get("verification", {}).values()]
        state.check_digest("labels", "0", path)

    for content in ({"rounds": [line], "digests": {"labels": "0"}}, line):
        assert_read_or_named(path, act, content)
    for odd in variants(line):
        path.write_text(json.dumps({"rounds": [odd], "digests": {}}), encoding="utf-8")
        try:
            act()
        except ValueError as error:
            assert "rounds.json" in str(error)


def test_results_of_a_fold(tmp_path):
    path = tmp_path / "results.json"
    content = {"fold": "a", "epoch": 1, "classes": ["x"], "data": {}, "uar_valid": 0.5}

    def act():
        read = _results_of(tmp_path)
        sorted(read["classes"] * 2, key=str)
        assert (read["uar_valid"] or 0.0) >= 0.0

    assert_read_or_named(path, act, content)


def test_plans(tmp_path):
    path = tmp_path / "plan.json"
    budget = {"steps": None, "minutes": 5.0, "options": [], "jobs": 1}

    def act():
        epochs = Plan(path, None, 5.0, []).content["epochs"]
        assert all(number + 1 > 1 for number in epochs.values())

    for epochs in [{"dino": 3}, *({"dino": value} for value in VALUES), *VALUES]:
        content = {"budget": budget, "epochs": epochs}
        path.write_text(json.dumps(content), encoding="utf-8")
        try:
            act()
        except ValueError as error:
            assert "plan.json" in str(error)


def test_conditions_and_seconds(tmp_path):
    (tmp_path / "save" / "CKPT+1").mkdir(parents=True)
    conditions = {"data": "a", "processes": 1}

    def compare():
        check_conditions({"output_folder": tmp_path}, dict(conditions))

    for text in TEXTS:
        (tmp_path / "conditions.json").write_text(text, encoding="utf-8")
        if text != "{}":
            with pytest.raises(ValueError, match=r"conditions\.json is damaged"):
                compare()
        (tmp_path / "seconds.json").write_text(text, encoding="utf-8")
        assert np.isfinite(_seconds(tmp_path, 0.0))


def test_marks(tmp_path):
    content = {"command": "report", "version": "0", "run": "a/b", "files": ["x"]}

    def act():
        mark = read_mark(tmp_path)
        assert {"owner.json", *mark.get("files", ())}
        claim(tmp_path, "report")

    assert_read_or_named(tmp_path / "owner.json", act, content, NotOwnedError)


def test_contents_of_checkpoints(tmp_path):
    saver = WholeCheckpointer(tmp_path)
    checkpoint = saver.save_checkpoint()
    path = checkpoint.path / "contents.json"
    content = json.loads(path.read_text(encoding="utf-8"))

    def act():
        other = WholeCheckpointer(tmp_path)
        found = other.find_checkpoint()
        assert found is None or found.path == checkpoint.path

    assert_read_or_named(path, act, content)


def test_calibrations(tmp_path):
    path = tmp_path / "calibration.json"
    content = {"weights": [1.0], "offset": 0.5}
    errors = (ValueError, OSError)
    assert_read_or_named(path, lambda: Calibration.load(path), content, errors)


@pytest.mark.parametrize("text", [*TEXTS, "[[], 1, 2, 3]", "[{}, 1, 2, 3]", "[1, 2]"])
def test_a_ledger_passes_over_odd_lines(tmp_path, text):
    path, file = tmp_path / "notes.jsonl", tmp_path / "a.wav"
    file.write_text("a", encoding="utf-8")
    path.write_text(text, encoding="utf-8")
    with Ledger(path) as ledger:
        ledger.put(str(file), [1])
    assert Ledger(path).get(str(file)) == [1]


@pytest.mark.parametrize("name", ["curves.jsonl", "curves.crc"])
def test_curves_that_are_folders(tmp_path, name, no_pictures):
    (tmp_path / name).mkdir()
    with pytest.raises(OSError, match=rf"{name} is a folder.*move the folder away"):
        Curves(tmp_path)
    page = write_report(tmp_path).read_text(encoding="utf-8")
    assert "is a folder" in page


ANY = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["verification", "data", "scorings", "finetune", "O"])
            | st.sampled_from(["eer", "left_out", "count", "seconds", "health"]),
            inner,
        )
    ),
    max_leaves=10,
)


@settings(many, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ANY)
def test_any_results_make_a_page_or_are_named(tmp_path, no_pictures, content):
    (tmp_path / "results.json").write_text(json.dumps(content), encoding="utf-8")
    try:
        write_report(tmp_path)
    except DamagedFileError as error:
        assert "results.json" in str(error)
