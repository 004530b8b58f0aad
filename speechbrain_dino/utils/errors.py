"""Errors of the user: one line each."""

import logging
import os
import sys
from contextlib import contextmanager

from speechbrain_dino.utils.refusals import refuse
from speechbrain_dino.utils.storage import storage_message

logger = logging.getLogger(__name__)


@contextmanager
def plain_errors(*kinds):
    """Ends the program with an error's message alone; the traceback goes to the log.

    For errors that the user repairs, not the programmer: bad data, collapse. A command
    that was not accepted yet (see ``refusals``) leaves its folder as it was.

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
        refuse()
        raise SystemExit(1) from None


def said_once(message):
    """An exception that ends the program; one of several processes says why.

    Arguments
    ---------
    message : str
        What is wrong in all of them alike, and what to do.

    Returns
    -------
    SystemExit
        To be raised.
    """
    return SystemExit(message if os.environ.get("RANK", "0") == "0" else 1)
