"""Progress of long work: a bar on a terminal, a plain line elsewhere."""

import sys
import time

from tqdm import tqdm


def progress(iterable, total=None, desc="", unit="it", interval=30.0):
    """Passes items through and shows how far the work has come.

    ``total`` is ``len(iterable)`` where that is defined, ``interval`` the seconds
    between two plain lines when stderr is not a terminal.

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
