"""The page ADD_YOUR_OWN.md, followed word by word."""

import re
import subprocess
import sys

import pytest
import recipe_runs as runs
import torch
from hyperpyyaml import load_hyperpyyaml

from speechbrain_dino.losses.views import Views
from speechbrain_dino.runs.recipe_yaml import read_recipe

PAGE = (runs.RECIPE / "ADD_YOUR_OWN.md").read_text("utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", PAGE, flags=re.DOTALL)


def file_named(name):
    """The block of the page that begins with the comment of its file's name."""
    (text,) = [text for _, text in BLOCKS if text.startswith(f"# {name}\n")]
    return text


@pytest.fixture
def followed(tmp_path, monkeypatch):
    """A folder with the page's files."""
    for name in ("barlow.py", "test_barlow.py"):
        (tmp_path / name).write_text(file_named(name), encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "barlow", raising=False)
    return tmp_path


def test_files_are_as_short_as_promised():
    assert len(file_named("barlow.py").splitlines()) < 60
    assert len(file_named("hparams/barlow_mini.yaml").splitlines()) < 30


def test_the_pages_test_passes(followed):
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", str(followed / "test_barlow.py")],
        env=runs.environment(),
        cwd=followed,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0 and "1 passed" in done.stdout, done.stdout


def test_the_recipe_extends_the_small_one(followed):
    recipe = followed / "barlow_mini.yaml"
    text = file_named("hparams/barlow_mini.yaml")
    mini = runs.RECIPE / "hparams" / "dino_mini.yaml"
    recipe.write_text(text.replace("dino_mini.yaml", str(mini), 1), encoding="utf-8")
    keys = f"data_folder: none\noutput_folder: {followed}"
    hparams = load_hyperpyyaml(read_recipe(recipe), keys)
    assert hparams["loss"].redundancy == 0.005 and hparams["teacher"] is None
    assert hparams["modules"]["teacher"] is None


def test_the_sum_of_the_page_is_one(followed):
    (text,) = [text for _, text in BLOCKS if "combine.Sum" in text]
    hparams = load_hyperpyyaml(text)
    embeddings = torch.randn(2, 6, 4)
    views = Views(torch.randn(2, 6, 8), student_embeddings=embeddings)
    result = hparams["loss"](views)
    assert result.loss.isfinite() and set(result.metrics) == {"barlow", "koleo"}
    hparams["loss"].koleo_weight = hparams["koleo_weight_schedule"](2.5)
    assert hparams["loss"].koleo_weight == pytest.approx(0.05)


@pytest.mark.recipe
@pytest.mark.usefixtures("in_this_process")
def test_the_recipe_trains(followed, tiny_corpus):
    runs.write_recipe(followed / "dino_mini.yaml", data_folder=str(tiny_corpus))
    recipe = followed / "barlow_mini.yaml"
    text = file_named("hparams/barlow_mini.yaml")
    recipe.write_text(text.replace("512", "16"), encoding="utf-8")
    brain, loader = runs.make_brain(recipe, "--output_folder", followed / "run")
    before = {k: v.clone() for k, v in brain.modules.student.state_dict().items()}
    brain.fit(vars(brain.hparams)["epoch_counter"], loader)
    epochs = [row for row in brain.curves.read() if row["kind"] == "epoch"]
    assert [(row["steps"], row["nonfinite"]) for row in epochs] == [(6, 0)] * 3
    after = brain.modules.student.state_dict()
    moved = [name for name, value in before.items() if not value.equal(after[name])]
    assert {name.split(".")[0] for name in moved} == {"encoder", "head"}
    assert all(value.isfinite().all() for value in after.values())
    assert "teacher" not in runs.states(followed / "run")


def test_descent_on_free_outputs_makes_the_loss_vanish(followed):
    import barlow

    outputs = torch.randn(2, 50, 4, requires_grad=True)
    loss = barlow.BarlowTwins()
    optimizer = torch.optim.SGD([outputs], lr=1.0)
    losses = []
    for _ in range(300):
        losses.append(loss(Views(outputs)).loss)
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    # From about one a dimension, correlations near 0, towards those of equal views.
    assert losses[0] > 2 and losses[-1] < 0.1
