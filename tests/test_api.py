"""The package in three calls; importing it stays light."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import recipe_runs as runs
import soundfile
import torch
from sklearn.metrics import roc_curve
from test_pretrained import export
from test_utterances import write_audio

import speechbrain_dino
from speechbrain_dino import EmbeddingTable, embed, load_pretrained, score, summary
from speechbrain_dino.scoring.cosine import as_norm, cosine_scores


@pytest.fixture
def table():
    vectors = np.random.default_rng(0).normal(size=(10, 6)).astype(np.float32)
    return EmbeddingTable([f"u{n}" for n in range(10)], vectors)


def test_embed_keeps_a_table_where_asked(tmp_path):
    for number in range(3):
        write_audio(tmp_path / "audio" / f"{number}.wav", 8000 + 900 * number)
    model = load_pretrained(export(tmp_path / "run", 1))
    alone = embed(tmp_path / "audio", model)
    kept = embed(tmp_path / "audio", model, tmp_path / "table", device="cpu")
    np.testing.assert_allclose(kept.vectors, alone.vectors, atol=1e-5)
    frame = EmbeddingTable.load(tmp_path / "table").to_pandas()
    assert frame.index.tolist() == ["0.wav", "1.wav", "2.wav"]
    np.testing.assert_array_equal(frame.to_numpy(), kept.vectors)


def test_score_reads_lists_and_tables_of_trials(table, tmp_path):
    path = tmp_path / "trials.txt"
    path.write_text("1 u0 u1\n0 u3 u9\n0 u0 u5\n", encoding="utf-8")
    scored = score(table, path)
    expected = cosine_scores(table.vectors, [0, 3, 0], [1, 9, 5])
    assert scored["label"].tolist() == [1, 0, 0]
    np.testing.assert_allclose(scored["score"], expected)
    table.save(tmp_path / "t")
    again = score(tmp_path / "t", scored[["enrol", "test"]])
    assert list(again) == ["enrol", "test", "score"]
    np.testing.assert_allclose(again["score"], expected)
    cohort = np.random.default_rng(1).normal(size=(20, 6))
    normalized = score(table, path, cohort, top_n=5)["score"]
    expected = as_norm(table.vectors, cohort, [0, 3, 0], [1, 9, 5], top_n=5)
    np.testing.assert_allclose(normalized, expected)
    with pytest.raises(ValueError, match="'u10'"):
        score(table, pd.DataFrame({"enrol": ["u0"], "test": ["u10"]}))


def test_one_file_a_list_and_waveforms_give_the_same_embedding(tmp_path):
    model = load_pretrained(export(tmp_path / "run", 1))
    wav = tmp_path / "a" / "one.wav"
    write_audio(wav, 9000)
    (tmp_path / "a" / "page.wav").write_text("<html>404</html>")
    samples, _ = soundfile.read(wav, dtype="int16")
    single = embed(str(wav), model)
    assert single.ids == [str(wav)]
    paths = [wav, tmp_path / "a" / "page.wav", tmp_path / "nothing.wav"]
    listed = embed(paths, model, tmp_path / "table")
    assert (listed.ids, single.status) == (single.ids, {})
    kinds = ["unreadable", "missing"]
    assert listed.status == dict(zip(map(str, paths[1:]), kinds))
    floats = samples.astype(np.float32) / 32768
    for waveforms in (samples, floats, [floats], torch.from_numpy(floats)):
        table = embed(waveforms, model)
        assert table.ids == ["0"]
        np.testing.assert_array_equal(table.vectors, single.vectors)
    for scale in (40000.0, 1e-3):  # whole numbers as floats; 60 dB below full scale
        loud = embed(floats * scale, model)
        np.testing.assert_allclose(loud.vectors, single.vectors, atol=1e-2)
    batch = embed(np.stack([floats, 0 * floats]), model)
    assert (batch.ids, batch.status) == (["0"], {"1": "silent"})
    for wrong, match in (
        (np.zeros((1, 2, 3)), r"shape \(2, 3\)"),
        (np.zeros(9, np.int64), "expected int16"),
        ([], "an empty list is no audio file"),
        ([wav, wav], "is named twice"),
        ([tmp_path / "a"], "is no audio file"),
    ):
        with pytest.raises(ValueError, match=match):
            embed(wrong, model)
    with pytest.raises(ValueError, match=r"is bad, such as that of .*page"):
        embed(paths, model, on_bad="fail")


def test_scores_of_bad_audio(table):
    table = EmbeddingTable(table.ids, table.vectors, {"x": "silent", "u2": "silent"})
    trials = pd.DataFrame(
        {"label": [1, 0, 0], "enrol": ["u0", "u2", "u1"], "test": ["u1", "u3", "x"]}
    )
    with pytest.raises(ValueError, match=r"1 of 3 trials .*'x', whose audio is bad"):
        score(table, trials)
    skipped = score(table, trials, on_bad="skip")
    assert skipped["status"].tolist() == ["ok", "silent"]
    expected = cosine_scores(table.vectors, [0, 2], [1, 3])
    np.testing.assert_array_equal(skipped["score"], expected)
    kept = score(table, trials, on_bad="keep")
    assert kept["score"].isna().tolist() == [False, False, True]
    assert kept["status"].tolist() == ["ok", "silent", "silent"]


SCRIPT = """
import multiprocessing, sys
multiprocessing.set_start_method("spawn")
import speechbrain_dino
table = speechbrain_dino.embed("audio", "run/inference", "table", device="cpu")
print(len(table), speechbrain_dino.score(table, "trials.txt")["score"][0])
"""


def test_a_script_without_main_guard_where_processes_are_spawned(tmp_path):
    """As on macOS and Windows; 70 files, of which some are converted."""
    for number in range(70):
        rate = 8000 if number % 2 else 16000
        write_audio(tmp_path / "audio" / f"{number}.wav", 3000 + number, rate)
    export(tmp_path / "run", 1)
    (tmp_path / "trials.txt").write_text("1 0.wav 0.wav\n", encoding="utf-8")
    (tmp_path / "script.py").write_text(SCRIPT, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "script.py"],
        cwd=tmp_path,
        env=runs.environment(),
        capture_output=True,
        text=True,
        timeout=runs.HANGS,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[0] == "70"
    assert float(done.stdout.split()[1]) == pytest.approx(1)


def test_labels_of_a_table_are_one_or_zero_or_refused(table):
    def trials(labels):
        names = list(table.ids)[: len(labels)]
        return pd.DataFrame({"label": labels, "enrol": names, "test": names})

    words = ["target", "nontarget"]
    for labels in ([1, 0], [1.0, 0.0], [True, False], ["1", "0"], words):
        assert score(table, trials(labels))["label"].tolist() == [1, 0]
    scores = pd.DataFrame({"label": words, "score": [0.9, 0.1]})
    assert summary(scores)["eer"].tolist() == [0.0]
    for wrong in (np.nan, -1, 2, 257, 0.5, "yes"):
        with pytest.raises(ValueError, match=r"label .* in row 2"):
            score(table, trials([1, wrong]))
        with pytest.raises(ValueError, match=r"label .* in row 2"):
            summary(pd.DataFrame({"label": [1, wrong, 0], "score": [0.9, 0.1, 0.2]}))
    with pytest.raises(ValueError, match="no column 'enrol'"):
        score(table, pd.DataFrame({"test": ["a"]}))
    with pytest.raises(ValueError, match="no column 'score'"):
        summary(pd.DataFrame({"label": [1, 0]}))


def test_summary_agrees_with_sklearn():
    rng = np.random.default_rng(0)
    label = rng.integers(0, 2, 400)
    frame = pd.DataFrame({"label": label, "score": rng.normal(label)})
    false_alarm, hit, _ = roc_curve(label, frame["score"], drop_intermediate=False)
    nearest = np.argmin(np.abs(false_alarm - (1 - hit)))
    rates = summary({"a": frame, "b": frame.assign(score=np.exp(frame["score"]))})
    assert rates.loc["a", "eer"] == pytest.approx(false_alarm[nearest], abs=0.01)
    assert rates.loc["b", "eer"] == rates.loc["a", "eer"]
    with pytest.raises(ValueError, match="no labels"):
        summary(frame[["score"]])


def test_importing_the_package_imports_nothing_else():
    code = (
        "import sys, speechbrain_dino; assert 'torch' not in sys.modules; "
        "assert 'numpy' not in sys.modules; "
        "from speechbrain_dino import metrics; print(metrics.eer([1.0], [0.0])[0])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "0.0"
    assert {"embed", "score", "metrics"} <= set(dir(speechbrain_dino))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = speechbrain_dino.nothing
