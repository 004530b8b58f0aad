"""What the report draws: metrics of a run, one JSON object per line."""

import json
import logging
import math
import zlib
from functools import cached_property
from pathlib import Path

from speechbrain_dino.utils.files import replacing

logger = logging.getLogger(__name__)


class Curves:
    """Appends metrics to ``curves.jsonl`` in a run's folder.

    ``curves.crc`` beside it holds the CRC-32 of every line, by which lines are told
    that are not what was written; where it is missing, no line is doubted. With
    ``tensorboard`` also to ``<folder>/tensorboard``, where it is installed.

    Example
    -------
    >>> curves = Curves(getfixture("tmp_path"))
    >>> curves.add("step", step=1, epoch=0.1, loss=8.3)
    >>> curves.add("step", step=2, epoch=0.2, loss=8.2)
    >>> curves.forget_after(step=1)
    >>> [row["loss"] for row in curves.read()]
    [8.3]
    """

    def __init__(self, folder, tensorboard=False):
        self.path = Path(folder) / "curves.jsonl"
        self.sums = Path(folder) / "curves.crc"
        for path in (self.path, self.sums):
            if path.is_dir():
                raise IsADirectoryError(
                    f"{path} is a folder, and a file of this name is to be written: "
                    "move the folder away"
                )
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._tensorboard = tensorboard

    @cached_property
    def writer(self):
        """TensorBoard's, None without it; it makes a file at once."""
        return _tensorboard(self.path.parent) if self._tensorboard else None

    def add(self, kind, step, **metrics):
        """Appends a line of kind "step" or "epoch".

        ``step`` counts batches of the whole run. NaN and infinity become null, which
        JSON has.
        """
        row = {"kind": kind, "step": step}
        row |= {key: _finite(value) for key, value in metrics.items()}
        line = json.dumps(row)
        # Sums first: of a run killed in between all lines can be told.
        if self.sums.exists() or not self.path.exists():
            _append(self.sums, _sum(line))
        _append(self.path, line)
        if self.writer is not None:
            for key, value in metrics.items():
                self.writer.add_scalar(f"{kind}/{key}", value, step)
            self.writer.flush()

    def read(self):
        """All lines, as dicts; what was not written so is left out, with a warning.

        Such as a last line cut by a kill, or a damaged one.
        """
        if not self.path.exists():
            return []
        sums = None
        if self.sums.exists():
            sums = self.sums.read_text("utf-8", "replace").split()
        whole, rows = None if sums is None else set(sums), []
        lines = self.path.read_text("utf-8", "replace").split("\n")
        for number, line in enumerate(lines, 1):
            problem = line and _problem(line, whole)
            if problem:
                where = f"{self.path}, line {number}"
                logger.warning("%s: %s is left out: %.80s", where, problem, line)
            elif line:
                rows.append(json.loads(line))
        missing = len(sums or ()) - sum(map(bool, lines))
        if missing > 0:
            logger.warning("%s: %d lines at its end are missing", self.path, missing)
        return rows

    def forget_after(self, step, epoch=None):
        """Drops what a resumed run, at batch ``step``, will write again.

        Lines of epochs after ``epoch`` are dropped as well, where it is given.
        """
        if not self.path.exists():
            return
        kept = [row for row in self.read() if row.get("step", 0) <= step]
        if epoch is not None:
            kept = [
                row for row in kept if row["kind"] == "step" or row["epoch"] <= epoch
            ]
        lines = [json.dumps(row) for row in kept]
        # In this order: a run killed in between has more sums than lines.
        for path, texts in ((self.path, lines), (self.sums, map(_sum, lines))):
            with replacing(path) as draft:
                draft.write_text("".join(f"{text}\n" for text in texts), "utf-8")


def _problem(line, sums):
    """What is wrong with a line, "" if nothing is."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return "half a line"
    if sums is not None and _sum(line) not in sums:
        return "a damaged line"
    if not isinstance(row, dict) or row.get("kind") not in ("step", "epoch"):
        return "a line of another kind"
    odd = [key for key in ("step", "epoch") if not _is_number(row.get(key, 0))]
    odd += [] if row["kind"] in row else [row["kind"]]
    kinds = {key: type(value) for key, value in row.items() if key != "kind"}
    odd += [key for key, kind in kinds.items() if kind in (str, list, dict)]
    return f"a line with an odd {odd[0]}" if odd else ""


def _is_number(value):
    return type(value) in (int, float) and math.isfinite(value)


def _sum(line):
    return f"{zlib.crc32(line.encode()):08x}"


def _append(path, line):
    with open(path, "a", encoding="utf-8") as file:
        file.write(line + "\n")


def _finite(value):
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _tensorboard(folder):
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        logger.info("TensorBoard is not installed: curves go to curves.jsonl alone.")
        return None
    return SummaryWriter(Path(folder) / "tensorboard")
