"""Whole runs of the VoxCeleb recipe: what they leave, what they say when they stop."""

import shutil

import numpy as np
import pytest
import recipe_runs as runs
import soundfile as sf
import torch
from speechbrain.inference.classifiers import EncoderClassifier

from speechbrain_dino.embeddings.table import EmbeddingTable

CONSTANT = "!name:speechbrain_dino.training.schedules.constant"

pytestmark = pytest.mark.recipe

FOLDER = """!name:speechbrain_dino.corpora.audio_folder.prepare_audio_folder
    data_folder: !ref <data_folder>
    save_folder: !ref <data_save_folder>
    min_duration: !ref <min_duration>"""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory, tiny_corpus):
    """A recipe with noise, whose run is looked at by several tests."""
    folder = tmp_path_factory.mktemp("voxceleb")
    runs.make_noises(folder / "noises")
    return runs.write_recipe(
        folder / "tiny.yaml",
        data_folder=str(tiny_corpus),
        noise_folder=str(folder / "noises"),
        output_folder=str(folder / "results"),
        subtract_mean=False,
        average_last=2,
    )


@pytest.fixture(scope="module")
def finished(launcher, recipe):
    """Output folder and text of a whole run."""
    run = launcher.run(recipe, quick=False)
    assert run.status == 0, run.output
    return recipe.parent / "results", run.output


def test_a_run_leaves_all_its_files(finished):
    folder, output = finished
    trials = (
        (folder / "data" / "trials" / "veri_test.txt")
        .read_text(encoding="utf-8")
        .splitlines()
    )
    scores = (
        (folder / "scores" / "veri_test.txt").read_text(encoding="utf-8").splitlines()
    )
    assert [line.split()[:3] for line in scores] == [line.split() for line in trials]
    assert len(scores) == 8 * 7 // 2
    assert "out_dim: 32" in (folder / "hyperparams.yaml").read_text(encoding="utf-8")
    assert "extends" not in (folder / "hyperparams.yaml").read_text(encoding="utf-8")
    assert (
        "<html"
        in (folder / "report" / "index.html").read_text(encoding="utf-8").lower()
    )
    logged = (folder / "log.txt").read_text(encoding="utf-8")
    for epoch in (1, 2, 3):
        assert f"epoch {epoch}: loss " in logged and f"epoch {epoch}/" in output
    lines = (folder / "train_log.txt").read_text(encoding="utf-8").splitlines()
    assert [line.split(",")[0] for line in lines[:3]] == [
        "epoch: 1",
        "epoch: 2",
        "epoch: 3",
    ]
    checkpoints = list((folder / "save").glob("CKPT+*"))
    # Two last, and up to two best.
    assert 2 <= len(checkpoints) <= 4


def test_curves_hold_steps_and_epochs(finished):
    rows = runs.curves(finished[0])
    steps = [row for row in rows if row["kind"] == "step"]
    epochs = [row for row in rows if row["kind"] == "epoch"]
    assert [row["step"] for row in steps] == list(range(1, 19))
    assert [row["epoch"] for row in steps] == [number / 6 for number in range(1, 19)]
    assert [row["epoch"] for row in epochs] == [1, 2, 3]
    for number, row in enumerate(epochs):
        of_epoch = [step["loss"] for step in steps[6 * number : 6 * number + 6]]
        assert row["loss"] == pytest.approx(np.mean(of_epoch), rel=1e-5)
        assert row["ln_k"] == pytest.approx(np.log(32))
        assert row["kl"] > 0 and 0 <= row["wait"] <= 1
        assert 1 <= row["effective_rank"] <= 8
        assert 0 <= row["neighbor_agreement"] <= 1
        assert 0 <= row["eer/veri_test"] <= 1


def test_results_say_what_was_run(finished):
    folder, _ = finished
    results = runs.results(folder)
    for key in ("verification", "verification_before"):
        assert results[key]["veri_test"]["trials"] == 28
        assert 0 <= results[key]["veri_test"]["eer"] <= 1
    assert results["data"]["kept"] == 24
    assert results["data"]["left_out"]["test_file"]["count"] == 8
    assert results["seed"] == 1234 and results["seconds"] > 0
    assert results["epochs"] == 3 and sorted(results["averaged_epochs"]) == [2, 3]
    assert results["hardware"]["cores"] >= 1
    assert "train.py" in results["command"]
    assert results["health"]["loss"] == runs.curves(folder)[-1]["loss"]
    assert "git" in results


