"""Multi-crop."""

import numpy as np
import pytest
import soundfile as sf
import torch
from hypothesis import given, settings, strategies as st

from speechbrain_dino.data.crops import MultiCropDataset, crop_loader, place_crops
from speechbrain_dino.data.manifest import Manifest

RATE = 1000  # a small rate keeps the files of these tests small
FRAMES = 6000


@pytest.fixture(scope="module")
def ramps(tmp_path_factory):
    """Eight files whose samples are their positions; odd ones with gaps in the speech.

    Number 6 has half a second of speech.
    """
    folder = tmp_path_factory.mktemp("ramps")
    rows = []
    for number in range(8):
        wav = folder / f"{number}.wav"
        sf.write(wav, np.arange(FRAMES, dtype=np.int16), RATE)
        stop = 500 if number == 6 else FRAMES
        runs = "500-2500;3000-5900" if number % 2 else f"0-{stop}"
        row = {"ID": str(number), "duration": stop / RATE, "wav": str(wav)}
        rows.append(row | {"start": 0, "stop": stop, "speech": runs})
    return Manifest.from_rows(rows)


def crops_of(manifest, **options):
    sizes = {"global_seconds": 2.0, "local_seconds": 0.5, "sample_rate": RATE}
    return MultiCropDataset(manifest, **{**sizes, "num_draws": 3, **options})


def true_speech(number):
    if number == 6:
        return np.arange(500)
    if number % 2 == 0:
        return np.arange(FRAMES)
    return np.concatenate([np.arange(500, 2500), np.arange(3000, 5900)])


def equal(one, other):
    pairs = zip(
        [*one.views, *one.draws, one.items], [*other.views, *other.draws, other.items]
    )
    return all(torch.equal(a, b) for a, b in pairs)


def test_shapes_and_types(ramps):
    batch = crops_of(ramps, global_crops=2, local_crops=4).batch([(1, 3), (1, 0)])
    assert [view.shape for view in batch.views] == [(2, 2, 2000), (4, 2, 500)]
    assert [draws.shape for draws in batch.draws] == [(2, 2, 3), (4, 2, 3)]
    assert {view.dtype for view in batch.views} == {torch.int16}
    assert batch.items.tolist() == [3, 0]
    draws = torch.cat(batch.draws)
    assert draws.min() >= 0 and draws.max() < 1
    assert draws.unique().numel() == 36


def test_one_length_without_local_crops(ramps):
    batch = crops_of(ramps, global_crops=3, local_crops=0).batch([(1, 0)])
    assert [view.shape for view in batch.views] == [(3, 1, 2000)]


@pytest.mark.parametrize("placement", ["independent", "disjoint"])
def test_crops_are_stretches_of_the_speech(ramps, placement):
    data = crops_of(ramps, placement=placement)
    for epoch in range(1, 11):
        for number in (0, 1, 2, 3, 4, 5, 7):
            speech = true_speech(number)
            views, _, item = data[epoch, number]
            assert item == number
            for crop in [*views[0], *views[1]]:
                begin = np.searchsorted(speech, crop[0].item())
                stretch = speech[begin : begin + len(crop)]
                np.testing.assert_array_equal(crop.numpy(), stretch)


def test_short_utterance_is_repeated(ramps):
    views, _, _ = crops_of(ramps, local_seconds=0.3)[1, 6]
    np.testing.assert_array_equal(views[0][0].numpy(), np.arange(2000) % 500)
    for crop in views[1]:
        np.testing.assert_array_equal(np.diff(crop.numpy()), 1)


def test_numbers_depend_on_seed_epoch_and_item_alone(ramps):
    data = crops_of(ramps)
    first = data.batch([(2, 5)])
    data.batch([(1, 0), (7, 5)])
    assert equal(data.batch([(2, 5)]), first)
    assert equal(crops_of(ramps).batch([(2, 5)]), first)
    company = data.batch([(2, 0), (2, 5)])
    for view, alone in zip(company.views, first.views):
        assert torch.equal(view[:, 1:], alone)
    for draws, alone in zip(company.draws, first.draws):
        assert torch.equal(draws[:, 1:], alone)
    assert not equal(crops_of(ramps, seed=5).batch([(2, 5)]), first)
    assert not equal(data.batch([(3, 5)]), first)


