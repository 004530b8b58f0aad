"""The inference folder of a classifier: encoder, output layer, names of classes."""

from io import StringIO
from pathlib import Path

import torch
from ruamel.yaml import YAML
from speechbrain.dataio.encoder import CategoricalEncoder
from speechbrain.utils.fetching import fetch
from torch import nn

from speechbrain_dino.embeddings.export import (
    NORM,
    NORM_YAML,
    PARTS,
    has_learned_state,
    inference_yaml,
    save,
    save_mean,
)
from speechbrain_dino.embeddings.model_card import classifier_card
from speechbrain_dino.embeddings.pretrained import resolve_model
from speechbrain_dino.models.modes import unwrapped
from speechbrain_dino.utils.ownership import replacing_folder


class Probabilities(nn.Module):
    """Probabilities (..., C) from an output layer's logits or cosines, scaled.

    Example
    -------
    >>> layer = Probabilities(nn.Linear(4, 3))
    >>> probs = layer(torch.randn(2, 1, 4))
    >>> probs.shape, torch.allclose(probs.sum(-1), torch.ones(2, 1))
    (torch.Size([2, 1, 3]), True)
    """

    def __init__(self, head, scale=1.0):
        super().__init__()
        self.head, self.scale = head, scale

    def forward(self, embeddings):
        """Probabilities (..., C) of embeddings (..., D)."""
        return torch.softmax(self.scale * self.head(embeddings).float(), dim=-1)


def export_classifier_folder(output_folder, brain, run, results, mean=None):
    """Writes ``<output_folder>/inference``, which classifies a file; returns its path.

    SpeechBrain's ``EncoderClassifier.from_hparams(source=folder)`` loads it, and
    ``classify_file("my.wav")`` gives probabilities, the best one, its number and name.

    Arguments
    ---------
    output_folder : str or path
    brain : ClassifierBrain
        With the trained weights.
    run : Run
        With ``num_classes`` and ``class_names``; its ``hparams`` hold ``start_model``,
        whose YAML describes the encoder, and ``classifier``.
    results : dict
        Metrics for the model card.
    mean : MeanEmbedding, optional
        As for `export.export_inference_folder`.
    """
    source = resolve_model(run.hparams["start_model"])
    hyperparams = Path(fetch("hyperparams.yaml", source=source, savedir=None))
    embedder = brain.embedder()
    modules = {name: unwrapped(getattr(embedder, name)) for name in PARTS}
    head = brain.bare["student"].head
    scale = float(getattr(brain.modules.loss, "scale", 1.0))
    learned = [name for name in PARTS if has_learned_state(name, modules[name])]
    yaml = inference_yaml(
        hyperparams,
        [*learned, NORM, "classifier", "label_encoder"],
        (NORM, "classifier"),
        NORM_YAML + _described(run.hparams["classifier"], run.num_classes, scale),
    )
    folder = Path(output_folder) / "inference"
    with replacing_folder(folder, "export") as draft:
        (draft / "hyperparams.yaml").write_text(yaml, "utf-8")
        card = classifier_card(run.class_names, results)
        (draft / "README.md").write_text(card, "utf-8")
        for name in learned:
            save(modules[name], draft / f"{name}.ckpt")
        save_mean(mean, draft)
        save(Probabilities(head, scale), draft / "classifier.ckpt")
        names = CategoricalEncoder()
        names.expect_len(len(run.class_names))
        names.update_from_iterable(run.class_names, sequence_input=False)
        names.save(draft / "label_encoder.ckpt")
    return folder


def _described(classifier, num_classes, scale):
    """YAML of the output layer: the class and arguments that training built it with."""
    kind = classifier.func
    arguments = {**classifier.keywords, "num_classes": num_classes}
    text = StringIO()
    YAML().dump({key: _plain(value) for key, value in arguments.items()}, text)
    inner = "".join(f"        {line}\n" for line in text.getvalue().splitlines())
    return (
        "classifier: !new:speechbrain_dino.embeddings.export_classifier.Probabilities\n"
        f"    head: !new:{kind.__module__}.{kind.__qualname__}\n{inner}"
        f"    scale: {scale}\n"
        "label_encoder: !new:speechbrain.dataio.encoder.CategoricalEncoder\n"
    )


def _plain(value):
    return value.item() if hasattr(value, "item") else value