def test_scores_are_cosines_of_the_embeddings(finished):
    folder, _ = finished
    table = EmbeddingTable.load(folder / "embeddings" / "test")
    unit = table.vectors / np.linalg.norm(table.vectors, axis=1, keepdims=True)
    row = {name: number for number, name in enumerate(table.ids)}
    for line in (
        (folder / "scores" / "veri_test.txt").read_text(encoding="utf-8").splitlines()
    ):
        _, enrol, test, score = line.split()
        cosine = float(unit[row[enrol]] @ unit[row[test]])
        assert float(score) == pytest.approx(cosine, abs=1e-5)


def test_inference_folder_gives_the_same_embedding_elsewhere(
    finished, tiny_corpus, tmp_path, monkeypatch
):
    folder, _ = finished
    shutil.copytree(folder / "inference", tmp_path / "moved")
    monkeypatch.chdir(tmp_path)
    model = EncoderClassifier.from_hparams(
        "moved", savedir=str(tmp_path / "cache"), run_opts={"device": "cpu"}
    )
    table = EmbeddingTable.load(folder / "embeddings" / "test")
    for number in (0, len(table.ids) - 1):
        wave, _ = sf.read(tiny_corpus / "wav" / table.ids[number], dtype="float32")
        embedding = model.encode_batch(torch.from_numpy(wave)[None]).flatten()
        np.testing.assert_allclose(embedding, table.vectors[number], atol=1e-5)


def test_a_finished_run_is_not_trained_again(launcher, recipe, finished):
    folder, _ = finished
    before, curves = runs.results(folder), runs.curves(folder)
    saved = runs.newest_checkpoint(folder)
    run = launcher.run(recipe)
    assert run.status == 0, run.output
    assert "Going into epoch" not in run.output
    assert runs.newest_checkpoint(folder) == saved and runs.curves(folder) == curves
    after = runs.results(folder)
    for key in ("verification", "verification_before", "averaged_epochs", "data"):
        assert after[key] == before[key], key
    assert after["seconds"] > before["seconds"]


@pytest.mark.parametrize(
    "options, message",
    [
        (["--base_lr", 0.5], "base_lr 0.2, and now base_lr is 0.5"),
        (["--seed", 5], "seed 1234, and now seed is 5"),
        (["--precision", "bf16"], "precision fp32, and now precision is bf16"),
        (["--grad_accumulation_factor", 2], "accumulated batches changed since it beg"),
    ],
)
def test_a_run_does_not_go_on_with_other_values(
    launcher, recipe, finished, options, message
):
    folder, _ = finished
    before = {path: path.read_bytes() for path in folder.glob("*.json")}
    run = launcher.run(recipe, *options)
    assert run.status == 1 and message in run.output.splitlines()[-1]
    assert "Traceback" not in run.output
    assert {path: path.read_bytes() for path in folder.glob("*.json")} == before


def test_changes_that_are_allowed_are_kept_in_the_results(
    launcher, recipe, finished, tmp_path
):
    folder = shutil.copytree(finished[0], tmp_path / "copy")
    options = ["--output_folder", folder, "--number_of_epochs", 4, "--base_lr", 0.1]
    run = launcher.run(recipe, *options, "--allow_changed", "base_lr")
    assert run.status == 0, run.output
    assert "resumes with another base_lr: 0.1, before 0.2" in run.output
    results = runs.results(folder)
    keys = results["changes"][0]["keys"]
    assert keys["base_lr"] == [0.2, 0.1] and keys["number_of_epochs"] == [3, 4]
    assert results["epochs"] == 4
    assert "base_lr: 0.1" in (folder / "hyperparams.yaml").read_text(encoding="utf-8")


def test_only_what_was_trained_is_tested(launcher, recipe, finished, tmp_path):
    run = launcher.run(recipe, "--output_folder", tmp_path / "new", "--test_only")
    assert run.status == 1 and "holds no trained network" in run.output.splitlines()[-1]
    assert not (tmp_path / "new" / "inference").exists()
    folder = shutil.copytree(finished[0], tmp_path / "copy")
    run = launcher.run(recipe, "--output_folder", folder, "--test_only")
    assert run.status == 0, run.output
    for key in ("verification", "verification_before", "averaged_epochs", "epochs"):
        assert runs.results(folder)[key] == runs.results(finished[0])[key], key


def test_a_folder_of_audio_without_lists(launcher, tmp_path):
    rng = np.random.default_rng(3)
    for number in range(8):
        path = tmp_path / "own" / ("deep" * (number % 2)) / f"{number}.flac"
        path.parent.mkdir(parents=True, exist_ok=True)
        sf.write(path, rng.uniform(-0.3, 0.3, (9000, 1 + number % 2)), 8000)
    recipe = runs.write_recipe(
        tmp_path / "tiny.yaml",
        trial_lists=[],
        prepare=FOLDER,
        number_of_epochs=1,
        subtract_mean=True,
    )
    options = ("--data_folder", tmp_path / "own", "--output_folder", tmp_path / "out")
    run = launcher.run(recipe, *options, quick=False)
    assert run.status == 0, run.output
    results = runs.results(tmp_path / "out")
    assert results["verification"] == {} and results["data"]["kept"] == 8
    assert results["data"]["converted"] == 8
    epoch = runs.curves(tmp_path / "out")[-1]
    assert epoch["kind"] == "epoch" and 0 <= epoch["neighbor_agreement"] <= 1
    assert (tmp_path / "out" / "inference" / "embedding_model.ckpt").exists()
    assert (tmp_path / "out" / "report" / "index.html").exists()


