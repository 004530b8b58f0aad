"""Comparisons of methods: runs, restarts, budget, table, plot."""

import json
import os
import subprocess
import sys
import textwrap
import threading

import numpy as np
import pandas as pd
import pytest
import recipe_runs as runs
from process_tools import running_with

from speechbrain_dino.reports.plots.comparison import comparison_figure
from speechbrain_dino.runs.compare import command as compare_module
from speechbrain_dino.runs.compare.command import compare, main
from speechbrain_dino.runs.compare.plan import as_pairs
from speechbrain_dino.runs.compare.processes import Run, run_all
from speechbrain_dino.runs.compare.results import (
    ComparedRun,
    markdown,
    minutes_of_training,
    read_compared,
    summarized,
    table_lines,
)

RECIPE = """
seed: 1
data_save_folder: !PLACEHOLDER
output_folder: out
utterances: {utterances}
prepare: !name:compare_stub.prepare
    folder: !ref <data_save_folder>
    utterances: !ref <utterances>
prepare_noise: !name:compare_stub.nothing
batch_size: {batch}
number_of_epochs: 99
validate_every: 1
log_every: 1
mood: {mood}
"""
# Writes what a training would write, and a line for each run into a file.
SCRIPT = """
import json, os, pathlib, re, sys, time
yaml, given = sys.argv[1], sys.argv[2:]
options = {k[2:]: v for k, v in zip(given, given[1:]) if k.startswith("--")}
text = pathlib.Path(yaml).read_text()
value = lambda key: options.get(key) or re.search(rf"^{key}: (.*)", text, re.M)[1]
out = pathlib.Path(options["output_folder"])
with open(pathlib.Path(__file__).with_name("runs.txt"), "a") as file:
    told = [pathlib.Path(yaml).stem, options, "--debug" in given]
    file.write(json.dumps(told) + "\\n")
if "--debug" in given:
    out = out / "debug"
out.mkdir(parents=True, exist_ok=True)
mood, epochs = value("mood"), int(options.get("number_of_epochs", 1))
if mood == "collapses":
    print("health - uniform collapse in each of the last 3 epochs (loss 4). Sharpen.")
    sys.exit(1)
if mood == "fails" and not (out / "tried").exists():
    (out / "tried").touch()
    print("the disk is full")
    sys.exit(1)
if mood == "meets":
    here = pathlib.Path(__file__).parent / "meeting"
    here.mkdir(exist_ok=True)
    (here / out.parent.name).write_text(os.environ.get("OMP_NUM_THREADS", ""))
    until = time.monotonic() + 20
    while len(list(here.iterdir())) < 2:
        time.sleep(0.05)
        assert time.monotonic() < until, "nobody came"
if mood == "hangs":
    (out / "started").touch()
    time.sleep(600)
seed, batch = int(options.get("seed", 0)), int(value("batch_size"))
(out / "hyperparams.yaml").write_text(f"batch_size: {batch}\\n")
rows = []
for epoch in range(1, epochs + 1):
    steps = 40 // batch
    for step in range(steps):
        number = (epoch - 1) * steps + step + 1
        rows.append({"kind": "step", "step": number, "epoch": number / steps,
            "loss": 1.0, "utt_per_s": 80.0})
    rows.append({"kind": "epoch", "step": epoch * steps, "epoch": epoch,
        "effective_rank": 5.0 + seed, "eer/O": 0.5 - 0.1 * epoch / epochs})
(out / "curves.jsonl").write_text("".join(json.dumps(row) + "\\n" for row in rows))
eer = 0.30 + 0.02 * seed - 0.1 * (batch == 8)
results = {"verification": {"O": {"eer": eer}}}
results["verification_before"] = {"O": {"eer": 0.5}}
(out / "results.json").write_text(json.dumps(results))
"""
STUB = """
import json, pathlib
def prepare(folder, utterances):
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "prepare.json").write_text(json.dumps({"kept": utterances}))
def nothing():
    pass
"""