def test_workers_do_not_matter(ramps):
    alone, shared = (
        list(crop_loader(crops_of(ramps), batch_size=3, num_workers=workers))
        for workers in (0, 2)
    )
    assert len(alone) == 2
    assert all(equal(a, b) for a, b in zip(alone, shared))


def test_number_of_draws_does_not_move_the_crops(ramps):
    few, many = (crops_of(ramps, num_draws=n).batch([(1, 0)]) for n in (0, 20))
    assert all(torch.equal(a, b) for a, b in zip(few.views, many.views))


def test_one_file_is_opened_per_utterance(ramps, monkeypatch):
    opened = []

    class Counting(sf.SoundFile):
        def __init__(self, file, *args, **kwargs):
            opened.append(file)
            super().__init__(file, *args, **kwargs)

    monkeypatch.setattr(sf, "SoundFile", Counting)
    crops_of(ramps).batch([(1, item) for item in range(8)])
    assert opened == [ramps[item].wav for item in range(8)]


@pytest.mark.parametrize(
    "options, message",
    [
        ({"global_crops": 0}, "global_crops=0"),
        ({"local_crops": -1}, "local_crops=-1"),
        ({"placement": "apart"}, "placement='apart'; choose one of"),
    ],
)
def test_impossible_crops_are_refused(ramps, options, message):
    with pytest.raises(ValueError, match=message):
        crops_of(ramps, **options)


# -- where crops begin --------------------------------------------------------

sizes = st.lists(st.integers(1, 30), min_size=2, max_size=6)


@given(sizes, st.integers(1, 2), st.integers(1, 200), st.integers(0, 9), st.booleans())
@settings(max_examples=200, deadline=None)
def test_crops_lie_inside_and_apart(lengths, num_global, total, seed, disjoint):
    lengths = np.array(lengths)
    rng = np.random.default_rng(seed)
    starts = place_crops(rng, total, lengths, num_global, disjoint)
    assert (starts >= 0).all()
    assert (starts[lengths >= total] == 0).all()
    fits = lengths <= total
    assert (starts + lengths)[fits].max(initial=0) <= total
    if not disjoint:
        return
    apart = 0
    if lengths.sum() <= total:
        apart = len(lengths)
    elif lengths[:num_global].sum() <= total:
        apart = num_global
    covered = [
        sample
        for start, length in zip(starts[:apart], lengths[:apart])
        for sample in range(start, start + length)
    ]
    assert len(covered) == len(set(covered))


def test_independent_starts_are_uniform():
    rng = np.random.default_rng(0)
    lengths = np.array([20, 20, 10])
    drawn = np.array([place_crops(rng, 29, lengths, 2, False) for _ in range(5000)])
    for column, places in ((0, 10), (1, 10), (2, 20)):
        counts = np.bincount(drawn[:, column], minlength=places)
        assert len(counts) == places
        expected = 5000 / places
        assert ((counts - expected) ** 2 / expected).sum() < places + 5 * places**0.5
    assert abs(np.corrcoef(drawn[:, 0], drawn[:, 1])[0, 1]) < 0.05


def test_disjoint_crops_come_in_any_order_and_use_the_whole_utterance():
    rng = np.random.default_rng(0)
    lengths = np.array([4, 4, 2])
    drawn = np.array([place_crops(rng, 40, lengths, 2, True) for _ in range(3000)])
    orders = {tuple(np.argsort(starts)) for starts in drawn}
    assert len(orders) == 6
    assert drawn.min() == 0
    assert (drawn + lengths).max() == 40
    # Crops of one length are exchangeable: their mean place is the middle.
    np.testing.assert_allclose(drawn.mean(0) + lengths / 2, 20, atol=1)
