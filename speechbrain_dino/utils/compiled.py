"""What ``torch.compile`` makes is kept for the next run."""

import os
from pathlib import Path

VARIABLE = "TORCHINDUCTOR_CACHE_DIR"


def keep_compiled():
    """The folder for what is compiled: the user's cache, not one lost at a reboot.

    Set for this process and those it starts; ``TORCHINDUCTOR_CACHE_DIR`` has priority.
    """
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = str(Path(cache) / "speechbrain_dino" / "compiled")
    return os.environ.setdefault(VARIABLE, folder)
