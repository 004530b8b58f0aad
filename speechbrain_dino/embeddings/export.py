"""The inference folder: a trained encoder in the form SpeechBrain loads."""

import logging
from io import StringIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from hyperpyyaml import load_hyperpyyaml, resolve_references
from ruamel.yaml import YAML
from ruamel.yaml.tag import Tag
from speechbrain.lobes.models.ECAPA_TDNN import ECAPA_TDNN
from speechbrain.processing.features import InputNormalization
from speechbrain.utils.checkpoints import DEFAULT_SAVE_HOOKS, get_default_hook

from speechbrain_dino.embeddings.extract import embed
from speechbrain_dino.embeddings.model_card import model_card
from speechbrain_dino.models.ecapa import FastECAPA
from speechbrain_dino.models.modes import unwrapped
from speechbrain_dino.utils.ownership import replacing_folder

logger = logging.getLogger(__name__)

PARTS = ("compute_features", "mean_var_norm", "embedding_model")
_SPEECH = """\
# Trained without silence: what the energy VAD leaves out is left out here, too.
compute_features: !new:speechbrain_dino.embeddings.speech_features.SpeechFeatures
    features: !ref <features_of_speech>
    followers: [!ref <mean_var_norm>, !ref <embedding_model>]
    sample_rate: {sample_rate}
"""


def export_inference_folder(
    output_folder, hyperparams_yaml, embedder, results=None, mean=None
):
    """Writes ``<output_folder>/inference``, complete in itself, and returns its path.

    It has ``hyperparams.yaml`` (the three parts of the embedder as the run's own
    YAML describes them, references resolved, without any path),
    ``embedding_model.ckpt``, ``mean_var_norm_emb.ckpt`` (what SpeechBrain's
    ``encode_batch(wavs, normalize=True)`` subtracts) and ``README.md`` (model card). It
    can be moved, needs no network, and ``EncoderClassifier`` and ``SpeakerRecognition``
    of SpeechBrain load it with ``from_hparams(source=folder)``. An earlier export is
    replaced.

    Arguments
    ---------
    output_folder, hyperparams_yaml : str or path
        The run's folder and hyperparameters, which have the keys
        ``compute_features``, ``mean_var_norm`` and ``embedding_model``.
    embedder : speechbrain_dino.models.embedder.Embedder
        Built from these, with the trained weights.
    results : dict, optional
        Content of the run's results.json, for the model card.
    mean : MeanEmbedding, optional
        Of `mean_embedding`; nothing is subtracted if not given.

    Raises
    ------
    ValueError
        If the YAML lacks one of the three keys.
    RuntimeError
        If the weights do not fit the encoder that the YAML describes.
    """
    modules = {name: unwrapped(getattr(embedder, name)) for name in PARTS}
    learned = [name for name in PARTS if has_learned_state(name, modules[name])]
    yaml = inference_yaml(hyperparams_yaml, [*learned, NORM], (NORM,), NORM_YAML)
    _check_fit(yaml, modules["embedding_model"])
    folder = Path(output_folder) / "inference"
    with replacing_folder(folder, "export") as draft:
        (draft / "hyperparams.yaml").write_text(yaml, "utf-8")
        (draft / "README.md").write_text(model_card(yaml, results or {}), "utf-8")
        for name in learned:
            save(modules[name], draft / f"{name}.ckpt")
        save_mean(mean, draft)
    return folder


NORM = "mean_var_norm_emb"
NORM_YAML = (
    f"{NORM}: !new:speechbrain.processing.features.InputNormalization\n"
    "    norm_type: global\n"
    "    std_norm: False\n"
)
"""What SpeechBrain's ``encode_batch`` looks for where it is to normalize."""
MEAN_UTTERANCES, MEAN_SECONDS = 300, 4.0


class MeanEmbedding(NamedTuple):
    """Mean embedding of training utterances."""

    vector: np.ndarray  # float32 (D,)
    count: int


