"""Encoders that SpeechBrain can load: folders and names on the hub."""

import hashlib
import re
from pathlib import Path
from typing import NamedTuple

import torch
from speechbrain.inference.classifiers import EncoderClassifier
from speechbrain.utils.fetching import fetch

from speechbrain_dino.models.ecapa import accelerated
from speechbrain_dino.models.embedder import Embedder

INFERENCE = "inference"
PARTS = ("compute_features", "mean_var_norm", "embedding_model")


class Pretrained(NamedTuple):
    """A trained model, and what tells it from all others."""

    embedder: Embedder
    source: str  # where it came from
    digest: str  # equal only for equal configuration and weights


def load_pretrained(source):
    """Loads an encoder, on the CPU, that SpeechBrain's EncoderClassifier can read.

    Nothing is linked or copied into the current folder, where an earlier model's
    weights could be taken for this one's.

    Arguments
    ---------
    source : str or path
        As `resolve_model`.

    Raises
    ------
    FileNotFoundError
        If there is no such folder, or no hyperparams.yaml in it.
    ValueError
        If the hub does not give the model, or the YAML lacks one of the three parts.
    """
    name = resolve_model(source)
    folder = Path(name)
    try:
        # SpeechBrain would put it on a GPU where there is one.
        model = EncoderClassifier.from_hparams(
            source=name, savedir=None, run_opts={"device": "cpu"}
        )
    except Exception as error:
        raise ValueError(
            f"the model {name} could not be loaded ({_first_line(error)}): "
            + ("its files do not fit SpeechBrain" if folder.is_dir() else _HUB)
        ) from error
    missing = [part for part in PARTS if part not in model.mods]
    if missing:
        raise ValueError(
            f"the model {name} has no {' or '.join(missing)} among its modules "
            f"({', '.join(model.mods)}): it is no encoder of speech to embeddings"
        )
    embedder = Embedder(*(model.mods[part] for part in PARTS)).eval()
    yaml = Path(fetch("hyperparams.yaml", source=name, savedir=None))
    digest = weights_digest(embedder, yaml.read_bytes())
    embedder.embedding_model = accelerated(embedder.embedding_model)
    shown = source if Path(source).resolve() == folder or not folder.is_dir() else name
    return Pretrained(embedder, str(shown), digest)


def resolve_model(source):
    """What SpeechBrain's ``from_hparams`` takes for a model, str.

    Arguments
    ---------
    source : str or path
        An inference folder, the folder of a run that holds one, or the name of a model
        on the Hugging Face hub such as ``speechbrain/spkrec-ecapa-voxceleb``.

    Returns
    -------
    str
        Absolute path of the inference folder, or the name.

    Raises
    ------
    FileNotFoundError
        If there is no such folder, or no inference folder in it.
    """
    folder, name = Path(source), str(source)
    if folder.is_dir():
        for inner in (folder, folder / INFERENCE):
            yaml = inner / "hyperparams.yaml"
            # The YAML of a training has none, and SpeechBrain cannot load it.
            if yaml.is_file() and re.search(rb"(?m)^pretrainer *:", yaml.read_bytes()):
                return str(inner.resolve())
        what = "hyperparams.yaml with a pretrainer"
        if not (folder / "hyperparams.yaml").is_file():
            what = "hyperparams.yaml"
        raise FileNotFoundError(
            f"{folder} holds no {what}, nor does {folder / INFERENCE}: --model takes "
            "an inference folder, as training leaves it at its end, or the folder of "
            "such a run"
        )
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name) or name.startswith("."):
        raise FileNotFoundError(
            f"there is no folder {name}, and it is no model of the hub either "
            "(owner/name): --model takes an inference folder or such a name"
        )
    return name


_HUB = "no such folder, and the hub did not give it: check the name and the network"


def _first_line(error):
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"


def weights_digest(module, extra=b""):
    """Returns 32 hexadecimal digits of all tensors in a module, and ``extra`` bytes.

    Example
    -------
    >>> layer = torch.nn.Linear(2, 2)
    >>> before = weights_digest(layer)
    >>> _ = layer.weight.data.add_(1)
    >>> weights_digest(layer) == before
    False
    """
    digest = hashlib.blake2b(extra, digest_size=16)
    digest.update(str(module).encode())
    for prefix, part in module.named_modules():
        # What starts with an underscore is PyTorch's bookkeeping.
        plain = {k: v for k, v in vars(part).items() if k[0] != "_" and k != "training"}
        own = {**part._parameters, **part._buffers, **plain}
        for name in sorted(own):
            value = own[name]
            if isinstance(value, torch.Tensor):
                raw = value.detach().cpu().contiguous().flatten().view(torch.uint8)
                digest.update(f"{prefix}.{name} {tuple(value.shape)}".encode())
                digest.update(raw.numpy().tobytes())
            elif isinstance(value, str | int | float | tuple):
                digest.update(f"{prefix}.{name}={value!r}".encode())
    return digest.hexdigest()
