"""Changes of speed: new speakers, a class for each speed, or augmentation alone."""

import torch
from torchaudio.functional import resample


class SpeedClasses:
    """Plays each crop at a speed drawn for it; the speed may decide the class.

    A voice at another speed has another pitch and other formants: it counts as
    another speaker (Yamamoto et al., 2019), class ``label + C * number of the speed``.
    What does not depend on the voice, such as an emotion, keeps its class.

    Arguments
    ---------
    speeds, grid : sequence of float, int
        The first should be 1, the speed of the labels as they are; rounded to multiples
        of 1 / grid, which keeps resampling cheap.
    new_classes : bool
        Whether the speed decides the class.

    Example
    -------
    >>> played, which = SpeedClasses()(torch.randn(2, 1100), torch.tensor([0.1, 0.99]))
    >>> played.shape, which
    (torch.Size([2, 1000]), tensor([0, 2]))
    """

    def __init__(self, speeds=(1.0, 0.9, 1.1), grid=20, new_classes=True):
        self.new_classes = new_classes
        self.steps = [round(speed * grid) for speed in speeds]
        self.grid = grid
        if not self.steps or min(self.steps) < 1 or len(set(self.steps)) < len(speeds):
            raise ValueError(
                f"speeds {list(speeds)} were given; positive ones that differ by "
                f"{1 / grid} or more are needed"
            )

    @property
    def factor(self):
        """How many times more classes there are than labels."""
        return len(self.steps) if self.new_classes else 1

    def labels(self, labels, which, classes):
        """Classes of crops at speeds ``which``, int64 (batch,), of ``classes``."""
        if not self.new_classes:
            return labels
        return labels + classes // self.factor * which

    @property
    def longest(self):
        """How many times longer a crop has to be read than it is used."""
        return max(max(self.steps), self.grid) / self.grid

    def __call__(self, waves, draws):
        """Crops (batch, time / longest) and speed numbers, int64 (batch,), on the CPU.

        ``draws`` (batch,), on the CPU, choose the speeds of ``waves`` (batch, time).
        """
        wanted = round(waves.shape[1] / self.longest)
        which = (draws * len(self.steps)).long().clamp(max=len(self.steps) - 1)
        played = waves.new_empty(len(waves), wanted)
        for number, step in enumerate(self.steps):
            rows = torch.nonzero(which == number).flatten()
            if not len(rows):
                continue
            rows = rows.to(waves.device, non_blocking=True)
            part = waves[rows, : -(-wanted * step // self.grid)]
            if step != self.grid:
                # Samples in bfloat16 would be noise at 48 dB.
                with torch.autocast(part.device.type, enabled=False):
                    part = resample(part, step, self.grid)
            played[rows] = part[:, :wanted]
        return played, which
