"""Schedules: pure functions of the fractional epoch t, computed at each step.

``t`` is (finished optimizer steps) / (optimizer steps an epoch). A YAML file names a
schedule with its numbers, the Brain calls it with ``t``::

    lr_schedule: !name:speechbrain_dino.training.schedules.warmup_cosine
        peak: 0.0025
        final: 1.0e-6
        warmup: 10
        total: 70
"""

import math


def warmup_cosine(t, peak, final, warmup, total):
    """From 0 in a straight line to ``peak``, then half a cosine to ``final``.

    Arguments
    ---------
    t : float
        Fractional epoch; beyond ``total`` the value stays ``final``.
    peak : float
        Value at the end of the warm-up.
    final : float
        Value at the end.
    warmup : float
        Epochs of warm-up, 0 for none.
    total : float
        Epochs in all.

    Returns
    -------
    float

    Example
    -------
    >>> [warmup_cosine(t, 1.0, 0.0, warmup=2, total=6) for t in (0, 1, 2, 4, 6, 9)]
    [0.0, 0.5, 1.0, 0.5, 0.0, 0.0]
    """
    if not 0 <= warmup <= total:
        raise ValueError(
            f"warmup is {warmup} of total {total} epochs; expected 0..total"
        )
    if t < warmup:
        return peak * t / warmup
    return cosine(t - warmup, peak, final, total - warmup)


def cosine(t, start, end, total):
    """Half a cosine from ``start`` to ``end``.

    Arguments
    ---------
    t : float
        Fractional epoch; beyond ``total`` the value stays ``end``.
    start : float
        Value at 0.
    end : float
        Value at ``total``.
    total : float
        Epochs in all.

    Returns
    -------
    float

    Example
    -------
    >>> [round(cosine(t, 0.996, 1.0, total=70), 4) for t in (0, 35, 70)]
    [0.996, 0.998, 1.0]
    """
    if t >= total:
        return end
    return end + 0.5 * (start - end) * (1 + math.cos(math.pi * t / total))


def linear_ramp(t, start, end, ramp):
    """A straight line from ``start`` to ``end``, then ``end``.

    Arguments
    ---------
    t : float
        Fractional epoch.
    start : float
        Value at 0.
    end : float
        Value from ``ramp`` on.
    ramp : float
        Epochs from ``start`` to ``end``, 0 for ``end`` at once.

    Returns
    -------
    float

    Example
    -------
    >>> [round(linear_ramp(t, 0.04, 0.07, ramp=30), 3) for t in (0, 10, 30, 50)]
    [0.04, 0.05, 0.07, 0.07]
    """
    if t >= ramp:
        return end
    return start + (end - start) * t / ramp


def constant(t, value):
    """``value``, whatever ``t`` is: the schedule of what does not change.

    Arguments
    ---------
    t : float
        Fractional epoch.
    value : float
        The value.

    Returns
    -------
    float

    Example
    -------
    >>> constant(3.5, value=0.04)
    0.04
    """
    return value


def in_turn(t, lengths, schedules):
    """Several schedules, one after the other.

    Arguments
    ---------
    t : float
        Fractional epoch.
    lengths : sequence of float
        Epochs of each; the last goes on. 0 leaves one out.
    schedules : sequence of callable or float
        Each is called with the epochs since its own start; numbers are constants.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If the numbers of lengths and schedules differ, or all lengths are 0.

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
