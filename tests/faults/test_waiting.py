"""The first process's long work does not time the others out."""

import multiprocessing
import os
import time
from datetime import timedelta

import pytest
import torch.distributed as dist

from speechbrain_dino.utils.distributed import alone_on_main, on_main_first
from speechbrain_dino.utils.ending import wait_long

pytestmark = pytest.mark.distributed

LIMIT = timedelta(seconds=1)


def both(tmp_path, work):
    """Exit codes and answers of two processes whose group waits for a second."""
    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()
    arguments = str(tmp_path / "store"), work, answers
    processes = [
        context.Process(target=process, args=(rank, *arguments)) for rank in range(2)
    ]
    for started in processes:
        started.start()
    for started in processes:
        started.join(60)
        if started.is_alive():
            started.kill()
            started.join()
    return [started.exitcode for started in processes], answers


def process(rank, store, work, answers):
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
    dist.init_process_group(
        "gloo", f"file://{store}", rank=rank, world_size=2, timeout=LIMIT
    )
    answers.put((rank, work()))
    os._exit(0)  # without the interpreter's end, which pytest takes part in


def long_work():
    time.sleep(2.5)
    return "prepared"


def prepared():
    return alone_on_main(long_work), on_main_first(lambda: "table")


def test_the_others_wait_longer_than_the_group_does(tmp_path):
    codes, answers = both(tmp_path, prepared)
    assert codes == [0, 0]
    expected = {0: ("prepared", "table"), 1: (None, "table")}
    assert dict(answers.get() for _ in range(2)) == expected


def failing():
    alone_on_main(lambda: 1 / 0)


def test_a_failure_of_the_first_ends_the_others(tmp_path):
    codes, answers = both(tmp_path, failing)
    assert codes == [1, 1]
    assert answers.empty()


def first_operation():
    """As NCCL begins: the others ask the store for what the first one puts there."""
    wait_long()
    store = dist.distributed_c10d._get_default_store()
    if dist.get_rank() == 0:
        time.sleep(2.5)
        store.set("id", "0")
    return store.get("id").decode()


def test_the_first_operation_after_long_work(tmp_path):
    codes, answers = both(tmp_path, first_operation)
    assert codes == [0, 0]
    assert dict(answers.get() for _ in range(2)) == {0: "0", 1: "0"}
