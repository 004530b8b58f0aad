"""Processes that tests start: how, and which of them still run."""

import contextlib
import os
import sys

import psutil

# Processes of this machine alone, whatever it is called and whoever knows that name.
TORCHRUN = [sys.executable, "-m", "torch.distributed.run"]
TORCHRUN += ["--standalone", "--local_addr", "127.0.0.1"]


def members_of(group):
    """Process ids of a group that still run."""
    members = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, ProcessLookupError, PermissionError):
            zombie = process.status() == psutil.STATUS_ZOMBIE
            if os.getpgid(process.pid) == group and not zombie:
                members.append(process.pid)
    return members


def running_with(word):
    """Process ids of those that have a word in their command lines."""
    running = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if any(word in part for part in process.cmdline()):
                running.append(process.pid)
    return running
