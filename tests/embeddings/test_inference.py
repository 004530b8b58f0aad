"""The inference folder moves, works offline, and gives the training embedding."""

import shutil
import socket
import subprocess
import sys

import numpy as np
import pytest
import recipe_runs as runs
import soundfile
import torch
from huggingface_hub import ModelCard
from hyperpyyaml import load_hyperpyyaml
from speechbrain.inference.classifiers import EncoderClassifier
from speechbrain.inference.speaker import SpeakerRecognition

from speechbrain_dino.embeddings.export import (
    PARTS,
    export_inference_folder,
    inference_yaml,
)
from speechbrain_dino.embeddings.extract import Embedder
from speechbrain_dino.embeddings.model_card import classifier_card, model_card

RUN = """
seed: 7
output_folder: /somewhere/results
n_mels: 80
embedding_size: 24
compute_features: !new:speechbrain.lobes.features.Fbank
    n_mels: !ref <n_mels>
    f_min: 20
    f_max: 7600
mean_var_norm: !new:{norm}
embedding_model: !new:{encoder}
    input_size: !ref <n_mels>
    lin_neurons: !ref <embedding_size> * 2 // 2
    channels: {channels}
student: !name:torch.nn.ModuleList
    modules: [!ref <embedding_model>]
modules:
    student: !ref <embedding_model>
checkpointer: !new:speechbrain.utils.checkpoints.Checkpointer
    checkpoints_dir: !ref <output_folder>
"""
ECAPA = ("speechbrain.lobes.models.ECAPA_TDNN.ECAPA_TDNN", "[16, 16, 16, 16, 48]")
LRESNET = ("speechbrain_dino.models.encoders.LResNet34", "[4, 8, 8, 8]")
SENTENCE = """speechbrain.processing.features.InputNormalization
    norm_type: sentence
    std_norm: False"""
MEAN = "speechbrain_dino.models.features.MeanNorm\n    window_seconds: 0.3"
FIGURES = {
    "eer": 0.123,
    "eer_threshold": 0.4321,
    "min_dcf_0.01": 0.9,
    "min_dcf_0.05": 0.8,
    "trials": 100,
}


def build(folder, encoder, norm):
    """A run's YAML and an embedder with weights that YAML alone cannot give."""
    text = RUN.format(encoder=encoder[0], channels=encoder[1], norm=norm)
    text = text.replace("/somewhere/results", str(folder / "save"))
    path = folder / "hyperparams.yaml"
    path.write_text(text, encoding="utf-8")
    run = load_hyperpyyaml(text)
    embedder = Embedder(*(run[name] for name in PARTS))
    with torch.no_grad():
        for parameter in embedder.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        for name, buffer in embedder.named_buffers():
            if name.endswith("running_var"):
                buffer.uniform_(0.5, 2)
    return path, embedder.eval()


def write_wavs(folder):
    paths = [str(folder / f"{name}.wav") for name in ("one", "two")]
    for path, length in zip(paths, (9000, 12000)):
        soundfile.write(
            path, 0.1 * np.random.default_rng(length).normal(size=length), 16000
        )
    return paths


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """Another working directory and no network."""

    def refuse(*args, **kwargs):
        raise OSError("no network in this test")

    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    return tmp_path


@pytest.mark.parametrize(
    ("encoder", "norm"), [(ECAPA, SENTENCE), (LRESNET, MEAN)], ids=["ecapa", "lresnet"]
)
def test_a_moved_folder_gives_the_training_embedding(elsewhere, encoder, norm):
    run = elsewhere / "run"
    run.mkdir()
    path, embedder = build(run, encoder, norm)
    random_state = torch.get_rng_state()
    folder = export_inference_folder(run, path, embedder)
    assert torch.equal(torch.get_rng_state(), random_state)
    files = sorted(file.name for file in folder.iterdir())
    assert files == [
        "README.md",
        "embedding_model.ckpt",
        "hyperparams.yaml",
        "owner.json",
    ]
    assert str(elsewhere) not in (folder / "hyperparams.yaml").read_text(
        encoding="utf-8"
    )
    moved = elsewhere / "moved here"
    shutil.move(folder, moved)
    shutil.rmtree(run)

    wav = 0.1 * torch.randn(2, 16000)
    with torch.no_grad():
        expected = embedder(wav)
    for interface in (EncoderClassifier, SpeakerRecognition):
        model = interface.from_hparams(source=str(moved), run_opts={"device": "cpu"})
        actual = model.encode_batch(wav).flatten(1)
        torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-5)
    one, two = write_wavs(elsewhere)
    score, _ = model.verify_files(one, two)
    with torch.no_grad():
        pair = [
            embedder(torch.tensor(soundfile.read(w)[0])[None].float())
            for w in (one, two)
        ]
    assert score.item() == pytest.approx(
        torch.cosine_similarity(*pair).item(), abs=1e-5
    )
    assert model.verify_files(one, one)[0].item() == pytest.approx(1, abs=1e-5)


OFFLINE = """
import socket, sys
def refuse(*args, **kwargs):
    raise OSError("no network in this test")
socket.socket.connect = socket.getaddrinfo = refuse
import soundfile, torch
from speechbrain.inference.classifiers import EncoderClassifier
model = EncoderClassifier.from_hparams(source=sys.argv[1], run_opts={"device": "cpu"})
print(model.encode_batch(model.load_audio(sys.argv[2])).flatten().tolist())
"""


