"""Clusterers on known structure: what they find, keep, record and refuse."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from sklearn.decomposition import PCA
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from speechbrain_dino.clustering.clusterers import AHC, KMeans, KMeansAHC
from speechbrain_dino.clustering.stages import unit_points
from speechbrain_dino.scoring.pairs import unit_rows


def speakers(number=20, utterances=25, dim=16, noise=0.7, seed=0):
    """Embeddings around directions of unequal numbers of utterances."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(utterances // 2, 2 * utterances, number)
    truth = rng.permutation(np.repeat(np.arange(number), counts))
    centers = unit_rows(rng.standard_normal((number, dim)))
    spread = noise * rng.standard_normal((len(truth), dim)) / np.sqrt(dim)
    return unit_rows(centers[truth] + spread), truth


CLUSTERERS = {
    "k-means": KMeans(20),
    "AHC": AHC(num_clusters=20),
    "AHC, threshold": AHC(threshold=0.395),
    "both": KMeansAHC(num_means=0.25, num_clusters=20),
    "weighted, PCA": KMeansAHC(120, 20, weighted=True, pca_variance=0.999),
}
each_clusterer = pytest.mark.parametrize("name", CLUSTERERS)


@each_clusterer
def test_known_structure_is_found(name):
    points, truth = speakers()
    clustering = CLUSTERERS[name](points * 3.0)
    assert normalized_mutual_info_score(truth, clustering.labels) > 0.95
    summary, sizes = clustering.summary, np.bincount(clustering.labels)
    assert summary["clusters"] == len(sizes) == 20 and sizes.all()
    assert (np.diff(sizes) <= 0).all()  # numbered by falling size
    assert summary["kept"] == summary["utterances"] == len(points)
    assert summary["sizes"]["max"] == sizes[0] and summary["sizes"]["mean"] > 20
    assert summary["seconds"]["all"] >= summary["seconds"]["preparation"] >= 0
    metrics = clustering.against([str(name) for name in truth])
    assert metrics["nmi"] > 0.95 and metrics["speakers"] == 20


@each_clusterer
def test_the_same_labels_each_time_and_from_any_array(name):
    points, _ = speakers()
    labels = CLUSTERERS[name](points).labels
    assert (CLUSTERERS[name](points).labels == labels).all()
    assert (CLUSTERERS[name](points.tolist()).labels == labels).all()
    assert labels.dtype == np.int64


@each_clusterer
@settings(deadline=None, max_examples=3)
@given(seed=st.integers(0, 10_000))
def test_rotation_scale_and_order_change_names_alone(name, seed):
    rng = np.random.default_rng(seed)
    points, _ = speakers(noise=0.4)
    labels = CLUSTERERS[name](points).labels
    order = rng.permutation(len(points))
    rotation = np.linalg.qr(rng.standard_normal((16, 16)))[0]
    scale = rng.uniform(0.1, 9, (len(points), 1))
    again = CLUSTERERS[name]((scale * points @ rotation)[order]).labels
    assert adjusted_rand_score(labels[order], again) == 1


def test_numbers_and_thresholds_agree():
    points, _ = speakers(noise=1.0)
    cut = AHC(num_clusters=30)(points)
    last, following = cut.summary["last_union"], cut.summary["next_union"]
    assert last > following
    for threshold in (last - 1e-6, following + 1e-6):
        assert (AHC(threshold=threshold)(points).labels == cut.labels).all()


def test_weighted_is_the_average_over_utterances():
    points, _ = speakers(noise=1.0)
    # Means of equal utterances are these utterances: nothing is lost on the way.
    repeated = np.repeat(points[:60], np.arange(60) % 5 + 1, axis=0)
    whole = AHC(num_clusters=12)(repeated)
    weighted = KMeansAHC(60, 12, weighted=True)(repeated)
    assert adjusted_rand_score(whole.labels, weighted.labels) == 1
    assert whole.summary["last_union"] == pytest.approx(
        weighted.summary["last_union"], abs=1e-5
    )


@pytest.mark.parametrize("share", [0.6, 0.95])
def test_pca_keeps_the_share(share):
    points, _ = speakers()
    scores = PCA(share, svd_solver="full").fit_transform(points.astype(np.float64))
    own = unit_points(points, share)
    assert own.shape == scores.shape
    expected = scores / np.linalg.norm(scores, axis=1, keepdims=True)
    # A direction's sign is arbitrary; products of rows are not.
    np.testing.assert_allclose(own @ own.T, expected @ expected.T, atol=1e-4)


def test_the_number_is_chosen_without_labels():
    points, _ = speakers(number=30)
    clustering = AHC(num_clusters="auto")(points)
    assert 26 <= clustering.summary["clusters"] <= 34
    curve = clustering.summary["curve"]
    best = max(curve, key=lambda line: line["criterion"])
    assert best["clusters"] == clustering.summary["clusters"]
    within = AHC(num_clusters="auto", count_range=[40, 60], count_candidates=5)
    tried = [line["clusters"] for line in within(points).summary["curve"]]
    assert tried == [40, 44, 49, 54, 60]


