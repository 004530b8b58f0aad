"""Pictures of a run, in one style.

Every function returns a matplotlib figure; nothing here needs a display.
"""

from speechbrain_dino.reports.plots.confusion import confusion_figure
from speechbrain_dino.reports.plots.embedding_map import map_figure
from speechbrain_dino.reports.plots.training import health_figure, training_figure
from speechbrain_dino.reports.plots.verification import (
    det_figure,
    det_points,
    score_figure,
)

__all__ = [
    "confusion_figure",
    "det_figure",
    "det_points",
    "health_figure",
    "map_figure",
    "score_figure",
    "training_figure",
]
