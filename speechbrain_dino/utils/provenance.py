"""Where results come from: seed, code, machine."""

import os
import platform
import shlex
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import torch


def provenance(seed=None):
    """What is needed to repeat a run.

    Example
    -------
    >>> sorted(provenance(seed=1))
    ['command', 'git', 'hardware', 'seed', 'versions']
    """
    return {
        "seed": seed,
        "git": git_state(),
        "hardware": hardware(),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "speechbrain": version("speechbrain"),
        },
        "command": shlex.join([Path(sys.executable).name, *sys.argv]),
    }


def git_state(folder=Path(__file__).parent):
    """``commit`` of a checkout and ``dirty``, whether tracked files differ from it.

    None where the folder is not part of a checkout, as in an installed package.
    """

    def git(*arguments):
        command = ["git", "-C", str(folder), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        # An environment may lie inside some other checkout, which tells nothing.
        if not git("ls-files"):
            return None
        changes = git("status", "--porcelain", "--untracked-files=no")
        return {"commit": git("rev-parse", "HEAD"), "dirty": bool(changes)}
    except (OSError, subprocess.CalledProcessError):
        return None


def hardware():
    """The CPU, its cores that this process may use, memory and GPUs."""
    gpus = [
        torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())
    ]
    return {
        "cpu": _cpu_model(),
        "cores": _cores(),
        "memory_gb": _memory_gb(),
        "gpus": [gpu.name for gpu in gpus],
        "gpu_memory_gb": [round(gpu.total_memory / 2**30, 1) for gpu in gpus],
    }


def _cores():
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def _memory_gb():
    try:
        pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError):
        return None  # Windows has no sysconf
    return round(pages / 2**30, 1)


def _cpu_model():
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    models = [line.split(":", 1)[1].strip() for line in lines if "model name" in line]
    return models[0] if models else platform.processor() or platform.machine()
