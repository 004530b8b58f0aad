"""Fine-tuning on a small made-up corpus: its data, its first model, its keys."""

from itertools import product

import numpy as np
import soundfile as sf
import torch
from hyperpyyaml import load_hyperpyyaml

from speechbrain_dino.embeddings.export import PARTS, export_inference_folder
from speechbrain_dino.models.embedder import Embedder

ACTORS, EMOTIONS, SENTENCES = range(1, 7), ("ANG", "NEU", "SAD"), "ABCD"
ENCODER = """
compute_features: !new:speechbrain.lobes.features.Fbank {n_mels: 16}
mean_var_norm: !new:speechbrain_dino.models.features.MeanNorm
embedding_model: !new:recipe_runs.PlainEncoder {input_size: 16, embedding_dim: 8}
"""
SMALL = {
    "num_folds": 3,
    "valid_actors": 1,
    "chunk_seconds": 0.5,
    "affine_epochs": 1,
    "main_epochs": 6,
    "batch_size": 8,
    "num_workers": 0,
    "precision": "fp32",
    "base_lr": 0.03,
    "classes": "[angry, neutral, sad]",
    "affine_layers": "[embedding]",
    "device": "cpu",
}


def make_emotions(folder):
    """Noise whose spectrum tilts with the emotion, under CREMA-D's names."""
    (folder / "AudioWAV").mkdir(parents=True)
    rng = np.random.default_rng(0)
    lines = ["speaker,gender"]
    for actor, (number, code), letter in product(
        ACTORS, enumerate(EMOTIONS), SENTENCES
    ):
        wave = rng.standard_normal(12000)
        # Sounds come and go: what MeanNorm takes away is constant in time.
        tilt = np.convolve(wave, [1, (-0.9, 0.0, 0.9)[number]], "same")
        wave = np.where(np.arange(12000) // 1500 % 2, tilt, 0.3 * wave)
        path = folder / "AudioWAV" / f"200{actor}_S{letter}_{code}_XX.wav"
        sf.write(path, 0.05 * wave, 16000)
    lines += [f"200{actor},{'fm'[actor % 2]}" for actor in ACTORS]
    (folder / "labels.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def make_start_model(folder):
    """An inference folder with random weights."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "hyperparams.yaml").write_text(ENCODER, encoding="utf-8")
    torch.manual_seed(0)
    parts = load_hyperpyyaml(ENCODER)
    embedder = Embedder(*(parts[name] for name in PARTS))
    return export_inference_folder(folder, folder / "hyperparams.yaml", embedder)


def as_arguments(keys):
    """A dictionary of keys as words of a command line."""
    return [text for key, value in keys.items() for text in (f"--{key}", str(value))]
