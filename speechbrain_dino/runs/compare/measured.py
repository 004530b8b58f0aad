"""Runs a script and notes the most memory that it held.

    python -m speechbrain_dino.runs.compare.measured NOTE.json SCRIPT [ARGUMENT ...]

writes ``{"memory_gb": ..., "device": "cuda" or "cpu"}`` when the script ends: the peak
of PyTorch's allocator on the GPU, of the process' resident memory without one.
"""

import runpy
import sys
from pathlib import Path

import torch

from speechbrain_dino.utils.checked_json import read_checked, write_checked


def peak_memory():
    """The most memory that this process held so far.

    Returns
    -------
    dict
        ``memory_gb`` (GiB, None where the system does not tell) and ``device``.

    Example
    -------
    >>> peak_memory()["device"] in ("cpu", "cuda")
    True
    """
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        held, device = torch.cuda.max_memory_allocated() / 2**30, "cuda"
    else:
        held, device = _resident_gb(), "cpu"
    return {"memory_gb": held and round(held, 2), "device": device}


def _resident_gb():
    try:
        import resource
    except ImportError:  # Windows
        return None
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return held / (2**30 if sys.platform == "darwin" else 2**20)


def main(arguments):
    """Command line, see above."""
    note, script, *others = arguments
    note = Path(note)
    sys.argv = [script, *others]
    sys.path[0] = str(Path(script).resolve().parent)
    try:
        runpy.run_path(script, run_name="__main__")
    finally:
        memory = peak_memory()
        if note.is_file():  # of a session before
            before = read_checked(note)
            memory = max(before, memory, key=lambda peak: peak["memory_gb"] or 0)
        write_checked(note, memory)


if __name__ == "__main__":
    main(sys.argv[1:])
