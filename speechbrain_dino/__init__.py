"""Learning speech embeddings without labels, on SpeechBrain.

    from speechbrain_dino import embed, score, summary, metrics

Nothing is imported before it is asked for. The import makes threads of PyTorch that
wait for each other sleep, unless ``OMP_WAIT_POLICY`` says otherwise; see below.
"""

import os
from importlib import import_module

# Threads that spin hold the cores that those they wait for need: beside one other
# process training would fall to a fraction of its speed. Read once, when PyTorch loads
# its OpenMP; the package's own import is the only place that comes before that in all
# scripts and commands. GOMP_SPINCOUNT, where it is set, has the last word.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

__version__ = "0.1.0"

_HOME = {
    "embed": "api",
    "score": "api",
    "summary": "api",
    "EmbeddingTable": "embeddings.table",
    "Manifest": "data.manifest",
    "load_pretrained": "embeddings.pretrained",
}

__all__ = [*_HOME, "metrics"]


def __getattr__(name):
    if name in _HOME:
        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    if name == "metrics":
        return import_module(f"{__name__}.metrics")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted([*globals(), *__all__])
