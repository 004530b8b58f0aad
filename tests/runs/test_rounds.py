"""Rounds of pseudo-labeling: embed, cluster, train, evaluate; killed ones too."""

import json
import shutil

import pytest
import recipe_runs as runs
import torch
from ruamel.yaml import YAML
from test_resume import PAUSE, figures, kill

pytestmark = pytest.mark.recipe

AHC = """!new:speechbrain_dino.clustering.clusterers.AHC
    num_clusters: !ref <clusters>"""


@pytest.fixture(scope="module")
def recipe(launcher, tmp_path_factory):
    """A recipe of two rounds, from a DINO model that was trained for an epoch."""
    folder = tmp_path_factory.mktemp("rounds")
    data = runs.make_corpus(folder / "vox")
    keys = {"data_folder": str(data), "data_save_folder": str(folder / "prepared")}
    keys["mean_var_norm"] = "!new:speechbrain_dino.models.features.MeanNorm"
    dino = runs.write_recipe(folder / "dino.yaml", number_of_epochs=1, **keys)
    run = launcher.run(dino, "--output_folder", folder / "dino")
    assert run.status == 0, run.output
    return runs.write_recipe(
        folder / "tiny.yaml",
        base="pseudo_labels",
        **keys,
        rounds=2,
        first_model=str(folder / "dino" / "inference"),
        start_from="previous",
        clusters=5,
        by_round={"clusters": [5, 4, 3]},
        clusterer=AHC,
        truth="spk_id",
    )


@pytest.fixture(scope="module")
def finished(launcher, recipe):
    folder = recipe.parent / "whole"
    run = launcher.run(recipe, "--output_folder", folder, script="rounds.py")
    assert run.status == 0, run.output
    return folder, run.output


def test_the_table_has_a_line_a_round(finished):
    folder, output = finished
    lines = json.loads((folder / "rounds.json").read_text(encoding="utf-8"))["rounds"]
    assert lines == runs.results(folder)["rounds"]
    assert [line["round"] for line in lines] == [0, 1, 2]
    assert [line["cluster"]["clusters"] for line in lines[1:]] == [5, 4]
    assert "label_change" not in lines[1]["cluster"]
    assert 0 <= lines[2]["cluster"]["label_change"] <= 1
    assert lines[1]["cluster"]["kept"] == 24
    assert 0 <= lines[1]["cluster"]["against_truth"]["nmi"] <= 1
    for line in lines:
        assert line["verification"]["veri_test"]["trials"] == 28
    assert "EER veri_test [%]" in output and "label change [%]" in output
    page = (folder / "report" / "index.html").read_text(encoding="utf-8")
    assert 'href="../round1/report/index.html"' not in page  # a quick run has none
    assert "label change" in page and "Clusters of round 2." in page
    assert (folder / "report" / "clusters_1.png").stat().st_size > 5_000


def test_each_round_starts_from_the_one_before_and_its_own_labels(finished, recipe):
    folder, _ = finished
    before = recipe.parent / "dino"
    for number in (1, 2):
        settings = (folder / f"round{number}" / "hyperparams.yaml").read_text(
            encoding="utf-8"
        )
        settings = YAML(typ="rt").load(settings)
        assert settings["start_model"] == str(before / "inference")
        labels = folder / f"round{number}" / "clusters" / "labels.csv"
        assert settings["labels_file"] == str(labels)
        before = folder / f"round{number}"
        ids = {
            line.split(",")[0]
            for line in labels.read_text(encoding="utf-8").splitlines()[1:]
        }
        assert len(ids) == 24
        # The speakers of the trial lists are in no round.
        assert not any(name.startswith(("id00006", "id00007")) for name in ids)


def test_nothing_is_done_twice(launcher, recipe, finished):
    folder, _ = finished
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.ckpt")}
    run = launcher.run(recipe, "--output_folder", folder, script="rounds.py")
    assert run.status == 0, run.output
    assert "Going into epoch" not in run.output
    assert before == {path: path.stat().st_mtime_ns for path in folder.rglob("*.ckpt")}


