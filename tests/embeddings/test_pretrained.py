"""Models from folders: right weights, right names, never another model's."""

import numpy as np
import pytest
import torch
from hyperpyyaml import load_hyperpyyaml
from speechbrain.inference.classifiers import EncoderClassifier

from speechbrain_dino.embeddings.export import export_inference_folder
from speechbrain_dino.embeddings.pretrained import (
    PARTS,
    load_pretrained,
    weights_digest,
)
from speechbrain_dino.models.embedder import Embedder

YAML = """
compute_features: !new:speechbrain.lobes.features.Fbank
    n_mels: 16
mean_var_norm: !new:speechbrain.processing.features.InputNormalization
    norm_type: sentence
    std_norm: False
embedding_model: !new:speechbrain.lobes.models.ECAPA_TDNN.ECAPA_TDNN
    input_size: 16
    channels: [8, 8, 8, 8, 16]
    kernel_sizes: [5, 3, 3, 3, 1]
    dilations: [1, 2, 3, 4, 1]
    attention_channels: 4
    se_channels: 4
    res2net_scale: 2
    lin_neurons: 6
"""


def export(folder, seed):
    folder.mkdir()
    (folder / "hyperparams.yaml").write_text(YAML, encoding="utf-8")
    torch.manual_seed(seed)
    parts = load_hyperpyyaml(YAML)
    embedder = Embedder(*(parts[name] for name in PARTS)).eval()
    return export_inference_folder(folder, folder / "hyperparams.yaml", embedder)


def test_embeddings_are_those_of_speechbrain(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for seed in (1, 2):  # one after the other: not the first one's weights twice
        folder = export(tmp_path / str(seed), seed)
        model = load_pretrained(f"{seed}/inference")
        wavs = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 16000)) / 10)
        theirs = EncoderClassifier.from_hparams(
            source=str(folder), savedir=None, run_opts={"device": "cpu"}
        )
        with torch.no_grad():
            mine = model.embedder(wavs.float())
        expected = theirs.encode_batch(wavs.float())[:, 0]
        torch.testing.assert_close(mine, expected, atol=1e-5, rtol=1e-5)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "2"]


def test_the_digest_tells_models_apart(tmp_path):
    one, two = export(tmp_path / "1", 1), export(tmp_path / "2", 2)
    digests = [load_pretrained(folder).digest for folder in (one, one, two)]
    assert digests[0] == digests[1] != digests[2]
    text = (one / "hyperparams.yaml").read_text(encoding="utf-8")
    (one / "hyperparams.yaml").write_text(
        text.replace("dilations: [1", "dilations: [2"), encoding="utf-8"
    )
    assert load_pretrained(one).digest != digests[0]


def test_a_plain_attribute_counts():
    norm = torch.nn.Module()
    norm.mean = torch.zeros(2)
    before = weights_digest(norm)
    assert weights_digest(norm.eval()) == before
    norm.mean = torch.ones(2)
    assert weights_digest(norm) != before


def test_what_is_no_model_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*nowhere"):
        load_pretrained(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"no hyperparams\.yaml, nor does"):
        load_pretrained(tmp_path)
    run = tmp_path / "run"
    export(run, 1)
    assert load_pretrained(run).digest == load_pretrained(run / "inference").digest
    assert load_pretrained(run).source == str(run / "inference")
    untrained = tmp_path / "untrained"
    untrained.mkdir()
    (untrained / "hyperparams.yaml").write_text(YAML, encoding="utf-8")
    with pytest.raises(FileNotFoundError, match=r"with a pretrainer, nor does"):
        load_pretrained(untrained)
    (run / "inference" / "embedding_model.ckpt").write_bytes(b"no weights")
    with pytest.raises(ValueError, match="could not be loaded"):
        load_pretrained(run / "inference")
