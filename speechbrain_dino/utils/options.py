"""Command lines of the programs that take no recipe: one line at a wrong word."""

import argparse
import math
import os
import sys


class Options(argparse.ArgumentParser):
    """argparse's parser, but that names are written out, once, and errors are a line.

    Of several processes the first one says it. The text of ``--help`` is printed as it
    is written.

    Example
    -------
    >>> parser = Options(prog="embed.py")
    >>> _ = parser.add_argument("--workers", type=number(int, low=1))
    >>> parser.parse_args(["--workers", "2"])
    Namespace(workers=2)
    >>> parser.parse_args(["--workers", "0"])
    Traceback (most recent call last):
    SystemExit: 2
    """

    def __init__(self, **settings):
        settings.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(**settings, allow_abbrev=False)

    def parse_known_args(self, args=None, namespace=None):
        """As argparse's; ends the program at an empty word or a name given twice."""
        words = sys.argv[1:] if args is None else list(args)
        names = [word.partition("=")[0] for word in words if word.startswith("--")]
        for name in names:
            if names.count(name) > 1:
                self.error(f"{name} is given twice: leave one of them out")
        for before, word in zip(["a word", *words], words):
            if not word.strip():
                self.error(f"{before} {word!r} is empty: write a value")
            if word.startswith("--") and word.endswith("="):
                self.error(f"{word} is empty: write a value")
        return super().parse_known_args(words, namespace)

    def error(self, message):
        """Ends the program with status 2."""
        text = f"{self.prog}: {message}; --help lists the options\n"
        self.exit(2, text if os.environ.get("RANK", "0") == "0" else None)


def number(kind, low=None, above=None, high=None):
    """A reader of numbers in a range, for ``type=`` of an option.

    Arguments
    ---------
    kind : type
        int or float.
    low, high : int or float, optional
        Least and greatest value.
    above : int or float, optional
        What the value must be greater than.

    Returns
    -------
    callable
        Text to number; raises what argparse reports.

    Example
    -------
    >>> number(float, low=0)("2.5")
    2.5
    >>> number(int, low=1)("0")
    Traceback (most recent call last):
    argparse.ArgumentTypeError: '0' is no integer of at least 1
    """
    limits = {"of at least": low, "above": above, "of at most": high}
    given = [f"{words} {limit}" for words, limit in limits.items() if limit is not None]
    name = {int: "integer", float: "number"}[kind]
    expected = " ".join([name, " and ".join(given)]).strip()

    def read(text):
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        inside = (
            math.isfinite(value)
            and (low is None or value >= low)
            and (above is None or value > above)
            and (high is None or value <= high)
        )
        if not inside:
            raise argparse.ArgumentTypeError(f"{text!r} is no {expected}")
        return value

    return read
