"""Checkpoints that are whole or not there: a run can be killed at any moment."""

import json
import logging
import os
import shutil
from pathlib import Path

import torch
from speechbrain.utils.checkpoints import Checkpoint, Checkpointer
from speechbrain.utils.distributed import (
    ddp_barrier,
    if_main_process,
    main_process_only,
)

logger = logging.getLogger(__name__)

CONTENTS = "contents.json"
_DRAFT = ".saving-"


class WholeCheckpointer(Checkpointer):
    """SpeechBrain's Checkpointer, safe against being killed while it saves.

    A checkpoint is written beside its place and renamed once everything lies on the
    disk, with a list of its files. Folders that are not whole are passed over with a
    warning, so that recovery takes the newest whole one.

    Example
    -------
    >>> folder = getfixture("tmp_path")
    >>> layer = torch.nn.Linear(2, 2)
    >>> saver = WholeCheckpointer(folder, {"layer": layer})
    >>> checkpoint = saver.save_checkpoint()
    >>> _ = (checkpoint.path / "layer.ckpt").write_bytes(b"half")
    >>> saver.find_checkpoint() is None
    True
    """

    def __init__(self, checkpoints_dir, recoverables=None, **kwargs):
        super().__init__(checkpoints_dir, recoverables, **kwargs)
        if if_main_process():
            for draft in self.checkpoints_dir.glob(f"{_DRAFT}*"):
                shutil.rmtree(draft)

    def _new_checkpoint_dirpath(self):
        final = super()._new_checkpoint_dirpath()
        return final.with_name(_DRAFT + final.name)

    def _custom_checkpoint_dirpath(self, name):
        final = super()._custom_checkpoint_dirpath(name)
        return final.with_name(_DRAFT + final.name)

    def save_checkpoint(self, *args, **kwargs):
        """Saves as SpeechBrain does; the checkpoint appears once it is whole."""
        saved = super().save_checkpoint(*args, **kwargs)
        ddp_barrier()
        if saved is None:
            return None
        final = saved.path.with_name(saved.path.name.removeprefix(_DRAFT))
        sizes = {file.name: _flushed_size(file) for file in saved.path.iterdir()}
        contents = saved.path / CONTENTS
        contents.write_text(json.dumps(sizes))
        _flushed_size(contents)
        if final.exists():
            shutil.rmtree(final)
        os.replace(saved.path, final)
        _flush_folder(final.parent)
        files = {name: final / file.name for name, file in saved.paramfiles.items()}
        return Checkpoint(final, saved.meta, files)

    def _list_checkpoint_dirs(self):
        return [path for path in super()._list_checkpoint_dirs() if self._whole(path)]

    def _whole(self, path):
        missing = _missing(path, self.recoverables)
        if missing:
            logger.warning(
                "%s is not a whole checkpoint (%s), it is passed over.", path, missing
            )
        return not missing


def _missing(path, recoverables):
    contents = path / CONTENTS
    if not contents.exists():
        absent = [n for n in recoverables if not (path / f"{n}.ckpt").exists()]
        return f"no {CONTENTS}, no {', '.join(absent)}" if absent else ""
    for name, size in json.loads(contents.read_text()).items():
        file = path / name
        if not file.exists() or file.stat().st_size != size:
            return f"{name} is missing or cut"
    return ""


def _flushed_size(path):
    with open(path, "rb") as file:
        os.fsync(file.fileno())
        return os.fstat(file.fileno()).st_size


def _flush_folder(path):
    if os.name == "nt":  # Windows cannot open a folder
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def average_checkpoints(checkpoints, name):
    """Averages one recoverable over checkpoints, as running sums.

    Arguments
    ---------
    checkpoints : list of speechbrain.utils.checkpoints.Checkpoint
        What to average.
    name : str
        Name of the recoverable, a module.

    Returns
    -------
    dict
        State of the module: means of the floating-point tensors, the first
        checkpoint's of everything else.
    """
    total = None
    for checkpoint in checkpoints:
        state = torch.load(checkpoint.paramfiles[name], map_location="cpu")
        if total is None:
            total = {key: _wide(value) for key, value in state.items()}
            kinds = {key: getattr(value, "dtype", None) for key, value in state.items()}
            continue
        for key, value in state.items():
            if _is_float(value):
                total[key] += value.double()
    return {
        key: (value / len(checkpoints)).to(kinds[key]) if _is_float(value) else value
        for key, value in total.items()
    }


def _is_float(value):
    return isinstance(value, torch.Tensor) and value.is_floating_point()


def _wide(value):
    return value.double() if _is_float(value) else value


@main_process_only
def remove_checkpoints(folder):
    """Removes a run's checkpoints, for ``--restart``."""
    shutil.rmtree(Path(folder), ignore_errors=True)
