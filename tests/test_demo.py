"""The demo's steps and its closing lines."""

import json
import sys

import pytest

from speechbrain_dino import demo

RESULTS = {
    "verification": {"veri_test": {"eer": 0.0512}, "veri_test_degraded": {"eer": 0.2}},
    "verification_before": {"veri_test": {"eer": 0.4375}},
}
# Stands in for the recipe: notes its arguments, leaves a result.
TRAIN = f"""
import json, pathlib, sys
run = pathlib.Path(sys.argv[sys.argv.index("--output_folder") + 1])
(run / "save" / "CKPT+1").mkdir(parents=True)
(run / "arguments.json").write_text(json.dumps(sys.argv[1:]))
(run / "results.json").write_text({json.dumps(json.dumps(RESULTS))})
"""


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    """A recipe folder with a train.py of one line or a few."""
    monkeypatch.setattr(demo, "RECIPE", tmp_path / "recipe")
    monkeypatch.setattr(demo, "make_synthetic_corpus", lambda folder: folder)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipe" / "hparams").mkdir(parents=True)
    yaml = "data_folder: x\noutput_folder: y\nnumber_of_epochs: 8\n"
    (tmp_path / "recipe" / "hparams" / "demo.yaml").write_text(yaml, "utf-8")
    return tmp_path / "recipe" / "train.py"


def test_runs_the_recipe_and_prints_the_result(recipe, tmp_path, capsys):
    recipe.write_text(TRAIN, encoding="utf-8")
    demo.main(["out", "--number_of_epochs", "2"])
    run = tmp_path / "out" / "run"
    assert json.loads((run / "arguments.json").read_text(encoding="utf-8")) == [
        "hparams/demo.yaml",
        "--data_folder",
        str(tmp_path / "out" / "corpus"),
        "--output_folder",
        str(run),
        "--number_of_epochs",
        "2",
    ]
    printed = capsys.readouterr().out.splitlines()
    assert "veri_test             43.75 %        5.12 %" in printed
    assert "veri_test_degraded          -       20.00 %" in printed
    assert "report      out/run/report/index.html" in printed
    assert "checkpoint  out/run/save/CKPT+1" in printed
    assert "inference   out/run/inference" in printed


def test_three_lines_of_python_are_python(recipe, tmp_path):
    lines = demo.summary(RESULTS, "run").splitlines()[-3:]
    compile("\n".join(line.strip() for line in lines), "summary", "exec")


def test_failed_training_is_reported(recipe, capsys):
    recipe.write_text("raise SystemExit(3)", encoding="utf-8")
    with pytest.raises(SystemExit) as error:
        demo.main(["out"])
    assert error.value.code == 3
    assert "training failed" in capsys.readouterr().err


def test_without_the_repository(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(demo, "RECIPE", tmp_path)
    with pytest.raises(SystemExit):
        demo.main([str(tmp_path / "out")])
    assert "from a clone of the repository" in capsys.readouterr().err


def test_missing_speech_library(recipe, monkeypatch, capsys):
    from speechbrain_dino.corpora.synthetic import make_synthetic_corpus

    recipe.write_text(TRAIN, encoding="utf-8")
    monkeypatch.setattr(demo, "make_synthetic_corpus", make_synthetic_corpus)
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(SystemExit):
        demo.main(["out"])
    assert 'pip install "speechbrain-dino[demo]"' in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--bogus", "3"], "has no key 'bogus'"),
        (["--number_of_epochs", "2", "out"], "--number_of_epochs 2 out: expected an"),
        (["out", "--output_folder", "there"], "--output_folder is given twice"),
    ],
)
def test_wrong_options_end_before_speakers_are_made(
    recipe, monkeypatch, tmp_path, arguments, message
):
    recipe.write_text(TRAIN, encoding="utf-8")
    monkeypatch.setattr(demo, "make_synthetic_corpus", lambda folder: 1 / 0)
    with pytest.raises(SystemExit) as error:
        demo.main(arguments)
    assert message in str(error.value)
    assert not (tmp_path / "out").exists() and not (tmp_path / "3").exists()


def test_a_file_in_the_way_is_a_line(recipe, tmp_path, monkeypatch, capsys):
    recipe.write_text(TRAIN, encoding="utf-8")
    monkeypatch.setattr(
        demo, "make_synthetic_corpus", lambda folder: folder.mkdir(parents=True)
    )
    (tmp_path / "out").write_text("mine", encoding="utf-8")
    with pytest.raises(SystemExit) as error:
        demo.main(["out"])
    assert error.value.code == 1 and (tmp_path / "out").read_text() == "mine"
    assert "Not a directory" in capsys.readouterr().err
