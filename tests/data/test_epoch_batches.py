"""The order of batches."""

import pytest
from hypothesis import given, settings, strategies as st

from speechbrain_dino.data.crops import EpochBatches


@given(st.integers(1, 60), st.integers(1, 7), st.integers(0, 3), st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_every_item_at_most_once_per_epoch(num_items, batch_size, seed, epoch):
    if num_items < batch_size:
        with pytest.raises(ValueError, match="do not fill one batch"):
            EpochBatches(num_items, batch_size, seed)
        return
    batches = EpochBatches(num_items, batch_size, seed)
    batches.set_epoch(epoch)
    keys = [key for batch in batches for key in batch]
    items = [item for _, item in keys]
    assert {number for number, _ in keys} == {epoch}
    assert len(items) == len(batches) * batch_size > num_items - batch_size
    assert len(set(items)) == len(items)
    assert set(items) <= set(range(num_items))


def test_epochs_and_seeds_have_orders_of_their_own():
    def order(seed, epoch):
        batches = EpochBatches(100, 10, seed)
        batches.set_epoch(epoch)
        return [item for batch in batches for _, item in batch]

    assert order(0, 1) == order(0, 1)
    assert order(0, 1) != order(0, 2)
    assert order(0, 1) != order(1, 1)
    assert order(0, 1) != sorted(order(0, 1))


@pytest.mark.parametrize("world_size", [2, 3])
def test_processes_together_are_one_with_a_larger_batch(world_size):
    whole = list(EpochBatches(50, 4 * world_size, 3))
    parts = [EpochBatches(50, 4, 3, rank, world_size) for rank in range(world_size)]
    assert {len(part) for part in parts} == {len(whole)}
    together = [[key for part in batches for key in part] for batches in zip(*parts)]
    assert together == whole


@given(st.integers(0, 12))
def test_resumed_epoch_continues_in_the_same_order(first):
    batches = EpochBatches(50, 4, 3)
    batches.set_epoch(2)
    whole = list(batches)
    batches.set_epoch(2, first)
    assert list(batches) == whole[first:]
    assert len(batches) == len(whole)
