"""Checkpoints that are whole or not there: a run can be killed at any moment."""

import errno
import json
import logging
import math
import os
import shutil

import torch
from speechbrain.utils.checkpoints import Checkpoint, Checkpointer, ckpt_recency
from speechbrain.utils.distributed import ddp_barrier, if_main_process

from speechbrain_dino.utils.checked_json import (
    DamagedFileError,
    file_digest,
    read_json,
)

logger = logging.getLogger(__name__)

CONTENTS = "contents.json"
_DRAFT, _LEAVING = ".saving-", ".removing-"
_AGREEMENT = "neighbor_agreement"
_JUDGED = ("eer/", "uar/", _AGREEMENT)


class WholeCheckpointer(Checkpointer):
    """SpeechBrain's Checkpointer, safe against being killed while it saves or deletes.

    A checkpoint is written beside its place and renamed once everything is on the
    disk, with digests of its files; one to delete is renamed before its files are
    removed. Folders that are not whole are passed over with a warning, so that
    recovery takes the newest whole one.

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
        self._passed_over, self._verified = set(), set()

    def _new_checkpoint_dirpath(self):
        final = super()._new_checkpoint_dirpath()
        return final.with_name(_DRAFT + final.name)

    def _custom_checkpoint_dirpath(self, name):
        final = super()._custom_checkpoint_dirpath(name)
        return final.with_name(_DRAFT + final.name)

    def save_checkpoint(self, *args, **kwargs):
        """Saves as SpeechBrain does; the checkpoint appears once it is whole."""
        if if_main_process():
            if not self.checkpoints_dir.is_dir():
                # SpeechBrain would make it again, beside a run whose rest is gone.
                gone = errno.ENOENT
                raise FileNotFoundError(gone, os.strerror(gone), self.checkpoints_dir)
            # Now, not when opened: someone may look at a run that is saving.
            for prefix in (_DRAFT, _LEAVING):
                for left in self.checkpoints_dir.glob(f"{prefix}*"):
                    shutil.rmtree(left)
        saved = super().save_checkpoint(*args, **kwargs)
        ddp_barrier()
        if saved is not None:
            saved = self._put_in_place(saved)
        # No process goes on to list checkpoints before this one is among them.
        ddp_barrier()
        return saved

    def _put_in_place(self, saved):
        final = saved.path.with_name(saved.path.name.removeprefix(_DRAFT))
        files = sorted(saved.path.iterdir())
        written = {
            file.name: [_flushed_size(file), file_digest(file)] for file in files
        }
        contents = saved.path / CONTENTS
        contents.write_text(json.dumps(written), encoding="utf-8")
        _flushed_size(contents)
        _flush_folder(saved.path)
        if final.exists():
            _remove(final)
        os.replace(saved.path, final)
        _flush_folder(final.parent)
        self._verified.add(final)
        files = {name: final / file.name for name, file in saved.paramfiles.items()}
        return Checkpoint(final, saved.meta, files)

    def delete_checkpoints(
        self,
        *,
        num_to_keep=1,
        min_keys=(),
        max_keys=(),
        importance_keys=(ckpt_recency,),
        ckpt_predicate=None,
        verbosity=logging.DEBUG,
    ):
        """Deletes what SpeechBrain would; a checkpoint disappears as a whole."""
        orders = [{"min_key": key} for key in min_keys or ()]
        orders += [{"max_key": key} for key in max_keys or ()]
        orders += [{"importance_key": key} for key in importance_keys]
        leaving, kept = set(), set()
        for order in orders:
            order["ckpt_predicate"] = ckpt_predicate
            leaving.update(self.find_checkpoints(**order))
            best = self.find_checkpoints(max_num_checkpoints=num_to_keep, **order)
            kept.update(best)
        ddp_barrier()  # all processes have listed them
        for checkpoint in leaving - kept if if_main_process() else ():
            _remove(checkpoint.path)
            logger.log(verbosity, "Deleted checkpoint in %s", checkpoint.path)
        ddp_barrier()

    def check(self):
        """Raises DamagedFileError if there are checkpoints and none is whole.

        A run would begin again, and in the end delete what could be repaired.
        """
        if self.find_checkpoint() is None and super()._list_checkpoint_dirs():
            raise DamagedFileError(
                f"{self.checkpoints_dir} holds checkpoints, and none is whole: restore "
                "one, or move the folder away to train from the start"
            )

    def _list_checkpoint_dirs(self):
        return [path for path in super()._list_checkpoint_dirs() if self._whole(path)]

    def _whole(self, path):
        missing = _missing(path, self.recoverables)
        if not missing and path not in self._verified:
            # Once: it is read to the end, and listed after every epoch.
            missing = _damaged(path)
            self._verified |= set() if missing else {path}
        if missing and path not in self._passed_over:
            self._passed_over.add(path)
            logger.warning(
                "%s is not a whole checkpoint (%s), it is passed over.", path, missing
            )
        return not missing


def save_epoch(checkpointer, epoch, metrics, keep):
    """Saves the end of an epoch; keeps the last ``keep`` (>= 1) ones and the best.

    Checkpoints from within an epoch are deleted: this one is newer. EERs, recalls
    (``uar/``) and agreement among ``metrics`` go into the checkpoint's meta data.
    """
    if keep < 1:
        raise ValueError(f"keep_checkpoints is {keep}; at least 1 is needed.")
    judged = {k: float(v) for k, v in metrics.items() if k.startswith(_JUDGED)}
    # NaN would be the best of all, or the worst, by chance.
    judged = {k: v for k, v in judged.items() if math.isfinite(v)}
    checkpointer.save_checkpoint(meta={"epoch": epoch, **judged})
    done = checkpointer.find_checkpoints(
        ckpt_predicate=lambda c: c.meta["end-of-epoch"]
    )
    kept = [*done[:keep], best_checkpoint(done)]
    checkpointer.delete_checkpoints(
        num_to_keep=0, ckpt_predicate=lambda checkpoint: checkpoint not in kept
    )


def best_checkpoint(checkpoints):
    """The checkpoint with the lowest EER on the first trial list by name, or None.

    Where there is no list, that with the highest recall (``uar/``) or, where nothing
    was classified either, the highest agreement of neighbors. Epochs that were not
    validated take no part.
    """
    keys = {key for checkpoint in checkpoints for key in checkpoint.meta}
    candidates = [
        (sign, min((k for k in keys if k.startswith(kind)), default=None))
        for kind, sign in zip(_JUDGED, (-1, 1, 1))
    ]
    sign, key = next((pair for pair in candidates if pair[1]), (1, _AGREEMENT))
    validated = [checkpoint for checkpoint in checkpoints if key in checkpoint.meta]
    return max(validated, key=lambda c: sign * c.meta[key], default=None)


def _remove(path):
    """Removes a checkpoint, which half removed would look like one."""
    leaving = path.with_name(_LEAVING + path.name)
    os.replace(path, leaving)
    shutil.rmtree(leaving)


def _missing(path, recoverables):
    contents = path / CONTENTS
    if not contents.exists():
        absent = [n for n in recoverables if not (path / f"{n}.ckpt").exists()]
        return f"no {CONTENTS}, no {', '.join(absent)}" if absent else ""
    try:
        written = _contents(path)
    except (ValueError, AttributeError, IsADirectoryError):
        return f"{CONTENTS} is cut"
    for name, (size, _) in written.items():
        file = path / name
        if not file.exists() or file.stat().st_size != size:
            return f"{name} is missing or cut, by {CONTENTS}"
    return ""


def _damaged(path):
    """The file of a checkpoint that is not what was written, in words; "" if none."""
    if not (path / CONTENTS).exists():
        return ""
    for name, (_, digest) in _contents(path).items():
        if digest is not None and file_digest(path / name) != digest:
            return f"{name} is not what {CONTENTS} says"
    return ""


def _contents(path):
    """File -> (bytes, digest); of checkpoints of earlier versions no digest."""
    written = read_json(path / CONTENTS)
    pairs = {k: v if isinstance(v, list) else (v, None) for k, v in written.items()}
    return {name: (size, digest) for name, (size, digest) in pairs.items()}


def _flushed_size(path):
    with open(path, "r+b") as file:  # Windows flushes what may be written alone
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
    """Averages the module ``name`` over checkpoints, as running sums.

    Returns its state: means of the floating-point tensors, the first checkpoint's of
    everything else. Without a checkpoint: ValueError.
    """
    if not checkpoints:
        raise ValueError("no checkpoint was given; at least one is needed.")
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
