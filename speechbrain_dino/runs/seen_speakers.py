"""Trial lists with speakers on whom the model was trained."""

import logging

from speechbrain_dino.corpora.voxceleb_splits import SPLITS
from speechbrain_dino.embeddings.model_card import training_data

logger = logging.getLogger(__name__)

_OF_VOX1_DEV = (
    "list_test_all",
    "list_test_all2",
    "list_test_hard",
    "list_test_hard2",
)


def check_unseen(model, prepared, allowed=False):
    """Stops where a list names speakers of a split that the model was trained on.

    VoxCeleb1-E and -H are trials of VoxCeleb1 dev, which some models learned from.
    Lists whose speakers the training held out are no matter.

    Arguments
    ---------
    model : str or path
        Inference folder, or name on the hub.
    prepared : dict
        Content of prepare.json, for ``tested_on``.
    allowed : bool
        Whether to go on, with a warning.

    Returns
    -------
    dict
        List -> titles of the splits, of lists that the model has seen speakers of.

    Raises
    ------
    ValueError
        If there are such lists and ``allowed`` is not set.
    """
    trained = training_data(model)
    seen, unsure = {}, []
    for name, splits in prepared.get("tested_on", {}).items():
        tested = {*splits, *(("vox1/dev",) if name in _OF_VOX1_DEV else ())}
        both = sorted(tested & set(trained.splits))
        if both and name not in trained.held_out:
            seen[name] = [SPLITS[split] for split in both]
        if "vox1/dev" in tested and not trained.splits:
            unsure.append(name)
    if any("voxceleb" in name.lower() for name in trained.datasets) and unsure:
        logger.warning(
            "The model card of %s names the data set %s and no splits: if VoxCeleb1 "
            "dev is among them, %s holds speakers that the model knows",
            model,
            ", ".join(trained.datasets),
            ", ".join(unsure),
        )
    lists = "; ".join(f"{name}: {', '.join(parts)}" for name, parts in seen.items())
    if seen and not allowed:
        raise ValueError(
            f"the model {model} was trained on speakers of the trial lists ({lists}), "
            "as its model card or prepare.json says, so their error rates would be too "
            "good: leave these lists out, or give --allow_seen_speakers True"
        )
    if seen:
        logger.warning("%s was trained on speakers of the lists (%s)", model, lists)
    return seen
