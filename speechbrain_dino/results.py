"""results.json: every figure of a run beside what is needed to repeat it."""

import json
import math
import os
import platform
import shlex
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from speechbrain_dino.files import replacing


def update_results(path, figures):
    """Merges figures into a results file; a reader sees the old file or the new one.

    Dictionaries merge key by key, anything else replaces what was there. Numbers of
    NumPy and PyTorch become plain ones, paths become text, and NaN and infinity,
    which JSON does not know, become null.

    Arguments
    ---------
    path : str or path
        The file; made with its folder if missing.
    figures : dict
        What to add.

    Returns
    -------
    dict
        The whole content of the file.

    Raises
    ------
    ValueError
        If the file exists and is not JSON.

    Example
    -------
    >>> path = getfixture("tmp_path") / "results.json"
    >>> _ = update_results(path, {"verification": {"O": {"eer": 0.02}}})
    >>> update_results(path, {"verification": {"E": {"eer": np.float32(0.5)}}})
    {'verification': {'O': {'eer': 0.02}, 'E': {'eer': 0.5}}}
    """
    path, results = Path(path), {}
    if path.exists():
        try:
            results = json.loads(path.read_text("utf-8"))
        except ValueError as error:
            raise ValueError(
                f"{path} is not JSON ({error}): move it away and start again"
            ) from error
    results = _merged(results, _plain(figures))
    with replacing(path) as draft:
        draft.write_text(json.dumps(results, indent=2, allow_nan=False) + "\n", "utf-8")
    return results


def provenance(seed=None):
    """What is needed to repeat a run.

    Arguments
    ---------
    seed : int, optional
        The run's seed.

    Returns
    -------
    dict
        ``seed``, ``git`` (commit and whether files differ from it, or None where the
        package does not run from its checkout), ``hardware``, ``versions``,
        ``command``.

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
    """State of the checkout that holds this package.

    Arguments
    ---------
    folder : str or path
        A folder of the checkout.

    Returns
    -------
    dict or None
        ``commit`` and ``dirty`` (whether tracked files differ from it); None where
        the folder is not part of a checkout, as in an installed package.
    """

    def git(*arguments):
        command = ["git", "-C", str(folder), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        # An environment may lie inside some other checkout, which says nothing.
        if not git("ls-files"):
            return None
        changes = git("status", "--porcelain", "--untracked-files=no")
        return {"commit": git("rev-parse", "HEAD"), "dirty": bool(changes)}
    except (OSError, subprocess.CalledProcessError):
        return None


def hardware():
    """The machine this process runs on.

    Returns
    -------
    dict
        ``cpu`` (model), ``cores`` (that this process may use), ``memory_gb``,
        ``gpus`` (names) and ``gpu_memory_gb``.
    """
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


def _merged(old, new):
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return new
    both = {key: _merged(old[key], new[key]) for key in old.keys() & new.keys()}
    return {**old, **new, **both}


def _plain(value):
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, (np.generic, np.ndarray, torch.Tensor)):
        return _plain(value.tolist())
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