@pytest.fixture
def stage(tmp_path, monkeypatch):
    """A folder with a script that only pretends to train, and recipes for it."""
    (tmp_path / "train.py").write_text(textwrap.dedent(SCRIPT), encoding="utf-8")
    (tmp_path / "compare_stub.py").write_text(textwrap.dedent(STUB), encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    # A run without PyTorch's seconds of starting up.
    monkeypatch.setattr(compare_module, "MEASURED", "measured_stub")
    (tmp_path / "measured_stub.py").write_text(
        "import json, pathlib, runpy, sys\n"
        "note, sys.argv = pathlib.Path(sys.argv[1]), sys.argv[2:]\n"
        "note.parent.mkdir(parents=True, exist_ok=True)\n"
        "note.write_text(json.dumps({'memory_gb': 1.5, 'device': 'cpu'}))\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')\n",
        encoding="utf-8",
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def recipe(name, batch=4, mood="well", utterances=43):
        path = tmp_path / f"{name}.yaml"
        path.write_text(
            RECIPE.format(batch=batch, mood=mood, utterances=utterances),
            encoding="utf-8",
        )
        return path

    return tmp_path, recipe


def started(folder):
    lines = (folder / "runs.txt").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def run(folder, yamls, seeds=(1, 2), **settings):
    settings = settings or {"steps": 60}
    return compare(yamls, seeds, folder / "train.py", folder / "out", **settings)


def test_every_method_gets_every_seed_and_the_same_number_of_steps(stage):
    folder, recipe = stage
    table = run(folder, [recipe("small"), recipe("large", batch=8)])
    done = [
        (name, int(o["seed"]), int(o["number_of_epochs"]))
        for name, o, _ in started(folder)
    ]
    # 43 utterances are 10 steps of 4 or 5 of 8 in an epoch.
    assert done == [
        ("small", 1, 6),
        ("large", 1, 12),
        ("small", 2, 6),
        ("large", 2, 12),
    ]
    assert {o["data_save_folder"] for _, o, _ in started(folder)} == {
        str(folder / "out/data")
    }
    assert [o["validate_every"] for _, o, _ in started(folder)] == ["1", "2", "1", "2"]

    assert list(table) == ["large", "small"]  # the best first
    for name, eers in (("small", [0.32, 0.34]), ("large", [0.22, 0.24])):
        figures = table[name]["figures"]
        assert figures["eer/O"]["mean"] == pytest.approx(np.mean(eers))
        assert figures["eer/O"]["deviation"] == pytest.approx(np.std(eers, ddof=1))
        assert figures["steps"]["mean"] == 60 and figures["memory_gb"]["mean"] == 1.5
        assert figures["effective_rank"]["mean"] == 6.5
    text = (folder / "out" / "comparison.md").read_text(encoding="utf-8")
    assert "| large | 23.00 ± 1.41 | 2 | 60 | 80.0 |" in text
    assert "| untrained (mean of all) | 50.00 |" in text
    rows = pd.read_csv(folder / "out" / "comparison.csv")
    assert rows["EER % O"].tolist() == ["23.00 ± 1.41", "33.00 ± 1.41", "50.00"]
    assert (folder / "out" / "comparison.png").stat().st_size > 10_000
    about = json.loads((folder / "out" / "comparison.json").read_text(encoding="utf-8"))
    assert about["plan"]["budget"]["steps"] == 60 and len(about["runs"]) == 4


def test_a_restart_runs_what_is_left(stage):
    folder, recipe = stage
    first, second = recipe("first"), recipe("second")
    run(folder, [first], seeds=[1])
    run(folder, [first, second], seeds=[1, 2])
    run(folder, [first, second], seeds=[1, 2])
    done = [(name, options["seed"]) for name, options, _ in started(folder)]
    assert done == [("first", "1"), ("second", "1"), ("first", "2"), ("second", "2")]
    with pytest.raises(ValueError, match="another budget"):
        run(folder, [first], steps=70)
    assert len(started(folder)) == 4


def test_a_collapse_is_a_result_and_a_failure_is_tried_again(stage):
    folder, recipe = stage
    yamls = [
        recipe("well"),
        recipe("flat", mood="collapses"),
        recipe("bad", mood="fails"),
    ]
    table = run(folder, yamls, seeds=[1])
    assert table["flat"]["status"] == ["seed 1: collapsed: uniform collapse"]
    assert table["bad"]["status"] == ["seed 1: failed: the disk is full"]
    assert table["flat"]["figures"] == {} and next(iter(table)) == "well"
    text = (folder / "out" / "comparison.md").read_text(encoding="utf-8")
    assert "collapsed: uniform collapse" in text and "the disk is full" in text
    table = run(folder, yamls, seeds=[1])
    assert table["bad"]["status"] == [] and table["flat"]["status"]
    assert [name for name, _, _ in started(folder)] == ["well", "flat", "bad", "bad"]


def test_the_exit_status_says_whether_all_were_trained(stage, caplog):
    folder, recipe = stage
    yamls = [recipe("flat", mood="collapses"), recipe("bad", mood="fails")]
    argv = [*map(str, yamls), "--steps", "60", "--seeds", "1"]
    argv += ["--output_folder", str(folder / "out")]
    with pytest.raises(SystemExit) as stopped:
        main(argv, folder / "train.py")
    assert stopped.value.code == 1
    assert "Not trained: bad, seed 1: failed: the disk is full" in caplog.text
    main(argv, folder / "train.py")  # tried again, and a collapse is a result


def test_minutes_become_epochs_by_the_speed(stage):
    folder, recipe = stage
    run(folder, [recipe("small")], seeds=[1], minutes=0.1)
    (probe, _, debug), (_, options, _) = started(folder)[:2]
    assert probe == "small" and debug
    # 0.1 minutes at 80 utterances/s are 480 utterances, 12 epochs of 40.
    assert options["number_of_epochs"] == "12"
    figures = read_compared(folder / "out/small/1", "small", 1).figures
    assert figures["minutes"] == pytest.approx(0.1)


def test_runs_at_the_same_time_share_the_cores(stage, monkeypatch):
    folder, recipe = stage
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    yamls = [recipe("one", mood="meets"), recipe("two", mood="meets")]
    table = run(folder, yamls, seeds=[1], steps=60, jobs=2)
    assert table["one"]["status"] == table["two"]["status"] == []
    threads = {
        path.read_text(encoding="utf-8") for path in (folder / "meeting").iterdir()
    }
    assert threads == {str(max(1, len(os.sched_getaffinity(0)) // 2))}
    with pytest.raises(ValueError, match="another budget"):
        run(folder, yamls, seeds=[1], steps=60)
    with pytest.raises(ValueError, match="jobs=0"):
        run(folder, yamls, seeds=[1], steps=60, jobs=0)


def test_a_comparison_that_is_stopped_leaves_no_process(stage):
    folder, recipe = stage
    yaml = str(recipe("hangs", mood="hangs"))
    command = [sys.executable, str(folder / "train.py"), yaml, "--output_folder"]
    todo = [
        Run(name, [*command, str(folder / name)], folder / name, 1)
        for name in ("first", "second", "third")
    ]
    todo.append(Run("quick", [sys.executable, "-c", ""], folder / "quick", 1))
    threads = threading.active_count()
    ended = run_all([todo[3], *todo[:3]], 2, dict(os.environ))
    assert next(ended).name == "quick"
    runs.until(lambda: (folder / "second" / "started").exists())
    ended.close()
    assert threading.active_count() == threads
    assert not (folder / "third").exists()
    assert [(folder / n / "compared.json").exists() for n in ("quick", "first")] == [
        True,
        False,
    ]
    assert not running_with(yaml)


def test_a_comparison_that_is_terminated_ends_its_trainings(stage):
    folder, recipe = stage
    yaml = str(recipe("hangs", mood="hangs"))
    code = (
        "import sys\nfrom speechbrain_dino.runs.compare import command as compare\n"
        "compare.MEASURED = 'measured_stub'\n"
        "compare.main(sys.argv[2:], sys.argv[1])"
    )
    options = ["--steps", "9", "--seeds", "1", "--output_folder", str(folder / "out")]
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(folder / "train.py"), yaml, *options],
        env=runs.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    is_training = folder / "out" / "hangs" / "1" / "started"
    # Not a moment, where PyTorch is read from a slow disk by many at once.
    runs.until(lambda: is_training.exists() or process.poll() is not None, 600)
    process.terminate()
    printed = process.communicate(timeout=120)[0]
    assert is_training.exists(), printed
    assert process.returncode == 143, printed
    assert not running_with(yaml)


def test_methods_must_share_their_data(stage):
    folder, recipe = stage
    other = recipe("other", utterances=44)
    with pytest.raises(ValueError, match="other prepares other data than one"):
        run(folder, [recipe("one"), other])
    with pytest.raises(ValueError, match="two YAMLs are named one"):
        run(folder, [recipe("one"), recipe("one")])
    with pytest.raises(ValueError, match="no file"):
        run(folder, [folder / "none.yaml"])
    with pytest.raises(ValueError, match="--seed is set by the comparison"):
        run(folder, [recipe("one")], steps=9, options=["--seed=3"])
    with pytest.raises(ValueError, match="do not fill a batch of 50"):
        run(folder, [recipe("big", batch=50)])


def test_time_is_that_of_training():
    steps = pd.DataFrame({"step": [5, 10, 12], "utt_per_s": [10.0, 20.0, 1.0]})
    minutes = minutes_of_training(steps, batch_size=4)
    np.testing.assert_allclose(minutes * 60, [2.0, 3.0, 11.0])


def test_options_by_name():
    given = ["train.py", "--lr", "0.1", "--debug", "--trial_lists", "[a, b]", "--x=1"]
    expected = {"lr": "0.1", "debug": "True", "trial_lists": "[a, b]", "x": "1"}
    assert as_pairs(given) == expected


def compared(method, seed, eers, untrained=0.5):
    minutes = np.arange(1.0, len(eers) + 1)
    figures = {"eer/O": eers[-1], "untrained/O": untrained}
    return ComparedRun(method, seed, "done", figures, {"O": (minutes, np.array(eers))})


def test_lines_are_means_over_seeds_from_the_untrained_encoder():
    figure = comparison_figure(
        [
            compared("one", 1, [0.4, 0.3], 0.5),
            compared("one", 2, [0.2, 0.1, 0.1], 0.6),
            compared("other", 1, [0.45, 0.35]),
        ]
    )
    (axis,) = figure.axes
    one, other = axis.lines
    np.testing.assert_allclose(one.get_ydata(), [55, 30, 20])
    np.testing.assert_allclose(one.get_xdata(), [0, 1, 2])
    np.testing.assert_allclose(other.get_ydata(), [50, 45, 35])
    assert [text.get_text() for text in figure.legends[0].texts] == ["one", "other"]


def test_a_table_of_what_is_known():
    runs_ = [compared("one", 1, [0.25]), ComparedRun("two", 1, "to do", {}, {})]
    lines = table_lines(summarized(runs_))
    assert lines == [
        ["method", "EER % O", "seeds", "not done"],
        ["one", "25.00", "1", ""],
        ["two", "", "0", "seed 1: to do"],
        ["untrained (mean of all)", "50.00", "", ""],
    ]
    assert markdown(lines).count("\n") == 4


@pytest.mark.recipe
def test_a_real_comparison(tiny_corpus, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for key, value in runs.environment().items():
        monkeypatch.setenv(key, value)
    runs.write_recipe(tmp_path / "dino.yaml", data_folder=str(tiny_corpus))
    simclr = runs.RECIPE / "hparams" / "methods" / "simclr.yaml"
    sizes = "projection_dim: 8\nprojector_dim: 16\n"
    text = f"extends: [dino.yaml, {simclr}]\n{sizes}"
    (tmp_path / "simclr.yaml").write_text(text, encoding="utf-8")
    argv = ["dino.yaml", "simclr.yaml", "--steps", "12", "--seeds", "5"]
    main([*argv, "--output_folder", "out"], runs.RECIPE / "train.py")
    about = json.loads(
        (tmp_path / "out" / "comparison.json").read_text(encoding="utf-8")
    )
    assert about["plan"]["epochs"] == {"dino": 2, "simclr": 2}
    for run_ in about["runs"]:
        assert run_["status"] == "done" and run_["figures"]["steps"] == 12
        assert 0 < run_["figures"]["memory_gb"] < 8
        results = runs.results(tmp_path / "out" / run_["method"] / "5")
        assert results["seed"] == 5
        eer = results["verification"]["veri_test"]["eer"]
        assert run_["figures"]["eer/veri_test"] == eer
    assert (tmp_path / "out" / "comparison.png").is_file()
