"""Clusterers and their parts: against SciPy, scikit-learn, and on known structure."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy.cluster.hierarchy import fcluster, linkage
from sklearn.cluster import KMeans as SklearnKMeans
from sklearn.metrics import normalized_mutual_info_score

from speechbrain_dino.cluster_labels import Clustering, load_labels, save_labels
from speechbrain_dino.clustering import AHC, KMeans, KMeansAHC
from speechbrain_dino.kmeans import fit_kmeans
from speechbrain_dino.linkage import average_linkage, cut_tree
from speechbrain_dino.plda_clustering import PLDAClustering


def unit(points):
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)


def speakers(number=20, utterances=25, dim=16, noise=0.35, seed=0):
    """Unit embeddings around directions of unequal numbers of utterances."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(utterances // 2, 2 * utterances, number)
    truth = rng.permutation(np.repeat(np.arange(number), counts))
    centres = unit(rng.standard_normal((number, dim)))
    spread = noise * rng.standard_normal((len(truth), dim)) / np.sqrt(dim) * 2
    return unit(centres[truth] + spread), truth


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(3, 60), st.integers(2, 12))
def test_tree_is_scipys(seed, number, dim):
    points = unit(np.random.default_rng(seed).standard_normal((number, dim)))
    tree = average_linkage(points)
    theirs = linkage(points.astype(np.float64), "average", "cosine")
    np.testing.assert_allclose(tree[:, 2], theirs[:, 2], atol=2e-6)
    for clusters in {2, number // 2, number - 1} - {0, 1}:
        own = cut_tree(tree, clusters)
        other = fcluster(theirs, clusters, "maxclust")
        assert len(set(own)) == clusters
        assert normalized_mutual_info_score(own, other) == pytest.approx(1)
    threshold = 1 - float(np.median(theirs[:, 2])) - 1e-4
    own = cut_tree(tree, threshold=threshold)
    other = fcluster(theirs, 1 - threshold, "distance")
    assert normalized_mutual_info_score(own, other) == pytest.approx(1)


def test_weights_are_repetitions():
    rng = np.random.default_rng(1)
    points, weights = unit(rng.standard_normal((12, 5))), rng.integers(1, 5, 12)
    heights = average_linkage(points, weights=weights)[:, 2]
    theirs = linkage(np.repeat(points, weights, 0).astype(float), "average", "cosine")
    np.testing.assert_allclose(heights, theirs[-11:, 2], atol=2e-6)


def test_bias_is_added_to_every_score():
    rng = np.random.default_rng(2)
    points, bias = unit(rng.standard_normal((15, 4))), rng.standard_normal(15)
    scores = points @ points.T + bias[:, None] + bias
    distances = (10 - scores)[np.triu_indices(15, 1)]
    theirs = linkage(distances, "average")[:, 2] - 9
    np.testing.assert_allclose(
        average_linkage(points, bias=bias)[:, 2], theirs, atol=1e-5
    )


@pytest.mark.parametrize("clusters", [5, 40, 200])
def test_kmeans_is_as_good_as_scikit_learns(clusters):
    points, _ = speakers(noise=0.6)
    found = fit_kmeans(points, clusters, seed=1)
    labels = SklearnKMeans(clusters, n_init=1, random_state=0).fit(points).labels_
    sums = np.stack([points[labels == k].sum(0) for k in range(clusters)])
    theirs = 2 * (len(points) - np.linalg.norm(sums, axis=1).sum())
    assert found.inertia[-1] <= 1.02 * theirs
    sums = np.stack([points[found.labels == k].sum(0) for k in range(clusters)])
    own = 2 * (len(points) - np.linalg.norm(sums, axis=1).sum())
    assert found.inertia[-1] == pytest.approx(own, rel=1e-4)
    assert found.sizes.min() >= 1 and found.sizes.sum() == len(points)
    np.testing.assert_array_equal(found.labels, fit_kmeans(points, clusters, 1).labels)


@pytest.mark.parametrize(
    "clusterer",
    [
        KMeans(20),
        AHC(num_clusters=20),
        KMeansAHC(num_means=0.25, num_clusters=20),
        KMeansAHC(num_means=120, num_clusters=20, weighted=True, pca_variance=0.99),
    ],
)
def test_known_structure_is_found(clusterer):
    points, truth = speakers()
    clustering = clusterer(points * 3.0)
    assert normalized_mutual_info_score(truth, clustering.labels) > 0.95
    assert clustering.figures["clusters"] == 20
    sizes = np.bincount(clustering.labels)
    assert (np.diff(sizes) <= 0).all()  # numbered by falling size
    figures = clustering.against([str(name) for name in truth])
    assert figures["nmi"] == pytest.approx(
        normalized_mutual_info_score(truth, clustering.labels), abs=1e-6
    )
    purity = sum(np.bincount(truth[clustering.labels == k]).max() for k in range(20))
    assert figures["purity"] == pytest.approx(purity / len(truth))


def test_number_of_clusters_is_found_without_labels():
    points, _ = speakers(number=30)
    clustering = AHC(num_clusters="auto", count_range=[5, 120])(points)
    assert 24 <= clustering.figures["clusters"] <= 38
    assert clustering.figures["curve"]


def test_plda_clusters_known_structure():
    points, truth = speakers(number=25, utterances=30, dim=12)
    clusterer = PLDAClustering(
        threshold=0.6, plda_threshold=None, plda_clusters=25, max_size=None
    )
    labels = clusterer(points).labels
    kept = labels >= 0
    assert kept.mean() > 0.5
    assert normalized_mutual_info_score(truth[kept], labels[kept]) > 0.9


def test_filters_leave_out_and_count():
    points, _ = speakers()
    whole = KMeans(20)(points).labels
    small = KMeans(20, min_size=25, max_size=40)(points)
    sizes = np.bincount(whole)
    kept = ((sizes >= 25) & (sizes <= 40))[whole]
    np.testing.assert_array_equal(small.labels >= 0, kept)
    assert small.figures["kept"] == kept.sum()


@pytest.mark.parametrize(
    "clusterer, points, message",
    [
        (lambda: KMeans(50), "ten", "50"),
        (lambda: AHC(num_clusters=11), "ten", "11 clusters"),
        (lambda: KMeans(1), "ten", "num_clusters is 1"),
        (lambda: AHC(), "ten", "give one of them"),
        (lambda: AHC(num_clusters=2, threshold=0.5), "ten", "give one of them"),
        (lambda: AHC(threshold=1.5), "ten", "threshold is 1.5"),
        (lambda: KMeans(2), "nan", "first: row 3"),
        (lambda: KMeans(2), "zero", "first: row 5"),
        (lambda: KMeans(2), "flat", "shape"),
        (lambda: KMeans(4), "equal", "different"),
    ],
)
def test_bad_input_is_refused(clusterer, points, message):
    ten = unit(np.random.default_rng(0).standard_normal((10, 4)))
    inputs = {"ten": ten, "nan": ten.copy(), "zero": ten.copy(), "flat": ten[0]}
    inputs["nan"][3, 1], inputs["zero"][5] = np.nan, 0
    inputs["equal"] = np.repeat(ten[:2], 5, axis=0)
    with pytest.raises(ValueError, match=message):
        clusterer()(inputs[points])


def test_label_files_come_back_in_any_order(tmp_path):
    save_labels(tmp_path, list("abcd"), Clustering(np.array([0, 1, -1, 0]), {"x": 1}))
    assert load_labels(tmp_path / "labels.csv", list("dcba")).tolist() == [0, -1, 1, 0]


@pytest.mark.parametrize(
    "text, message",
    [
        ("ID,label\na,0\nb,1\nz,1\n", "'c'"),
        ("ID,label\na,0\nb,1\nc,1\nz,0\n", "'z'"),
        ("ID,label\na,0\nb,x\nc,1\n", "line 3"),
        ("ID,label\na,0\na,1\nc,1\n", "'a' occurs twice"),
        ("ID,label\na,0\nb,2\nc,2\n", "without gaps"),
        ("ID,label\na,0\nb,0\nc,0\n", "1 classes"),
        ("a,0\nb,1\n", "does not begin with ID,label"),
    ],
)
def test_label_files_of_other_utterances_or_forms_are_refused(tmp_path, text, message):
    path = tmp_path / "labels.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        load_labels(path, ["a", "b", "c"])
