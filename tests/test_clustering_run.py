"""The clustering command on a small table: files, figures, mistakes."""

import numpy as np
import pytest
import recipe_runs as runs
from sklearn.metrics import normalized_mutual_info_score

from speechbrain_dino.cluster_labels import load_labels
from speechbrain_dino.clustering_run import run_clustering
from speechbrain_dino.command_line import start_run
from speechbrain_dino.embedding_table import EmbeddingTable
from speechbrain_dino.manifest import Manifest

pytestmark = pytest.mark.usefixtures("in_this_process")
YAML = runs.RECIPE / "hparams" / "cluster.yaml"
AHC = "!new:speechbrain_dino.clustering.AHC {num_clusters: 4}"


@pytest.fixture
def table(tmp_path):
    """Four speakers, far apart; the manifest knows them."""
    rng = np.random.default_rng(0)
    truth = rng.permutation(np.repeat(np.arange(4), 6))
    vectors = np.eye(8)[truth] + 0.1 * rng.standard_normal((24, 8))
    names = [f"u{number}" for number in range(24)]
    EmbeddingTable(names, vectors).save(tmp_path / "table")
    audio = {"duration": 1.0, "wav": "/c/a.wav", "start": 0, "stop": 16000}
    rows = [{"ID": n, **audio, "spk_id": f"s{t}"} for n, t in zip(names, truth)]
    Manifest.from_rows(rows).to_csv(tmp_path / "truth.csv")
    recipe = tmp_path / "cluster.yaml"
    recipe.write_text(f"extends: {YAML}\nclusterer: {AHC}\n")
    return recipe, truth


def test_labels_and_figures(table, tmp_path):
    recipe, truth = table
    options = ["--embedding_folder", str(tmp_path / "table")]
    options += ["--output_folder", str(tmp_path / "out")]
    options += ["--truth", str(tmp_path / "truth.csv")]
    results = run_clustering(*start_run([str(recipe), *options]))
    names = [f"u{number}" for number in range(24)]
    labels = load_labels(tmp_path / "out" / "labels.csv", names)
    assert normalized_mutual_info_score(truth, labels) == pytest.approx(1)
    assert results["clustering"]["clusters"] == 4
    assert results["clustering"]["against_truth"]["nmi"] == pytest.approx(1)
    assert runs.results(tmp_path / "out")["clustering"]["kept"] == 24


@pytest.mark.parametrize(
    "options, message",
    [
        ([], "nothing to cluster was given"),
        (["--embedding_folder", "nowhere"], "nowhere holds no vectors.npy"),
    ],
)
def test_a_mistake_gives_one_clear_message(table, tmp_path, options, message):
    where = ["--output_folder", str(tmp_path / "out")]
    with pytest.raises(SystemExit):
        run_clustering(*start_run([str(table[0]), *where, *options]))
    assert message in (tmp_path / "out" / "log.txt").read_text()
