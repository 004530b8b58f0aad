"""Crops of one item from several utterances of its cluster."""

import types

import numpy as np
import pytest
import soundfile as sf
from hypothesis import given, settings, strategies as st

from speechbrain_dino.clustering.labels import Clustering, save_labels
from speechbrain_dino.data.crops import MultiCropDataset, crop_loader
from speechbrain_dino.data.manifest import Manifest
from speechbrain_dino.training.cluster_crops import ClusterCrops, Partners

RATE, UTTERANCES = 1000, 9
LABELS = np.array([0, 0, 1, -1, 1, 0, 2, 1, 0])


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    """Files that hold their own row number in every sample."""
    folder, rows = tmp_path_factory.mktemp("numbers"), []
    for number in range(UTTERANCES):
        wav = folder / f"{number}.wav"
        sf.write(wav, np.full(3000, number, dtype=np.int16), RATE)
        row = {"ID": f"u{number}", "duration": 3.0, "wav": str(wav)}
        rows.append(row | {"start": 0, "stop": 3000})
    return Manifest.from_rows(rows)


def dataset(manifest, **options):
    sizes = {"global_seconds": 0.5, "local_seconds": 0.2, "sample_rate": RATE}
    return MultiCropDataset(manifest, **{**sizes, "num_draws": 2, **options})


def sources(batch):
    """The row that each crop comes from, (crops, batch)."""
    rows = []
    for view in batch.views:
        assert (view == view[..., :1]).all()
        rows.append(view[..., 0].numpy())
    return np.concatenate(rows)


@settings(max_examples=60, deadline=None)
@given(
    labels=st.lists(st.integers(-1, 4), min_size=1, max_size=30),
    utterances=st.integers(2, 5),
    crops=st.integers(1, 8),
    seed=st.integers(0, 9),
)
def test_partners_are_others_of_the_cluster(labels, utterances, crops, seed):
    labels = np.array(labels)
    partners = Partners(len(labels), utterances)
    partners.set_labels(labels)
    for item, label in enumerate(labels):
        rows = partners.rows(np.random.default_rng(seed), item, crops)
        assert len(rows) == crops and rows[0] == item
        cluster = np.flatnonzero(labels == label) if label >= 0 else [item]
        assert set(rows) <= set(cluster)
        assert len(set(rows)) == min(utterances, len(cluster), crops)


def test_every_other_utterance_has_its_turn():
    partners = Partners(UTTERANCES)
    partners.set_labels(LABELS)
    rng = np.random.default_rng(0)
    drawn = [partners.rows(rng, 1, 2)[1] for _ in range(600)]
    numbers, counts = np.unique(drawn, return_counts=True)
    assert numbers.tolist() == [0, 5, 8] and counts.min() > 150


def test_crops_come_from_the_cluster(manifest):
    data = dataset(manifest)
    data.partners = Partners(UTTERANCES)
    data.partners.set_labels(LABELS)
    keys = [(1, item) for item in range(UTTERANCES)]
    rows = sources(data.batch(keys))
    assert rows.shape == (6, UTTERANCES)
    assert (rows[0::2] == np.arange(UTTERANCES)).all()
    for item, label in enumerate(LABELS):
        (mate,) = set(rows[1::2, item])
        if label in (-1, 2):  # alone
            assert mate == item
        else:
            assert mate != item and LABELS[mate] == label
    assert (sources(data.batch(keys)) == rows).all()
    others = sources(data.batch([(2, item) for item in range(UTTERANCES)]))
    assert not (others == rows).all()


def test_validation_and_lone_utterances_are_as_without_clusters(manifest):
    plain, data = dataset(manifest, seed=5), dataset(manifest, seed=5)
    data.partners = Partners(UTTERANCES)
    keys = [(3, item) for item in range(UTTERANCES)]
    for epoch in (0, 3):
        keys = [(epoch, item) for item in range(UTTERANCES)]
        assert (sources(data.batch(keys)) == np.arange(UTTERANCES)).all()
        if epoch == 0:
            data.partners.set_labels(LABELS)
            one, other = data.batch(keys), plain.batch(keys)
            assert all((a == b).all() for a, b in zip(one.draws, other.draws))
            data.partners.set_labels(np.full(UTTERANCES, -1))


def test_new_clusters_reach_loaders_that_run(manifest):
    data = dataset(manifest)
    data.partners = Partners(UTTERANCES)
    loader = crop_loader(data, batch_size=3, num_workers=1)
    pairs_of_epochs = []
    for epoch, labels in ((1, None), (2, np.zeros(UTTERANCES)), (3, LABELS)):
        if labels is not None:
            data.partners.set_labels(labels)
        loader.batch_sampler.set_epoch(epoch)
        pairs = set()
        for batch in loader:
            for rows in sources(batch):
                pairs |= set(zip(batch.items.tolist(), rows.tolist()))
        pairs_of_epochs.append(pairs)
    assert all(item == row for item, row in pairs_of_epochs[0])
    assert any(LABELS[item] != LABELS[row] for item, row in pairs_of_epochs[1])
    assert all(LABELS[i] == LABELS[r] or i == r for i, r in pairs_of_epochs[2])
    assert any(item != row for item, row in pairs_of_epochs[2])


def brain_of(manifest, folder):
    loader = types.SimpleNamespace(dataset=dataset(manifest))
    hparams = types.SimpleNamespace(output_folder=str(folder))
    return types.SimpleNamespace(loader=loader, hparams=hparams, step=0)


def test_fixed_clusters_come_from_a_file(manifest, tmp_path):
    save_labels(tmp_path, manifest.ids, Clustering(LABELS, {}))
    hook = ClusterCrops(first_epoch=3, labels_file=tmp_path / "labels.csv")
    brain = brain_of(manifest, tmp_path)
    data = brain.loader.dataset
    for epoch in (1, 2):
        hook(brain, epoch)
        assert (data.partners.size == 1).all()
    for epoch in (3, 4):
        hook(brain, epoch)
        assert data.partners.size.tolist() == [4, 4, 3, 1, 3, 4, 1, 3, 4]


def test_one_source_of_clusters_is_needed():
    with pytest.raises(ValueError, match=r"labels_file, .* or a clusterer"):
        ClusterCrops(first_epoch=1)


def test_wrong_numbers_are_named():
    with pytest.raises(ValueError, match="utterances=1"):
        Partners(4, utterances=1)
    with pytest.raises(ValueError, match="3 labels for 4"):
        Partners(4).set_labels(np.zeros(3))
