"""What a model was trained on, as its model card or its run says."""

from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from huggingface_hub import ModelCard
from speechbrain.utils.fetching import fetch

from speechbrain_dino.utils.checked_json import read_json


class TrainingData(NamedTuple):
    """What is said of a model's training."""

    splits: tuple = ()
    """Splits of VoxCeleb that it was trained on, such as "vox2/dev"."""
    held_out: tuple = ()
    """Names of the trial lists whose speakers were kept out of its training."""
    datasets: tuple = ()
    """Names of data sets in the card, where it does not name splits."""


def card_keys(prepared):
    """Returns the keys of a model card for what prepare.json says; {} if nothing.

    Example
    -------
    >>> card_keys({"trained_on": {"vox2/dev": {}, "other": {}}, "trials": {"mine": 3}})
    {'train_splits': ['vox2/dev'], 'held_out_lists': ['mine']}
    """
    splits = {*prepared.get("trained_on", ()), *prepared.get("started_on", ())}
    splits = sorted(splits - {"other"})
    if not splits:
        return {}
    lists = list(prepared.get("trials", ()))
    # A model to begin with has seen what its own training did not hold out.
    held_out = prepared.get("start_held_out", lists)
    lists = [name for name in lists if name in held_out]
    return {"train_splits": splits, "held_out_lists": lists}


def training_data(source):
    """Reads the training data off a model's card, or off the run around its folder.

    Arguments
    ---------
    source : str or path
        Inference folder, or name of a model on the Hugging Face hub.

    Returns
    -------
    TrainingData
        Empty where nothing is said.
    """
    folder = Path(source)
    card = folder / "README.md"
    if not folder.is_dir():
        with suppress(Exception):  # no card, no network: nothing is said
            card = Path(fetch("README.md", source=str(source), savedir=None))
    keys = {}
    if card.is_file():
        with suppress(Exception):  # any text may be a model's README
            keys = ModelCard(card.read_text(encoding="utf-8")).data.to_dict()
    if "train_splits" not in keys:
        prepared = folder.resolve().parent / "data" / "prepare.json"
        with suppress(OSError, ValueError, AttributeError, TypeError):
            content = read_json(prepared)
            keys = {**keys, **card_keys(content)}
    names = ("train_splits", "held_out_lists", "datasets")
    return TrainingData(*(_texts(keys.get(name)) for name in names))


def _texts(value):
    values = value if isinstance(value, list) else [value] if value else []
    return tuple(map(str, values))
