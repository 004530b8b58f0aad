"""A command that is refused leaves the run that it names as it was."""

import hashlib
import shutil

import pytest
import recipe_runs as runs

pytestmark = pytest.mark.recipe


@pytest.fixture(scope="module")
def trained(launcher, tmp_path_factory):
    """A recipe, its corpus and the folder of a finished run."""
    folder = tmp_path_factory.mktemp("refusals")
    corpus = runs.make_corpus(folder / "vox")
    recipe = runs.write_recipe(
        folder / "recipe.yaml", data_folder=str(corpus), number_of_epochs=2
    )
    run = launcher.run(recipe, "--output_folder", folder / "run")
    assert run.status == 0, run.output
    return recipe, corpus, folder / "run"


def contents(folder):
    """Digest of every file."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize(
    "words, message",
    [
        (["--number_of_epochs", "1"], "has trained 2 epochs"),
        (["--base_lr", "0.3"], "base_lr 0.2, and now base_lr is 0.3"),
        (["--grad_accumulation_factor", "2"], "the number of accumulated batches"),
        (["--grad_accumulation_factor", "3"], "does not divide"),
        (["--data_folder", "nowhere"], "nowhere"),
        (["--trial_lists", "[nothing.txt]"], "nothing.txt"),
        (["--noise_folder", "nowhere"], "nowhere"),
    ],
)
def test_the_folder_stays_as_it_was(trained, launcher, words, message):
    recipe, _, folder = trained
    before = contents(folder)
    run = launcher.run(recipe, "--output_folder", folder, *words)
    assert run.status == 1 and message in run.output, run.output
    assert "Traceback" not in run.output
    assert contents(folder) == before


def test_so_it_does_with_other_data(trained, launcher, tmp_path):
    recipe, corpus, folder = trained
    shutil.copytree(corpus, tmp_path / "vox")
    for path in (tmp_path / "vox" / "wav").glob("id00001/*/*.wav"):
        path.unlink()
    before = contents(folder)
    words = ("--output_folder", folder, "--data_folder", tmp_path / "vox")
    run = launcher.run(recipe, *words)
    assert run.status == 1 and "the training utterances changed" in run.output
    assert contents(folder) == before
    run = launcher.run(recipe, "--output_folder", folder)
    assert run.status == 0, run.output
    run = launcher.run(recipe, *words, "--allow_changed", "data")
    assert run.status == 0, run.output
    changes = runs.results(folder)["changes"]
    assert list(changes[-1]["keys"]) == ["data"]
