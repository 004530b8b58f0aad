"""The clustering command on a small table: files, figures, mistakes."""

import json
import os
import runpy
import sys

import numpy as np
import pandas as pd
import pytest
from audio_files import write
from recipe_runs import RECIPE, results
from sklearn.metrics import normalized_mutual_info_score
from test_pretrained import export

from speechbrain_dino.clustering.labels import load_labels, read_summary
from speechbrain_dino.embeddings.table import EmbeddingTable
from speechbrain_dino.reports.plots.clusters import clusters_figure

pytestmark = pytest.mark.usefixtures("in_this_process")


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """Runs ``cluster.py`` in this process; returns results.json."""

    def run(options, yaml="cluster.yaml"):
        options = {"output_folder": tmp_path / "out"} | options
        argv = [str(RECIPE / "cluster.py"), str(RECIPE / "hparams" / yaml)]
        argv += ["--device", "cpu"]
        argv += [text for k, v in options.items() for text in (f"--{k}", str(v))]
        monkeypatch.setattr(sys, "argv", argv)
        runpy.run_path(argv[0], run_name="__main__")
        return results(tmp_path / "out")

    return run


@pytest.fixture
def table(tmp_path):
    """Four speakers, far apart, each of other size; the truth and options for them."""
    rng = np.random.default_rng(0)
    truth = rng.permutation(np.repeat(np.arange(4), [40, 32, 24, 16]))
    vectors = 3 * np.eye(8)[truth] + 0.3 * rng.standard_normal((112, 8))
    names = [f"id/{number}, x.wav" for number in range(112)]
    EmbeddingTable(names, vectors).save(tmp_path / "table")
    table = pd.DataFrame({"ID": names[::-1], "who": [f"s{t}" for t in truth[::-1]]})
    table.to_csv(tmp_path / "truth.csv", index=False)
    return names, truth, {"embedding_folder": tmp_path / "table"}


def test_labels_figures_and_picture(table, tmp_path, cluster):
    names, truth, options = table
    options |= {"num_means": 40, "num_clusters": 4, "min_size": 20}
    summary = cluster(options)["clustering"]
    labels = load_labels(tmp_path / "out" / "labels.csv", names)
    np.testing.assert_array_equal(labels, np.where(truth == 3, -1, truth))
    assert (summary["clusters"], summary["kept"], summary["means"]) == (3, 96, 40)
    assert summary["left_out"] == {"unsure": 0, "small": 16, "large": 0}
    assert read_summary(tmp_path / "out") == summary
    assert "against_truth" not in summary
    picture = (tmp_path / "out" / "clusters.png").read_bytes()
    assert picture.startswith(b"\x89PNG")


def test_the_truth_gives_figures_and_changes_nothing(table, tmp_path, cluster):
    options = table[2]
    # auto, and later a run without it: its curve does not stay behind.
    auto = options | {"num_means": "null", "num_clusters": "auto"}
    without = cluster(auto | {"count_range": "[2, 12]"})["clustering"]
    assert without["clusters"] == 4 and len(without["curve"]) > 5
    labels = (tmp_path / "out" / "labels.csv").read_bytes()
    options |= {"truth": tmp_path / "truth.csv", "truth_column": "who"}
    options |= {"num_means": "null", "num_clusters": "null", "threshold": 0.5}
    summary = cluster(options)["clustering"]
    assert summary["against_truth"]["nmi"] == summary["against_truth"]["purity"] == 1
    assert "curve" not in summary
    assert (tmp_path / "out" / "labels.csv").read_bytes() == labels
    text = (tmp_path / "truth.csv").read_text(encoding="utf-8")
    (tmp_path / "truth.csv").write_text(
        text.replace("s0", "s1").replace("s2", ""), encoding="utf-8"
    )
    wrong = cluster(options)["clustering"]["against_truth"]
    assert (wrong["unknown"], wrong["speakers"]) == (24, 2)
    assert wrong["speaker_purity"] == pytest.approx((40 + 16) / 88)
    assert (tmp_path / "out" / "labels.csv").read_bytes() == labels


def test_plda_as_a_command(table, tmp_path, cluster):
    _, truth, options = table
    options |= {"threshold": 0.5, "min_size": 3, "min_posterior": "null"}
    summary = cluster(options, "cluster_plda.yaml")["clustering"]
    labels = load_labels(tmp_path / "out")
    kept = labels >= 0
    assert kept.mean() > 0.8 and summary["clusterer"] == "PLDAClustering"
    assert normalized_mutual_info_score(truth[kept], labels[kept]) > 0.9


