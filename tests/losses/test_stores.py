"""Tables that wait until a step is known to be good."""

import collections

import pytest
import torch

from speechbrain_dino.losses.queues import Queue, Store


@pytest.mark.parametrize("size, numbers", [(5, [2, 2, 2, 3]), (4, [9, 1]), (3, [3, 3])])
def test_queue_holds_the_last_rows(size, numbers):
    queue, expected = Queue(size, keys=(2,)), collections.deque(maxlen=size)
    item = 0
    for number in numbers:
        items = torch.arange(item, item + number)
        keys = torch.randn(number, 2)
        queue.push(items, keys=keys)
        queue.settle()
        expected.extend(zip(items.tolist(), keys))
        item += number
        key_of = {int(i): key for i, key in zip(queue.items, queue.keys) if i >= 0}
        assert set(key_of) == {i for i, _ in expected}
        assert all(torch.equal(key_of[i], key) for i, key in expected)


def test_nothing_is_written_before_it_is_settled():
    queue = Queue(4, keys=(2,))
    queue.push(torch.tensor([1]), keys=torch.ones(1, 2))
    assert queue.keys.sum() == 0 and queue.seen == 0
    before = {k: v.clone() for k, v in queue.state_dict().items()}
    queue.settle(torch.tensor(False))
    queue.settle()
    assert all(torch.equal(v, before[k]) for k, v in queue.state_dict().items())


def test_rows_and_types():
    store = Store(3, wide=(2, 4), short=((2,), torch.float16), marks=((), torch.int64))
    assert store.wide.shape == (3, 2, 4) and store.short.dtype == torch.float16
    store.write(
        torch.tensor([2, 0]), wide=torch.ones(2, 2, 4), short=torch.full((2, 2), 3.0)
    )
    store.settle(torch.tensor(True))
    assert store.wide.sum((1, 2)).tolist() == [8, 0, 8]
    assert store.short[:, 0].tolist() == [3, 0, 3] and store.marks.shape == (3,)
