"""Command lines without a recipe: one line at every wrong word, before any work."""

import pytest

from speechbrain_dino.corpora.synthetic.__main__ import main as synthetic
from speechbrain_dino.reports.report import main as report
from speechbrain_dino.runs.compare.command import main as compare
from speechbrain_dino.runs.embed import main as embed
from speechbrain_dino.runs.label import main as label

EMBED = ["--model", "m", "--data", "d", "--output_folder", "o"]
LABEL = ["--model", "m", "--data", "d", "--output", "o.csv"]
COMPARE = ["a.yaml", "--steps", "5"]


def _compare(words):
    compare(words, "train.py")


@pytest.mark.parametrize(
    "main, words, message",
    [
        (embed, [*EMBED, "--batch_seconds", "abc"], "'abc' is no number of at least 0"),
        (embed, [*EMBED, "--batch_seconds", "nan"], "'nan' is no number of at least 0"),
        (embed, [*EMBED, "--workers", "2.5"], "'2.5' is no integer of at least 1"),
        (embed, [*EMBED, "--sample_rate", "0"], "'0' is no integer of at least 1000"),
        (embed, [*EMBED, "--window_seconds", "-1"], "'-1' is no number of at least 0"),
        (embed, [*EMBED, "--window_seconds", "1e-4"], "'1e-4' is no number of at lea"),
        (embed, [*EMBED, "--on_bad", "maybe"], "invalid choice: 'maybe'"),
        (embed, [*EMBED, "--model", "n"], "--model is given twice"),
        (embed, EMBED[2:], "required: --model"),
        (embed, [*EMBED[:4], "--output", "o"], "required: --output_folder"),
        (embed, [*EMBED[:2], "--data", "", *EMBED[4:]], "--data '' is empty"),
        (embed, [*EMBED[:2], "--data=", *EMBED[4:]], "--data= is empty"),
        (embed, [*EMBED, "more", "words"], "unrecognized arguments: more words"),
        (label, [*LABEL[:4], "--outp", "o.csv"], "required: --output"),
        (label, [*LABEL[:4], "--output", ""], "--output '' is empty"),
        (report, ["a", "--bogus"], "unrecognized arguments: --bogus"),
        (report, [], "required: run_folder"),
        (synthetic, ["a", "--seed", "-1"], "'-1' is no integer of at least 0"),
        (synthetic, ["a", "--train_speakers", "x"], "'x' is no integer of at least 1"),
        (_compare, [*COMPARE, "--points", "0"], "'0' is no integer of at least 1"),
        (_compare, [*COMPARE, "--seeds", "-1"], "'-1' is no integer of at least 0"),
        (_compare, ["a.yaml", "--steps", "0"], "'0' is no integer of at least 1"),
        (_compare, ["a.yaml", "--minutes", "inf"], "'inf' is no number above 0"),
        (_compare, ["a.yaml", "--minutes", "0"], "'0' is no number above 0"),
        (_compare, ["a.yaml"], "one of the arguments --steps --minutes is required"),
    ],
)
def test_a_wrong_word_is_one_line(tmp_path, monkeypatch, capsys, main, words, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as error:
        main(words)
    assert error.value.code == 2
    printed = capsys.readouterr().err
    assert message in printed and len(printed.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_one_of_several_processes_says_it(monkeypatch, capsys):
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(SystemExit) as error:
        embed([*EMBED, "--workers", "x"])
    assert error.value.code == 2 and not capsys.readouterr().err


@pytest.mark.parametrize("device", ["gpu", "meta", "cuda:-1"])
def test_a_device_where_nothing_is_computed(device, tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as error:
        embed([*EMBED, "--device", device])
    assert error.value.code == 1 and f"--device {device}: " in caplog.text
    assert not list(tmp_path.iterdir())


def test_a_file_where_a_folder_is_to_be(tmp_path, caplog):
    (tmp_path / "o").write_text("mine", encoding="utf-8")
    for folder in (tmp_path / "o", tmp_path / "o" / "below"):
        caplog.clear()
        with pytest.raises(SystemExit):
            embed([*EMBED[:4], "--output_folder", str(folder)])
        assert f"{tmp_path / 'o'} is a file" in caplog.text
    assert (tmp_path / "o").read_text(encoding="utf-8") == "mine"


def test_no_report_is_written_where_no_run_is(tmp_path, caplog):
    (tmp_path / "speech").mkdir()
    with pytest.raises(SystemExit):
        report([str(tmp_path / "speech")])
    assert "is no run folder" in caplog.text
    assert not list((tmp_path / "speech").iterdir())


def test_a_seed_is_compared_once(tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.yaml").write_text("seed: 1\n", encoding="utf-8")
    with pytest.raises(SystemExit):
        _compare([*COMPARE, "--seeds", "1", "2", "1"])
    assert "1 is given twice" in caplog.text
    assert [path.name for path in tmp_path.iterdir()] == ["a.yaml"]


def test_a_page_is_written_of_results_with_odd_types(tmp_path):
    odd = '{"verification": {"a": 5}, "scorings": 3, "data": [], "finetune": 1}'
    (tmp_path / "results.json").write_text(odd, encoding="utf-8")
    report([str(tmp_path)])
    page = (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
    assert "as damaged: verification, scorings, data, finetune" in page
