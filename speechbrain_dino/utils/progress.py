"""Progress of long work: a bar on a terminal, a plain line elsewhere."""

import sys
import time

from tqdm import tqdm


def progress(iterable, total=None, desc="", unit="it", interval=30.0):
    """Passes items through and shows how far the work has come.

    Arguments
    ---------
    iterable : iterable
        The items.
    total : int, optional
        Number of items, ``len(iterable)`` where that is defined.
    desc : str
        What is being done.
    unit : str
        What one item is.
    interval : float
        Seconds between two plain lines when stderr is not a terminal.

    Yields
    ------
    item
        The items of ``iterable``, unchanged.

    Example
    -------
    >>> list(progress(range(3), desc="counting"))
    [0, 1, 2]
    """
    if total is None and hasattr(iterable, "__len__"):
        total = len(iterable)
    if sys.stderr.isatty():
        yield from tqdm(iterable, total=total, desc=desc, unit=unit, dynamic_ncols=True)
        return
    start = last = time.monotonic()
    for done, item in enumerate(iterable, 1):
        yield item
        now = time.monotonic()
        if now - last >= interval:
            last = now
            print(_line(desc, done, total, now - start, unit), file=sys.stderr)


def _line(desc, done, total, seconds, unit):
    rate = done / max(seconds, 1e-9)
    line = f"{desc}: {done}{unit}, {rate:.1f} {unit}/s"
    if total:
        left = (total - done) / max(rate, 1e-9)
        line = f"{desc}: {done}/{total} {unit}, {rate:.1f} {unit}/s, {left:.0f} s left"
    return line
