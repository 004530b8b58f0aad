"""Checkpoints that are whole or not there."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from speechbrain_dino.training import checkpoints
from speechbrain_dino.training.checkpoints import (
    CONTENTS,
    WholeCheckpointer,
    average_checkpoints,
    best_checkpoint,
    save_epoch,
)


class Killed(BaseException):
    """Stands for SIGKILL: nothing of ours runs after it."""


@pytest.fixture
def layer():
    return torch.nn.Linear(3, 2)


@pytest.fixture
def saver(tmp_path, layer):
    return WholeCheckpointer(tmp_path / "save", {"layer": layer})


def put(layer, value):
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.fill_(value)


def saved(saver, layer, value):
    put(layer, value)
    return saver.save_checkpoint(meta={"value": value})


def values(saver):
    return sorted(checkpoint.meta["value"] for checkpoint in saver.list_checkpoints())


def recovered(saver, layer):
    put(layer, -1.0)
    saver.recover_if_possible()
    return layer.weight[0, 0].item()


# -- whole or not there -------------------------------------------------------


def test_newest_is_loaded(saver, layer):
    for value in (1.0, 2.0, 3.0):
        last = saved(saver, layer, value)
    assert last.path.parent == saver.checkpoints_dir
    assert last.paramfiles["layer"].exists()
    assert recovered(saver, layer) == 3.0


@pytest.mark.parametrize("name", ["layer.ckpt", "CKPT.yaml", CONTENTS])
def test_truncated_file_is_passed_over(saver, layer, name, caplog):
    saved(saver, layer, 1.0)
    newest = saved(saver, layer, 2.0)
    content = (newest.path / name).read_bytes()
    (newest.path / name).write_bytes(content[: len(content) // 2])
    assert recovered(saver, layer) == 1.0
    assert values(saver) == [1.0]
    warnings = [r for r in caplog.records if "is not a whole checkpoint" in r.message]
    assert len(warnings) == 1 and f"{name} is" in warnings[0].message


@pytest.mark.parametrize("name", ["layer.ckpt", "CKPT.yaml"])
def test_missing_file_is_passed_over(saver, layer, name):
    saved(saver, layer, 1.0)
    (saved(saver, layer, 2.0).path / name).unlink()
    assert recovered(saver, layer) == 1.0


def test_half_written_folder_of_speechbrain_is_passed_over(saver, layer):
    saved(saver, layer, 1.0)
    half = saver.checkpoints_dir / "CKPT+2099-01-01+00-00-00+00"
    half.mkdir()
    (half / "CKPT.yaml").write_text(
        "end-of-epoch: true\nunixtime: 9999999999.0\n", encoding="utf-8"
    )
    assert recovered(saver, layer) == 1.0


def test_whole_folder_of_speechbrain_is_loaded(saver, layer):
    newest = saved(saver, layer, 1.0)
    (newest.path / CONTENTS).unlink()
    assert recovered(saver, layer) == 1.0


def test_nothing_whole_is_no_checkpoint(saver, layer):
    (saved(saver, layer, 1.0).path / "layer.ckpt").unlink()
    assert saver.recover_if_possible() is None


@pytest.mark.parametrize(
    "module, function",
    [
        ("speechbrain.utils.checkpoints", "torch_save"),
        ("speechbrain_dino.training.checkpoints", "_flushed_size"),
        ("os", "replace"),
    ],
)
def test_killed_while_saving(saver, layer, monkeypatch, module, function):
    saved(saver, layer, 1.0)
    hooks = checkpoints.Checkpointer.save_checkpoint.__globals__

    def kill(*args):
        raise Killed

    with monkeypatch.context() as patch:
        if function == "torch_save":
            patch.setitem(hooks["DEFAULT_SAVE_HOOKS"], torch.nn.Module, kill)
        else:
            patch.setattr(f"{module}.{function}", kill)
        with pytest.raises(Killed):
            saved(saver, layer, 2.0)
    drafts = [p for p in saver.checkpoints_dir.iterdir() if p.name[0] == "."]
    assert len(drafts) == 1
    again = WholeCheckpointer(saver.checkpoints_dir, {"layer": layer})
    assert drafts[0].exists(), "opening a folder must not disturb a run that saves"
    assert recovered(again, layer) == 1.0
    saved(again, layer, 3.0)
    assert not drafts[0].exists()
    assert values(again) == [1.0, 3.0]


SAVES_FOREVER = """
import sys, torch
from speechbrain_dino.training.checkpoints import WholeCheckpointer
layer = torch.nn.Linear(300, 300)
saver = WholeCheckpointer(sys.argv[1], {"layer": layer})
for value in range(10000):
    torch.nn.init.constant_(layer.weight, value)
    saver.save_and_keep_only(meta={"value": value}, num_to_keep=2, importance_keys=[])
    print(value, flush=True)
