"""What is noted of a file, for as long as the file does not change."""

import contextlib
import json
import os


class Ledger:
    """A file of notes on other files, each good for one size and time of change.

    Notes are appended as they come, so that killed work is not done again.

    Example
    -------
    >>> folder = getfixture("tmp_path")
    >>> _ = (folder / "a.wav").write_text("old")
    >>> with Ledger(folder / "notes.jsonl") as ledger:
    ...     ledger.put(str(folder / "a.wav"), [16000])
    >>> Ledger(folder / "notes.jsonl").get(str(folder / "a.wav"))
    [16000]
    """

    def __init__(self, path):
        self.path, self._file, self._notes = str(path), None, {}
        if os.path.exists(self.path):
            with open(self.path, encoding="utf-8", newline="\n") as file:
                for line in file:
                    # A process killed while writing leaves half a line.
                    with contextlib.suppress(ValueError, TypeError, RecursionError):
                        name, size, changed, note = json.loads(line)
                        self._notes[name] = (size, changed, note)

    def __enter__(self):
        os.makedirs(os.path.dirname(os.path.abspath(self.path)), exist_ok=True)
        self._file = open(self.path, "a", encoding="utf-8")
        if self._file.tell():
            self._file.write("\n")
        return self

    def __exit__(self, *_):
        self._file.close()

    def get(self, name):
        """The last note on a file, None if there is none or the file has changed."""
        entry = self._notes.get(name)
        if entry is None or entry[:2] != _state(name):
            return None
        return entry[2]

    def put(self, name, note):
        """Notes something that JSON holds on a file as it is now."""
        size, changed = _state(name)
        self._notes[name] = (size, changed, note)
        print(json.dumps([name, size, changed, note]), file=self._file)


def _state(name):
    try:
        stat = os.stat(name)
    except (OSError, ValueError):  # ValueError: a NUL in the name
        return (-1, -1)
    return (stat.st_size, stat.st_mtime_ns)