def test_size_filters_leave_out_and_count():
    points, _ = speakers()
    whole = KMeans(20)(points).labels
    kept = KMeans(20, min_size=25, max_size=40)(points)
    sizes = np.bincount(whole)[whole]
    np.testing.assert_array_equal(kept.labels >= 0, (sizes >= 25) & (sizes <= 40))
    left_out = {"small": int((sizes < 25).sum()), "large": int((sizes > 40).sum())}
    assert kept.summary["left_out"] == {"unsure": 0, **left_out}
    assert kept.summary["kept"] == len(points) - sum(left_out.values())
    assert set(kept.labels[kept.labels >= 0]) == set(range(kept.labels.max() + 1))


def test_unsure_utterances_are_left_out():
    points, _ = speakers(noise=1.5)
    whole = KMeans(20)(points)
    sure = KMeans(20, min_posterior=0.8, temperature=0.1)(points)
    sums = np.stack([points[whole.labels == k].sum(0) for k in range(20)])
    logits = 10 * points @ unit_rows(sums).T
    odds = np.exp(logits - logits.max(1, keepdims=True))
    own = odds[np.arange(len(points)), whole.labels] / odds.sum(1)
    np.testing.assert_array_equal(sure.labels >= 0, own >= 0.8)
    assert sure.summary["left_out"]["unsure"] == (own < 0.8).sum() > 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: KMeans(1), "num_clusters is 1: a number of 2 or more"),
        (lambda: KMeans(2.5), "num_clusters is 2.5"),
        (lambda: KMeans("auto"), "auto is for KMeansAHC"),
        (lambda: AHC(num_clusters="many"), "num_clusters is 'many'"),
        (lambda: AHC(), "give one of them, null for the other"),
        (lambda: AHC(num_clusters=2, threshold=0.5), "give one of them"),
        (lambda: AHC(threshold=1.5), "threshold is 1.5: a number between -1 and 1"),
        (lambda: AHC(threshold=np.nan), "threshold is nan"),
        (lambda: KMeans(2, pca_variance=99), "pca_variance is 99: a number between 0"),
        (lambda: KMeans(2, temperature=0), "temperature is 0"),
        (lambda: KMeans(2, min_posterior=1.0), "min_posterior is 1.0"),
        (lambda: KMeans(2, min_size=9, max_size=8), "min_size 9 and max_size 8"),
    ],
)
def test_settings_that_cannot_be_are_refused_at_once(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("clusterer", "points", "message"),
    [
        (KMeans(50), "ten", "50 clusters were asked for and there are 10 embeddings"),
        (KMeansAHC(50000, 7500), "ten", "50000 .* num_means as a share such as 0.25"),
        (KMeansAHC(5, num_clusters=6), "ten", "6 clusters .* there are 5 means"),
        (KMeansAHC(1.5, num_clusters=6), "ten", "1.5 means were asked for"),
        (AHC(num_clusters=11), "ten", "11 clusters were asked for"),
        (AHC("auto", count_range=[5, 4]), "ten", r"count_range is \[5, 4\]"),
        (AHC("auto", count_range=[11, 20]), "ten", "11 clusters .* there are 10"),
        (AHC(threshold=-0.999), "ten", "1 clusters are left .* raise the threshold"),
        (KMeans(2, min_size=9), "ten", "0 clusters are left .*'small': 10"),
        (KMeans(2), "nan", r"1 of 10 rows .* \(first: row 3\)"),
        (AHC(2), "infinite", "first: row 4"),
        (KMeans(2), "zero", "first: row 5"),
        (KMeans(2), "flat", r"one per row \(N, D\), was given shape \(4,\)"),
        (AHC(2), "single", r"at least two embeddings.*\(1, 4\)"),
        (KMeans(2), "constant", "all 10 embeddings have one direction"),
        (KMeans(4), "equal", "only 2 different ones"),
    ],
)
def test_bad_input_is_named(clusterer, points, message):
    ten = np.random.default_rng(0).standard_normal((10, 4)).astype(np.float32)
    inputs = {"ten": ten, "flat": ten[0], "single": ten[:1]}
    for name, row, value in (("nan", 3, np.nan), ("infinite", 4, np.inf)):
        inputs[name] = ten.copy()
        inputs[name][row, 1] = value
    inputs["zero"] = ten * (np.arange(10) != 5)[:, None]
    inputs["constant"] = np.arange(1.0, 11)[:, None] * ten[0]
    inputs["equal"] = np.repeat(ten[:2], 5, axis=0)
    with pytest.raises(ValueError, match=message):
        clusterer(inputs[points])