@pytest.mark.recipe
def test_audio_is_embedded_first(tmp_path, tiny_corpus, cluster):
    options = {
        "model": export(tmp_path / "run", 1),
        "utterances": tiny_corpus,
        "num_means": "null",
        "num_clusters": 3,
        "workers": 1,
    }
    first = cluster(options)
    assert first["clustering"]["utterances"] == 32
    table = EmbeddingTable.load(tmp_path / "out" / "embeddings")
    about = json.loads(
        (tmp_path / "out" / "embeddings" / "table.json").read_text(encoding="utf-8")
    )
    assert about["options"]["max_seconds"] == 30.0
    labels = load_labels(tmp_path / "out", table.ids)
    written_at = (tmp_path / "out" / "embeddings" / "vectors.npy").stat().st_mtime_ns
    assert sorted(set(labels)) == [0, 1, 2]
    again = cluster(options | {"num_clusters": 2})
    assert again["clustering"]["clusters"] == 2
    now = (tmp_path / "out" / "embeddings" / "vectors.npy").stat().st_mtime_ns
    assert now == written_at


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "out/embeddings holds no vectors.npy: give --embedding_folder"),
        ({"utterances": "x"}, "model and utterances belong together"),
        ({"model": "x"}, "model and utterances belong together"),
        ({"model": "nowhere/at/all", "utterances": "x"}, "nowhere/at/all"),
        ({"embedding_folder": "table"}, "num_means as a share such as 0.25, or null"),
        ({"embedding_folder": "table", "truth": "no.csv"}, "no.csv"),
        ({"embedding_folder": "table", "truth": "truth.csv"}, "no column 'spk_id'"),
        ({"embedding_folder": "table", "truth": "other.csv"}, "names none of the 112"),
        ({"threshold": 0.5}, "num_clusters is 7500 and threshold is 0.5: give one"),
        ({"num_clusters": 1}, "num_clusters is 1: a number of 2 or more"),
    ],
)
def test_a_mistake_gives_one_clear_message(
    table, tmp_path, cluster, monkeypatch, capfd, caplog, options, message
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other.csv").write_text(
        "ID,spk_id\nelsewhere.wav,ann\n", encoding="utf-8"
    )
    with pytest.raises(SystemExit) as stopped:
        cluster(options)
    text = capfd.readouterr()
    # A mistake in the YAML is found before the log is set up.
    ending = "" if stopped.value.code == 1 else stopped.value.code
    assert message in text.err + text.out + caplog.text + ending
    assert "Traceback" not in text.err + text.out
    assert not (tmp_path / "out" / "labels.csv").exists()


def test_silence_and_damage_get_no_pseudo_label(tmp_path, cluster):
    folder = tmp_path / "audio"
    for seed in range(6):
        write(folder / f"{seed}.wav", 0.6, seed=seed)
    write(folder / "silent.wav", samples=np.zeros(16000))
    cut = write(folder / "cut.flac", 2.0, seed=9)
    with open(cut, "r+b") as file:  # found only when it is read
        file.truncate(os.path.getsize(cut) // 2)
    (folder / "page.mp3").write_text("<html>404</html>")
    options = {"model": export(tmp_path / "run", 1), "utterances": folder}
    options |= {"num_means": "null", "num_clusters": 2}
    cluster(options)
    labels = pd.read_csv(tmp_path / "out" / "labels.csv")
    assert sorted(labels["ID"]) == [f"{seed}.wav" for seed in range(6)]
    status = EmbeddingTable.load(tmp_path / "out" / "embeddings").status
    bad = {"silent.wav": "silent", "cut.flac": "unreadable", "page.mp3": "unreadable"}
    assert status == bad
    with pytest.raises(SystemExit):
        cluster(options | {"on_bad": "fail"})


def test_bars_are_shares_by_doubled_sizes():
    labels = np.repeat([0, 1, 2, 3, -1], [8, 4, 3, 1, 5])
    axis = clusters_figure(labels).axes[0]
    clusters, utterances = ([bar.get_height() for bar in c] for c in axis.containers)
    assert clusters == [25, 25, 25, 25]
    np.testing.assert_allclose(utterances, [100 / 16, 300 / 16, 25, 50])
    names = [text.get_text() for text in axis.get_xticklabels()]
    assert names == ["1", "2-3", "4-7", "8-15"]
    assert axis.get_title("left") == "Sizes, median 3.5; 5 utterances left out"


def test_the_chosen_number_is_marked():
    curve = [
        {"clusters": n, "criterion": c, "by_utterance": c + 0.1, "by_cluster": c - 0.1}
        for n, c in ((10, 0.2), (20, 0.4), (40, 0.3))
    ]
    axis = clusters_figure(np.array([0, 0, 1]), curve).axes[1]
    criterion, *_, mark = axis.lines
    assert criterion.get_ydata().tolist() == [0.2, 0.4, 0.3]
    assert (mark.get_xdata()[0], mark.get_ydata()[0]) == (20, 0.4)
    assert "chosen: 20" in [text.get_text() for text in axis.get_legend().texts]
