"""The package in three calls; importing it stays light."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
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
