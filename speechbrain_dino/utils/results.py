"""results.json: all metrics of a run beside what is needed to repeat it."""

import math
import os
from pathlib import Path

import numpy as np
import torch

from speechbrain_dino.utils.checked_json import read_checked, write_checked


def update_results(path, metrics):
    """Merges metrics into a results file, atomically; returns the file's whole content.

    Dictionaries merge key by key, anything else replaces what was there. Numbers of
    NumPy and PyTorch become plain ones, paths become text, and NaN and infinity,
    which JSON does not have, become null. Raises DamagedFileError, a ValueError, if the
    file is no JSON object, or not what was written (see ``checked_json``).

    Example
    -------
    >>> path = getfixture("tmp_path") / "results.json"
    >>> _ = update_results(path, {"verification": {"O": {"eer": 0.02}}})
    >>> update_results(path, {"verification": {"E": {"eer": np.float32(0.5)}}})
    {'verification': {'O': {'eer': 0.02}, 'E': {'eer': 0.5}}}
    """
    path, results = Path(path), {}
    if path.exists():
        results = read_checked(path)
    results = _merged(results, _plain(metrics))
    write_checked(path, results)
    return results


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