@pytest.mark.parametrize(
    "module, name, order, limit",
    [
        ("speechbrain_dino.runs.rounds", "save_labels", "before", 2),
        ("speechbrain_dino.training.brain", "save_epoch", "after", 4),
        ("speechbrain_dino.runs.rounds", "finish_run", "after", 1),
    ],
)
def test_killed_at_any_stage(
    launcher, recipe, finished, tmp_path, module, name, order, limit
):
    code = PAUSE.replace("MODULE", module).replace("NAME", name)
    code = code.replace("ORDER", order).replace("LIMIT", str(limit))
    code = code.replace("FLAG", str(tmp_path / "paused"))
    options = {"script": "rounds.py"}
    process = launcher.start(recipe, "--output_folder", tmp_path, first=code, **options)
    assert runs.until((tmp_path / "paused").exists)
    kill(process)
    launcher.wait()
    run = launcher.run(recipe, "--output_folder", tmp_path, **options)
    assert run.status == 0, run.output
    for number in (1, 2):
        one, other = (x / f"round{number}" for x in (finished[0], tmp_path))
        assert (one / "clusters/labels.csv").read_text(encoding="utf-8") == (
            other / "clusters/labels.csv"
        ).read_text(encoding="utf-8")
        assert figures(one) == figures(other)
        weights = [runs.tensors(runs.states(folder)) for folder in (one, other)]
        for key, value in weights[0].items():
            if torch.is_tensor(value):
                assert torch.equal(weights[1][key], value), key


def test_rounds_end_when_labels_settle(launcher, recipe, tmp_path):
    run = launcher.run(
        recipe,
        *("--output_folder", tmp_path, "--rounds", 3, "--stop_below", 1.01),
        script="rounds.py",
    )
    assert run.status == 0, run.output
    assert "the labels have settled" in run.output
    assert len(runs.results(tmp_path)["rounds"]) == 3  # the start and two rounds


MISTAKES = {
    "no model": (["--first_model", "null"], "first_model is missing"),
    "unknown start": (
        ["--start_from", "last"],
        "--start_from last: expected fresh, first or prev",
    ),
    "no rounds": (["--rounds", 0], "--rounds 0: expected an integer of at least 1"),
    "too many clusters": (["--by_round", "{clusters: [99, 4]}"], "99 clusters"),
    "too few values": (["--rounds", 4], "give one for each of the 4 rounds"),
    "no model there": (["--first_model", "nowhere/x/y"], "no folder nowhere/x/y"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_gives_one_clear_message(launcher, recipe, tmp_path, mistake):
    options, message = MISTAKES[mistake]
    run = launcher.run(
        recipe, "--output_folder", tmp_path / "out", *options, script="rounds.py"
    )
    assert run.status == 1, run.output
    assert message in run.output.splitlines()[-1]
    assert "Traceback" not in run.output


def test_labels_that_change_between_two_rounds_are_refused(launcher, recipe, finished):
    folder = finished[0]
    labels = folder / "round1" / "clusters" / "labels.csv"
    text = labels.read_text(encoding="utf-8")
    labels.write_text(text.replace(",0\n", ",1\n", 1), encoding="utf-8")
    run = launcher.run(recipe, "--output_folder", folder, script="rounds.py")
    assert run.status == 1, run.output
    assert "Traceback" not in run.output
    assert f"{labels} was changed" in run.output.splitlines()[-1]
    labels.write_text(text, encoding="utf-8")
    run = launcher.run(recipe, "--output_folder", folder, script="rounds.py")
    assert run.status == 0, run.output


def test_a_moved_run_goes_on_from_its_own_rounds(launcher, recipe, finished, tmp_path):
    folder = tmp_path / "moved"
    shutil.copytree(finished[0], folder)
    few = launcher.run(
        recipe, "--output_folder", folder, "--rounds", 1, script="rounds.py"
    )
    assert few.status == 1 and "Traceback" not in few.output
    assert "has 2 rounds, and rounds is 1: give 2 or more" in few.output
    more = launcher.run(
        recipe, "--output_folder", folder, "--rounds", 3, script="rounds.py"
    )
    assert more.status == 0, more.output
    text = (folder / "round3" / "hyperparams.yaml").read_text(encoding="utf-8")
    start = YAML(typ="rt").load(text)["start_model"]
    assert start == str(folder / "round2" / "inference")


def test_finished_rounds_keep_their_epochs(launcher, recipe, finished):
    options = ("--output_folder", finished[0], "--main_epochs", 2)
    run = launcher.run(recipe, *options, script="rounds.py")
    assert run.status == 1 and len(run.output.splitlines()) == 1
    assert "--allow_changed" in run.output and "main_epochs" in run.output


def test_debug_goes_through_all_rounds_in_a_folder_of_its_own(
    launcher, recipe, tmp_path
):
    for _ in range(2):  # the second time it begins anew
        run = launcher.run(
            recipe, "--output_folder", tmp_path, "--debug", script="rounds.py"
        )
        assert run.status == 0, run.output
        assert "Round 1 of 2" in run.output and "Round 2 of 2" in run.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["debug"]
    lines = runs.results(tmp_path / "debug")["rounds"]
    assert [line["round"] for line in lines] == [0, 1, 2]
    assert all("eer" in line["verification"]["veri_test"] for line in lines)
