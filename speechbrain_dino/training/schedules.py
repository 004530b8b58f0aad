"""Schedules: pure functions of t = (optimizer steps) / (optimizer steps per epoch).

A YAML file names one with its numbers: ``lr_schedule:
!name:speechbrain_dino.training.schedules.linear_ramp {start: 1.0, end: 0.1, ramp: 9}``.
"""

import math
from functools import partial

from speechbrain_dino.losses.objective import owner_of


def warmup_cosine(t, peak, final, warmup, total):
    """From 0 in a straight line to ``peak``, then half a cosine to ``final``.

    The peak is reached after ``warmup`` epochs (0: none), the end after ``total``.

    Example
    -------
    >>> [warmup_cosine(t, 1.0, 0.0, warmup=2, total=6) for t in (0, 1, 2, 4, 6, 9)]
    [0.0, 0.5, 1.0, 0.5, 0.0, 0.0]
    """
    if not 0 <= warmup <= total:
        raise ValueError(
            f"warmup is {warmup} of total {total} epochs; expected 0..total: give "
            "fewer epochs of warm-up, or more in total"
        )
    if t < warmup:
        return peak * t / warmup
    return cosine(t - warmup, peak, final, total - warmup)


def cosine(t, start, end, total):
    """Half a cosine from ``start`` at 0 to ``end`` at ``total`` epochs and after.

    Example
    -------
    >>> [round(cosine(t, 0.996, 1.0, total=70), 4) for t in (0, 35, 70)]
    [0.996, 0.998, 1.0]
    """
    if t >= total:
        return end
    return end + 0.5 * (start - end) * (1 + math.cos(math.pi * t / total))


def linear_ramp(t, start, end, ramp):
    """A straight line from ``start`` to ``end`` in ``ramp`` epochs, then ``end``.

    Example
    -------
    >>> [round(linear_ramp(t, 0.04, 0.07, ramp=30), 3) for t in (0, 10, 30, 50)]
    [0.04, 0.05, 0.07, 0.07]
    """
    if t >= ramp:
        return end
    return start + (end - start) * t / ramp


def warmup_exponential(t, peak, final, warmup, total):
    """An exponential from ``peak`` at 0 to ``final`` at ``total`` epochs and after.

    In the first ``warmup`` epochs times t / warmup, so that ``peak`` itself is never
    reached (wespeaker's "ExponentialDecrease").

    Example
    -------
    >>> [warmup_exponential(t, 1.0, 0.0625, warmup=2, total=4) for t in (0, 1, 2, 4, 9)]
    [0.0, 0.25, 0.25, 0.0625, 0.0625]
    """
    if t >= total:
        return final
    value = peak * (final / peak) ** (t / total)
    return value * t / warmup if t < warmup else value


def steps(t, start, factor, every):
    """``start``, times ``factor`` after each ``every`` epochs (PyTorch's StepLR).

    Example
    -------
    >>> [round(steps(t, 0.2, 0.95, every=5), 4) for t in (0, 4.9, 5, 10)]
    [0.2, 0.2, 0.19, 0.1805]
    """
    return start * factor ** (t // every)


def by_epoch(t, schedule):
    """The value that another schedule has at the start of the epoch, all through it.

    Example
    -------
    >>> from functools import partial
    >>> ramp = partial(linear_ramp, start=0.0, end=1.0, ramp=4)
    >>> [by_epoch(t, ramp) for t in (0, 0.9, 1, 3.5, 4)]
    [0.0, 0.0, 0.25, 0.75, 1.0]
    """
    return schedule(math.floor(t))


def warmup_halving(t, peak, final, warmup, hold, half_life):
    """From 0 in a straight line to ``peak``, held, then halved, never below ``final``.

    The peak is reached after ``warmup`` epochs and held until ``hold``; then the value
    is halved every ``half_life`` epochs, steadily.

    Example
    -------
    >>> [warmup_halving(t, 8.0, 1.5, 2, 4, half_life=3) for t in (1, 2, 4, 7, 10, 99)]
    [4.0, 8.0, 8.0, 4.0, 2.0, 1.5]
    """
    if t < warmup:
        return peak * t / warmup
    return max(peak * 0.5 ** (max(t - hold, 0.0) / half_life), final)


def constant(t, value):
    """``value``, whatever ``t`` is: the schedule of what does not change."""
    return value


def in_turn(t, lengths, schedules):
    """Several schedules, one after the other.

    Arguments
    ---------
    t : float
        Epochs so far.
    lengths : sequence of float
        Epochs of each; the last one continues. 0 leaves one out, but not all.
    schedules : sequence of callable or float
        Each is called with the epochs since its own start; numbers are constants.

    Example
    -------
    >>> from functools import partial
    >>> ramp = partial(linear_ramp, start=1.0, end=0.0, ramp=4)
    >>> [in_turn(t, [2, 4], [0.5, ramp]) for t in (0, 1.5, 2, 3, 9)]
    [0.5, 0.5, 1.0, 0.75, 0.0]
    """
    if len(lengths) != len(schedules) or not any(length > 0 for length in lengths):
        raise ValueError(
            f"{len(schedules)} schedules and lengths {list(lengths)} were given; each "
            "schedule needs a length, one of them above 0"
        )
    used = [pair for pair in zip(lengths, schedules) if pair[0] > 0]
    while len(used) > 1 and t >= used[0][0]:
        t -= used.pop(0)[0]
    schedule = used[0][1]
    return schedule(t) if callable(schedule) else schedule


class Schedules:
    """The schedules of a recipe, applied before each step.

    Arguments
    ---------
    hparams : dict
        The YAML's objects; ``<name>_schedule`` is a function of the fractional epoch,
        or a number.
        ``lr`` and ``weight_decay`` are the optimizer's, ``momentum`` the teacher's, any
        other name is that of a number of the loss.
    loss : torch.nn.Module
        The loss.

    Raises
    ------
    ValueError
        If the loss has no such number, or several of its parts have.
    """

    def __init__(self, hparams, loss):
        self.functions, self.owners = {}, {}
        for key, value in hparams.items():
            name = key.removesuffix("_schedule")
            if name == key or value is None:
                continue
            if not callable(value):
                value = partial(constant, value=value)
            self.functions[name] = value
            if name in ("lr", "weight_decay", "momentum"):
                continue
            self.owners[name] = owner_of(loss, name)
            if self.owners[name] is None:
                raise ValueError(
                    f"{key} is for a number {name!r} of the loss, which "
                    f"{type(loss).__name__} does not have: set it to null"
                )

    def at(self, name, progress, otherwise):
        """Value of a schedule at some progress, if the YAML names one."""
        schedule = self.functions.get(name)
        return otherwise if schedule is None else schedule(progress)

    def apply(self, progress, optimizer):
        """Sets the numbers of optimizer and loss, once per step; returns all values."""
        values = {name: value(progress) for name, value in self.functions.items()}
        for name, owner in self.owners.items():
            setattr(owner, name, values[name])
        for group in optimizer.param_groups:
            if "lr" in values:
                group["lr"] = values["lr"] * group.get("lr_factor", 1.0)
        if "weight_decay" in values:  # the other groups have none
            optimizer.param_groups[0]["weight_decay"] = values["weight_decay"]
        return values
