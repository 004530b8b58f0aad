"""Changes of speed that make new speakers: a class for each speed."""

import torch
from torchaudio.functional import resample


class SpeedClasses:
    """Plays each crop at a speed drawn for it; the speed decides the class.

    A voice at another speed has another pitch and other formants: it counts as
    another speaker (Yamamoto et al., 2019), class ``label + C * number of the speed``.
    The crops read are longer than those used, by the highest speed.

    Arguments
    ---------
    speeds : sequence of float
        The first should be 1, the speed of the labels as they are.
    grid : int
        Speeds are rounded to multiples of 1 / grid, which keeps resampling cheap.

    Example
    -------
    >>> speeds = SpeedClasses([1.0, 0.9, 1.1])
    >>> waves, draws = torch.randn(2, 1100), torch.tensor([0.1, 0.99])
    >>> played, which = speeds(waves, draws)
    >>> played.shape, which
    (torch.Size([2, 1000]), tensor([0, 2]))
    """

    def __init__(self, speeds=(1.0, 0.9, 1.1), grid=20):
        self.steps = [round(speed * grid) for speed in speeds]
        self.grid = grid
        if not self.steps or min(self.steps) < 1 or len(set(self.steps)) < len(speeds):
            raise ValueError(
                f"speeds {list(speeds)} were given; positive ones that differ by "
                f"{1 / grid} or more are needed"
            )

    def __len__(self):
        return len(self.steps)

    @property
    def longest(self):
        """How many times longer a crop has to be read than it is used."""
        return max(max(self.steps), self.grid) / self.grid

    def __call__(self, waves, draws):
        """Plays a batch.

        Arguments
        ---------
        waves : torch.Tensor
            Crops (batch, time), ``longest`` times as long as wanted.
        draws : torch.Tensor
            Uniform numbers (batch,) on the CPU, which choose the speeds.

        Returns
        -------
        played : torch.Tensor
            (batch, time / longest).
        which : torch.Tensor
            Number of each crop's speed, int64 (batch,), on the CPU.
        """
        wanted = round(waves.shape[1] / self.longest)
        which = (draws * len(self)).long().clamp(max=len(self) - 1)
        played = waves.new_empty(len(waves), wanted)
        for number, step in enumerate(self.steps):
            rows = torch.nonzero(which == number).flatten()
            if not len(rows):
                continue
            rows = rows.to(waves.device)
            part = waves[rows, : -(-wanted * step // self.grid)]
            if step != self.grid:
                part = resample(part, step, self.grid)
            played[rows] = part[:, :wanted]
        return played, which
