"""What the report draws: metrics of a run, one JSON object per line."""

import json
import logging
import math
from pathlib import Path

from speechbrain_dino.utils.files import replacing

logger = logging.getLogger(__name__)


class Curves:
    """Appends metrics to ``curves.jsonl`` in a run's folder.

    With ``tensorboard`` also to ``<folder>/tensorboard``, where it is installed.

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
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.writer = _tensorboard(folder) if tensorboard else None

    def add(self, kind, step, **metrics):
        """Appends a line of kind "step" or "epoch".

        ``step`` counts batches of the whole run. NaN and infinity become null, which
        JSON has.
        """
        row = {"kind": kind, "step": step}
        row |= {key: _finite(value) for key, value in metrics.items()}
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        if self.writer is not None:
            for key, value in metrics.items():
                self.writer.add_scalar(f"{kind}/{key}", value, step)
            self.writer.flush()

    def read(self):
        """All lines, as dicts; a last line cut by a kill is left out."""
        if not self.path.exists():
            return []
        rows = []
        for line in self.path.read_text(encoding="utf-8").splitlines():
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError:
                logger.warning("%s: half a line is left out: %s", self.path, line)
        return rows

    def forget_after(self, step, epoch=None):
        """Drops what a resumed run, at batch ``step``, will write again.

        Lines of epochs after ``epoch`` are dropped as well, where it is given.
        """
        if not self.path.exists():
            return
        kept = [row for row in self.read() if row["step"] <= step]
        if epoch is not None:
            kept = [
                row for row in kept if row["kind"] == "step" or row["epoch"] <= epoch
            ]
        with replacing(self.path) as draft:
            text = "".join(json.dumps(row) + "\n" for row in kept)
            draft.write_text(text, encoding="utf-8")


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
