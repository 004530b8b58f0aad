"""Throughput, waiting time and time left of a training run."""

import time


class Clock:
    """Throughput, and the share of time in which the loader was waited for.

    Arguments
    ---------
    line_seconds : float
        Seconds between two lines of progress in the log.
    """

    def __init__(self, line_seconds=30.0):
        self.line_seconds = line_seconds
        self.last_line = -line_seconds
        self.start()

    def start(self):
        """Begins an epoch."""
        self.begun = self.marked = self.done = time.perf_counter()
        self.waited = 0.0
        self.batches = self.marked_batches = 0

    def batch_came(self):
        """The loader gave a batch."""
        self.waited += time.perf_counter() - self.done

    def batch_done(self):
        """The batch was trained on."""
        self.batches += 1
        self.done = time.perf_counter()

    def wait_share(self):
        """Share of this epoch's time in which the loader was waited for, 0..1."""
        return self.waited / max(time.perf_counter() - self.begun, 1e-9)

    def rate(self):
        """Batches a second since the last call."""
        now = time.perf_counter()
        # The batch under way is as good as done when the figures are written.
        batches = self.batches + 1 - self.marked_batches
        seconds = now - self.marked
        self.marked, self.marked_batches = now, self.batches + 1
        return batches / max(seconds, 1e-9)

    def line_due(self):
        """Whether it is time for a line of progress; True starts the next interval."""
        now = time.perf_counter()
        due = now - self.last_line >= self.line_seconds
        if due:
            self.last_line = now
        return due


def hours(seconds):
    """Writes a time as h:mm:ss.

    Arguments
    ---------
    seconds : float
        The time.

    Returns
    -------
    str

    Example
    -------
    >>> hours(3723.4)
    '1:02:03'
    """
    minutes, seconds = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}"