@pytest.mark.parametrize(
    "keys, cause",
    [
        (
            {"momentum_schedule": f"{CONSTANT}\n    value: 0.0"},
            "teacher is its student",
        ),
        (
            {
                "teacher_temp_schedule": f"{CONSTANT}\n    value: 50.0",
                "loss": "!new:speechbrain_dino.losses.dino.DINO\n"
                "    out_dim: !ref <out_dim>\n    student_temp: 50.0",
            },
            "uniform collapse",
        ),
    ],
)
def test_a_collapsed_run_is_stopped(launcher, tiny_corpus, tmp_path, keys, cause):
    recipe = runs.write_recipe(
        tmp_path / "tiny.yaml",
        number_of_epochs=20,
        health="!new:speechbrain_dino.training.health.HealthMonitor\n"
        "    out_dim: !ref <out_dim>\n    embedding_dim: !ref <embedding_dim>\n"
        "    min_steps: 6\n    grace: 1",
        validate_every=99,
        ckpt_interval_steps=0,
        **keys,
    )
    options = ("--data_folder", tiny_corpus, "--output_folder", tmp_path / "out")
    run = launcher.run(recipe, *options)
    assert run.status not in (0, -9)
    assert cause in run.output and "epochs (" in run.output
    assert "Traceback" not in run.output
    assert max(row["epoch"] for row in runs.curves(tmp_path / "out")) <= 8
    assert not (tmp_path / "out" / "inference").exists()


MISTAKES = {
    "unknown key": (["--number_of_epoch", "3"], "has no key 'number_of_epoch'"),
    "no data_folder": (None, "needs 'data_folder'"),
    "no such data_folder": (["--data_folder", "nowhere"], "nowhere is no folder"),
    "too few utterances": (
        ["--batch_size", "64"],
        "24 training utterances do not fill one batch of 64",
    ),
    "wrong noise_folder": (["--noise_folder", "nothing"], "nothing is no folder"),
    "indivisible batch": (
        ["--grad_accumulation_factor", "3"],
        "batch_size 4 does not divide",
    ),
    "abbreviated option": (["--dev", "cpu"], "--dev is short for --device"),
    "no such list": (["--trial_lists", "[mine.txt]"], "mine.txt"),
    "no such split": (["--train_splits", "[vox3/dev]"], "vox3/dev is no split"),
    "targets alone": (["--trial_lists", "[{}/same.txt]"], "trials are target trials"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_gives_one_clear_message(launcher, tiny_corpus, tmp_path, mistake):
    options, message = MISTAKES[mistake]
    recipe = runs.write_recipe(tmp_path / "tiny.yaml")
    lines = (tiny_corpus / "veri_test.txt").read_text(encoding="utf-8").splitlines()
    same = "\n".join(line for line in lines if line[0] == "1")
    (tmp_path / "same.txt").write_text(same, encoding="utf-8")
    given = [] if options is None else ["--data_folder", tiny_corpus, *options]
    given = [str(text).replace("{}", str(tmp_path)) for text in given]
    if mistake == "no such data_folder":
        given = options
    run = launcher.run(recipe, "--output_folder", tmp_path / "out", *given)
    assert run.status == 1, run.output
    assert message in run.output.splitlines()[-1]
    assert "Traceback" not in run.output
    assert not (tmp_path / "out" / "curves.jsonl").exists()


def test_debug_runs_a_few_batches_and_leaves_the_run_alone(launcher, recipe, finished):
    folder, _ = finished
    before, saved = runs.results(folder), runs.newest_checkpoint(folder)
    curves = (folder / "curves.jsonl").read_bytes()
    run = launcher.run(recipe, "--debug", "--seed", 5)
    assert run.status == 0, run.output
    assert "is prepared already" in run.output
    # Two batches in each of two epochs.
    steps = [row for row in runs.curves(folder / "debug") if row["kind"] == "step"]
    assert len(steps) == 4
    assert runs.results(folder / "debug")["seed"] == 5
    assert not list(folder.glob("debug/save/CKPT*"))
    assert runs.results(folder) == before and runs.newest_checkpoint(folder) == saved
    assert (folder / "curves.jsonl").read_bytes() == curves