"""


def test_sigkill_leaves_a_whole_checkpoint(tmp_path):
    layer = torch.nn.Linear(300, 300)
    for wait in (0.0, 0.013):
        process = subprocess.Popen(
            [sys.executable, "-c", SAVES_FOREVER, tmp_path / "save"],
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(5):
            last = int(process.stdout.readline())
        time.sleep(wait)
        os.kill(process.pid, signal.SIGKILL)
        rest = process.communicate()[0].split()
        last = int(rest[-1]) if rest else last
        saver = WholeCheckpointer(tmp_path / "save", {"layer": layer})
        checkpoint = saver.recover_if_possible()
        assert checkpoint.meta["value"] in (last, last + 1)
        assert (layer.weight == checkpoint.meta["value"]).all()


def test_named_checkpoint_is_replaced(saver, layer):
    for value in (1.0, 2.0):
        put(layer, value)
        saver.save_checkpoint(name="last", meta={"value": value})
    assert values(saver) == [2.0]
    assert recovered(saver, layer) == 2.0


def test_save_and_keep_only_keeps_the_right_ones(saver, layer):
    for value in (3.0, 1.0, 4.0, 5.0, 9.0):
        put(layer, value)
        saver.save_and_keep_only(
            meta={"value": value},
            num_to_keep=1,
            importance_keys=[],
            min_keys=["value"],
        )
    assert values(saver) == [1.0, 9.0]


# -- end of an epoch ----------------------------------------------------------


def epochs(saver):
    return sorted(checkpoint.meta["epoch"] for checkpoint in saver.list_checkpoints())


def test_last_and_best_are_kept_also_between_validations(saver):
    eers = {1: 0.3, 3: 0.1, 5: 0.2, 7: 0.15}
    for epoch in range(1, 9):
        metrics = {"loss": 1.0, "neighbor_agreement": epoch / 10}
        if epoch in eers:
            metrics |= {"eer/b": 1 - eers[epoch], "eer/a": eers[epoch]}
        save_epoch(saver, epoch, metrics, keep=2)
    assert epochs(saver) == [3, 7, 8]


def test_without_lists_the_highest_agreement_is_best(saver):
    for epoch, agreement in enumerate((0.5, 0.9, 0.7, 0.6), 1):
        save_epoch(saver, epoch, {"neighbor_agreement": agreement}, keep=1)
    assert epochs(saver) == [2, 4]


def test_nan_is_never_the_best(saver):
    for epoch, eer in enumerate((0.3, float("nan"), 0.4, 0.5), 1):
        save_epoch(saver, epoch, {"eer/a": eer}, keep=1)
    assert epochs(saver) == [1, 4]


def test_checkpoint_from_within_the_epoch_takes_no_place(saver):
    for epoch in (1, 2, 3):
        saver.save_checkpoint(end_of_epoch=False, meta={"epoch": -1})
        save_epoch(saver, epoch, {}, keep=2)
    assert epochs(saver) == [2, 3]
    assert best_checkpoint(saver.list_checkpoints()) is None


def test_keeping_none_is_refused(saver):
    with pytest.raises(ValueError, match="keep_checkpoints is 0"):
        save_epoch(saver, 1, {}, keep=0)


# -- average ------------------------------------------------------------------


def test_average_is_the_mean_with_batchnorm_and_integers_kept(tmp_path):
    model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3))
    model.register_buffer("coarse", torch.zeros(2, dtype=torch.float16))
    saver = WholeCheckpointer(tmp_path, {"model": model})
    states = []
    for _ in range(3):
        for value in model.state_dict().values():
            new = torch.randn(value.shape) if value.is_floating_point() else value + 5
            value.copy_(new)
        states.append({k: v.clone() for k, v in model.state_dict().items()})
        saver.save_checkpoint()
    newest_first = saver.find_checkpoints()
    average = average_checkpoints(newest_first, "model")
    assert average.keys() == states[0].keys()
    for key, value in average.items():
        assert value.dtype == states[0][key].dtype
        if value.is_floating_point():
            expected = torch.stack([state[key].double() for state in states]).mean(0)
            torch.testing.assert_close(value, expected.to(value.dtype), rtol=0, atol=0)
    assert average["1.num_batches_tracked"] == 15
    model.load_state_dict(average)


def test_average_of_one_is_itself(saver, layer):
    one = average_checkpoints([saved(saver, layer, 0.1)], "layer")
    assert all(torch.equal(one[k], v) for k, v in layer.state_dict().items())


def test_average_of_none_is_refused():
    with pytest.raises(ValueError, match="at least one is needed"):
        average_checkpoints([], "model")