def mean_embedding(manifest, embedder, device="cpu", batch_seconds=60.0):
    """The `MeanEmbedding` of at most 300 utterances, spread evenly, and 4 s of each.

    Labels are not read. None where no audio can be read, which must not cost the model
    of a long training.
    """
    rows = np.linspace(0, len(manifest) - 1, min(MEAN_UTTERANCES, len(manifest)))
    try:
        table = embed(
            manifest.subset(np.unique(rows.astype(int))),
            embedder,
            device=device,
            batch_seconds=batch_seconds,
            max_seconds=MEAN_SECONDS,
            on_bad="skip",
        )
    except (ValueError, OSError) as error:
        logger.warning("No mean embedding is exported: %s", error)
        return None
    vector = table.vectors.mean(axis=0, dtype=np.float64).astype(np.float32)
    return MeanEmbedding(vector, len(table))


def save_mean(mean, folder):
    """Writes the statistics of `NORM_YAML` into an inference folder."""
    norm = InputNormalization(norm_type="global", std_norm=False)
    vector = torch.zeros(1) if mean is None else torch.from_numpy(mean.vector)
    norm.count = 0 if mean is None else mean.count
    norm.glob_mean, norm.glob_std = vector, torch.ones_like(vector)
    save(norm, folder / f"{NORM}.ckpt")


def inference_yaml(
    hyperparams_yaml, learned=("embedding_model",), more_modules=(), more_text=""
):
    """Returns the HyperPyYAML of a run cut down to the three parts for inference.

    Where the run's key ``vad`` is True the features are those of the speech.

    Arguments
    ---------
    hyperparams_yaml : str or path
        The run's; ValueError if it lacks one of the three parts.
    learned : sequence of str
        The parts whose parameters are to be loaded from files beside the YAML.
    more_modules : sequence of str
        Further modules, which ``more_text`` describes.
    more_text : str
        Further top-level keys, HyperPyYAML.
    """
    with open(hyperparams_yaml, encoding="utf-8") as file:
        resolved = resolve_references(file)
    ruamel = YAML()
    run = ruamel.load(resolved)
    missing = [name for name in PARTS if name not in run]
    if missing:
        raise ValueError(
            f"{hyperparams_yaml} has no {' or '.join(missing)}: SpeechBrain's inference"
            " classes ask for these names, so define them at the top level"
        )
    text = StringIO()
    text.write(
        "# Made by training; load with SpeechBrain's from_hparams(source=...).\n"
    )
    vad = bool(run.get("vad", False))
    names = {"compute_features": "features_of_speech"} if vad else {}
    _name_speechbrains_ecapa(run["embedding_model"])
    ruamel.dump({names.get(name, name): run[name] for name in PARTS}, text)
    if vad:
        text.write(_SPEECH.format(sample_rate=run.get("sample_rate", 16000)))
    text.write(more_text)
    text.write("modules:\n")
    text.writelines(f"    {name}: !ref <{name}>\n" for name in (*PARTS, *more_modules))
    text.write("pretrainer: !new:speechbrain.utils.parameter_transfer.Pretrainer\n")
    text.write("    loadables:\n")
    text.writelines(
        f"        {name}: !ref <{names.get(name, name)}>\n" for name in learned
    )
    return text.getvalue()


def _name_speechbrains_ecapa(node):
    """Names SpeechBrain's class where ours only computes the same faster."""
    ours, theirs = (
        f"!new:{kind.__module__}.{kind.__qualname__}"
        for kind in (FastECAPA, ECAPA_TDNN)
    )
    if str(getattr(node, "tag", "")) == ours and node.get("padding") != "zeros":
        node.pop("padding", None)
        node.yaml_set_ctag(Tag(suffix=theirs))


def has_learned_state(name, module):
    """Whether a part of an embedder has something to load."""
    # SpeechBrain's global normalization keeps its statistics outside the state dict.
    running = getattr(module, "norm_type", None) == "global"
    return (
        name == "embedding_model" or running or any(True for _ in module.parameters())
    )


def save(module, path):
    """Writes the weights of a module where the inference folder looks for them."""
    state = module.state_dict()
    if state:
        state = {key: value.detach().cpu() for key, value in state.items()}
        torch.save(state, path)
    else:
        # Statistics that SpeechBrain's own hooks save and load.
        get_default_hook(module, DEFAULT_SAVE_HOOKS)(module, path)


def _check_fit(yaml, encoder):
    """SpeechBrain only warns about missing weights, so a wrong YAML must not pass."""
    # Building the encoder draws random weights: the run's random state stays as it is.
    with torch.random.fork_rng(devices=[]):
        fresh = load_hyperpyyaml(yaml)["embedding_model"]
    fresh.load_state_dict(encoder.state_dict())