def test_a_fresh_process_gives_the_same_embedding(tmp_path):
    path, embedder = build(tmp_path, ECAPA, SENTENCE)
    folder = export_inference_folder(tmp_path, path, embedder)
    wav = write_wavs(tmp_path)[0]
    (tmp_path / "cwd").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", OFFLINE, str(folder), wav],
        cwd=tmp_path / "cwd",
        env=runs.environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    actual = torch.tensor(eval(done.stdout.splitlines()[-1]))
    with torch.no_grad():
        expected = embedder(torch.tensor(soundfile.read(wav)[0])[None].float())[0]
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-5)


def test_global_statistics_travel_with_the_weights(elsewhere):
    norm = "speechbrain.processing.features.InputNormalization"
    path, embedder = build(elsewhere, ECAPA, norm + "\n    norm_type: global")
    embedder.mean_var_norm.train()
    embedder(torch.randn(4, 8000) * torch.linspace(0, 1, 8000))
    embedder.eval()
    folder = export_inference_folder(elsewhere, path, embedder)
    model = EncoderClassifier.from_hparams(str(folder), run_opts={"device": "cpu"})
    wav = 0.1 * torch.randn(1, 16000)
    with torch.no_grad():
        expected = embedder(wav)
    torch.testing.assert_close(model.encode_batch(wav).flatten(1), expected)


def test_wrappers_of_compile_leave_no_trace(tmp_path):
    path, embedder = build(tmp_path, ECAPA, SENTENCE)
    keys = set(embedder.embedding_model.state_dict())
    embedder.embedding_model = torch.compile(embedder.embedding_model)
    folder = export_inference_folder(tmp_path, path, embedder)
    assert set(torch.load(folder / "embedding_model.ckpt")) == keys


def test_a_second_export_replaces_the_first(tmp_path):
    path, embedder = build(tmp_path, ECAPA, SENTENCE)
    export_inference_folder(tmp_path, path, embedder)
    with torch.no_grad():
        embedder.embedding_model.fc.conv.bias.fill_(9.0)
    folder = export_inference_folder(tmp_path, path, embedder)
    state = torch.load(folder / "embedding_model.ckpt")
    assert torch.equal(state["fc.conv.bias"], torch.full((24,), 9.0))
    assert not [file for file in tmp_path.iterdir() if file.name.startswith(".")]


def test_weights_that_do_not_fit_are_refused_and_the_old_folder_stays(tmp_path):
    path, embedder = build(tmp_path, ECAPA, SENTENCE)
    folder = export_inference_folder(tmp_path, path, embedder)
    before = (folder / "hyperparams.yaml").read_text(encoding="utf-8")
    path.write_text(
        path.read_text(encoding="utf-8").replace(
            "embedding_size: 24", "embedding_size: 32"
        ),
        encoding="utf-8",
    )
    with pytest.raises(RuntimeError, match="size mismatch"):
        export_inference_folder(tmp_path, path, embedder)
    assert (folder / "hyperparams.yaml").read_text(encoding="utf-8") == before
    path.write_text(
        path.read_text(encoding="utf-8").replace("mean_var_norm", "norm"),
        encoding="utf-8",
    )
    with pytest.raises(ValueError, match="has no mean_var_norm"):
        inference_yaml(path)


def test_the_card_says_what_to_do(tmp_path):
    path, embedder = build(tmp_path, LRESNET, MEAN)
    results = {
        "verification": {"veri_test": FIGURES},
        "data": {"kept": 1234, "hours": 5.678},
        "git": {"commit": "abc123", "dirty": True},
        "seed": 7,
    }
    folder = export_inference_folder(tmp_path, path, embedder, results)
    card = (folder / "README.md").read_text(encoding="utf-8")
    (eer,) = ModelCard(card).data.eval_results
    assert (eer.dataset_name, eer.metric_type, eer.metric_value) == (
        "veri_test",
        "eer",
        12.3,
    )
    assert "| veri_test | 100 | 12.30 | 0.9000 | 0.8000 | 0.4321 |" in card
    assert "same_speaker = score > 0.4321" in card
    assert "1234 utterances (5.7 hours)" in card
    assert "abc123, with local changes" in card
    assert "pip install speechbrain speechbrain-dino" in card
    plain = model_card("", {})
    assert "No threshold was measured" in plain
    assert "pip install speechbrain\n" in plain
    assert ModelCard(plain).data.library_name == "speechbrain"
    assert "model-index" not in plain and "## Training" not in plain


def test_the_card_of_a_classifier_has_its_recall_where_there_is_one():
    results = {"uar_valid": 0.61234, "fold": "fold1", "epoch": 3}
    card = classifier_card(["angry", "sad"], results)
    assert "Classes: angry, sad." in card
    assert "recall in validation: 61.2 % (fold fold1, epoch 3)." in card
    assert ModelCard(card).data.tags[0] == "speech-emotion-recognition"
    assert "recall" not in classifier_card(["angry", "sad"], {"uar_valid": None})
