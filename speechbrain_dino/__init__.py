"""Learning speech embeddings without labels, on SpeechBrain.

    from speechbrain_dino import embed, score, summary, metrics

Nothing is imported before it is asked for.
"""

from importlib import import_module

__version__ = "0.1.0"

_HOME = {
    "embed": "api",
    "score": "api",
    "summary": "api",
    "EmbeddingTable": "embedding_table",
    "Manifest": "manifest",
    "load_pretrained": "pretrained",
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
