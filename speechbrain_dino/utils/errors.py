"""Errors of the user: one line each."""

import logging
import sys
from contextlib import contextmanager
from dataclasses import fields

from speechbrain.utils.run_opts import RunOptions

from speechbrain_dino.utils.storage import storage_message

logger = logging.getLogger(__name__)


@contextmanager
def plain_errors(*kinds):
    """Ends the program with an error's message alone; the traceback goes to the log.

    For errors that the user repairs, not the programmer: bad data, collapse.

    Arguments
    ---------
    *kinds : type
        Exceptions to treat so.

    Example
    -------
    >>> with plain_errors(ValueError):
    ...     raise ValueError("a.wav is empty")
    Traceback (most recent call last):
    SystemExit: 1
    """
    try:
        yield
    except kinds as error:
        logger.debug("Stopped by this error:", exc_info=error)
        error = storage_message(error) or error
        if logging.getLogger().handlers:
            logger.error("%s", error)
        else:
            print(error, file=sys.stderr)
        raise SystemExit(1) from None


def check_arguments(argv):
    """Stops at arguments that SpeechBrain would take for something else.

    Arguments
    ---------
    argv : list of str
        The command line.

    Raises
    ------
    SystemExit
        At an abbreviated run option, which would swallow a key of the YAML, at a
        value with "=", which would be cut, and at an option that is given twice.

    Example
    -------
    >>> check_arguments(["dino.yaml", "--batch_size", "64", "--device=cpu"])
    >>> check_arguments(["dino.yaml", "--dev", "cpu"])
    Traceback (most recent call last):
    SystemExit: --dev is short for --device: write it out.
    """
    known = [field.name for field in fields(RunOptions)]
    given = set()
    for argument in argv:
        if not argument.startswith("--"):
            if "=" in argument:
                raise SystemExit(
                    f"{argument!r} contains '=', which SpeechBrain cuts: write it "
                    "into the YAML instead."
                )
            continue
        name, _, value = argument[2:].partition("=")
        if "=" in value:
            raise SystemExit(
                f"{argument!r} contains '=' twice: write it into the YAML."
            )
        if name in OLD_NAMES:
            raise SystemExit(f"--{name} is an old name: give {OLD_NAMES[name]}.")
        if name in given:
            raise SystemExit(f"--{name} is given twice: leave one of them out.")
        given.add(name)
        if name not in known:
            longer = [option for option in known if option.startswith(name)]
            if longer:
                raise SystemExit(f"--{name} is short for --{longer[0]}: write it out.")


# They would change the precision behind the back of what is stored of it.
OLD_NAMES = {
    "auto_mix_prec": "--precision fp16",
    "bfloat16_mix_prec": "--precision bf16",
}
