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
from hyperpyyaml import load_hyperpyyaml
from speechbrain.inference.classifiers import EncoderClassifier
from speechbrain.inference.speaker import SpeakerRecognition

from speechbrain_dino.data.manifest import Manifest
from speechbrain_dino.data.vad import energy_vad
from speechbrain_dino.embeddings import export
from speechbrain_dino.embeddings.export import (
    PARTS,
    MeanEmbedding,
    export_inference_folder,
    inference_yaml,
)
from speechbrain_dino.embeddings.extract import Embedder, embed
from speechbrain_dino.embeddings.pretrained import load_pretrained
from speechbrain_dino.embeddings.speech_features import SpeechFeatures, with_vad

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


def embedding_size(embedder):
    with torch.no_grad():
        return embedder(torch.zeros(1, 16000)).shape[1]


def test_without_a_mean_nothing_is_subtracted(tmp_path):
    path, embedder = build(tmp_path, LRESNET, MEAN)
    folder = export_inference_folder(tmp_path, path, embedder)
    model = EncoderClassifier.from_hparams(
        source=str(folder), savedir=None, run_opts={"device": "cpu"}
    )
    wav = 0.1 * torch.randn(2, 16000)
    plain = model.encode_batch(wav)
    assert torch.equal(model.encode_batch(wav, normalize=True), plain)


def test_the_mean_is_that_of_spread_utterances(tmp_path, monkeypatch):
    _, embedder = build(tmp_path, LRESNET, MEAN)
    rows = []
    for number in range(7):
        samples = np.random.default_rng(number).uniform(-0.5, 0.5, 9000 + number)
        wav = tmp_path / f"{number}.wav"
        soundfile.write(wav, samples if number else 0 * samples, 16000)
        row = {"ID": str(number), "duration": 0.5, "wav": str(wav), "start": 0}
        rows.append(row | {"stop": len(samples)})
    manifest = Manifest.from_rows(rows)
    monkeypatch.setattr(export, "MEAN_UTTERANCES", 4)  # 0, which is silent, 2, 4, 6
    mean = export.mean_embedding(manifest, embedder)
    expected = embed(manifest.subset([2, 4, 6]), embedder).vectors.mean(0)
    assert mean.count == 3
    np.testing.assert_allclose(mean.vector, expected, atol=1e-4)
    for row in range(7):
        (tmp_path / f"{row}.wav").unlink()
    assert export.mean_embedding(manifest, embedder) is None


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
    center = np.random.default_rng(0).normal(size=embedding_size(embedder))
    mean = MeanEmbedding(center.astype(np.float32), 7)
    folder = export_inference_folder(run, path, embedder, mean=mean)
    assert torch.equal(torch.get_rng_state(), random_state)
    assert sorted(file.name for file in folder.iterdir()) == [
        "README.md",
        "embedding_model.ckpt",
        "hyperparams.yaml",
        "mean_var_norm_emb.ckpt",
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
        normalized = model.encode_batch(wav, normalize=True).flatten(1)
        torch.testing.assert_close(normalized, actual - torch.from_numpy(mean.vector))
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


@pytest.mark.parametrize(
    "padding", ["", "\n    padding: reflect", "\n    padding: zeros"]
)
def test_the_fast_ecapa_is_exported_as_speechbrains_where_they_are_equal(
    elsewhere, padding
):
    fast = "speechbrain_dino.models.ecapa.FastECAPA"
    path, embedder = build(elsewhere, (fast, ECAPA[1] + padding), SENTENCE)
    folder = export_inference_folder(elsewhere, path, embedder)
    yaml = (folder / "hyperparams.yaml").read_text("utf-8")
    named = fast if "zeros" in padding else ECAPA[0]
    assert f"embedding_model: !new:{named}\n" in yaml
    assert ("padding" in yaml) == ("zeros" in padding)
    model = EncoderClassifier.from_hparams(str(folder), run_opts={"device": "cpu"})
    loaded = load_pretrained(folder).embedder
    wav = 0.1 * torch.randn(2, 16000)
    with torch.no_grad():
        expected = embedder(wav)
        close = {"atol": 1e-5, "rtol": 1e-5}
        torch.testing.assert_close(
            model.encode_batch(wav).flatten(1), expected, **close
        )
        torch.testing.assert_close(loaded(wav), expected, **close)
    # SpeechBrain's class computes as ours does once it is loaded here.
    assert type(loaded.embedding_model) is type(embedder.embedding_model)


def spoken(rows=3):
    """Bursts of noise of several lengths in faint noise, (rows, 32000)."""
    waves = 1e-4 * torch.randn(rows, 32000)
    bounds = [(3000 + 2000 * n, 9000 + 7000 * n) for n in range(rows)]
    for wave, (start, stop) in zip(waves, bounds):
        wave[start:stop] += 0.1 * torch.randn(stop - start)
    return (waves * 32768).round() / 32768


def cut(wave):
    """The speech alone, as the preparation of training data finds it."""
    speech = energy_vad((wave.numpy() * 32768).astype(np.int16))
    return torch.cat([wave[start:stop] for start, stop in speech.tolist()])


@pytest.mark.parametrize("padding", [0, 8000])
def test_a_model_trained_without_silence_drops_it(elsewhere, padding):
    path, embedder = build(elsewhere, LRESNET, MEAN)
    path.write_text(f"vad: True\n{path.read_text('utf-8')}", "utf-8")
    folder = export_inference_folder(elsewhere, path, embedder)
    waves = spoken()
    assert all(len(cut(wave)) < 0.8 * len(wave) for wave in waves)
    with torch.no_grad():
        expected = torch.cat([embedder(cut(wave)[None]) for wave in waves])
        whole = embedder(waves)
    assert (torch.cosine_similarity(expected, whole) < 0.99).all()
    model = EncoderClassifier.from_hparams(str(folder), run_opts={"device": "cpu"})
    padded = torch.nn.functional.pad(waves, (0, padding))
    lengths = torch.full((3,), 32000 / padded.shape[1])
    close = {"atol": 1e-4, "rtol": 1e-4}
    for result in (
        model.encode_batch(padded, lengths).flatten(1),
        torch.cat([model.encode_batch(wave[None]).flatten(1) for wave in waves]),
        load_pretrained(folder).embedder(padded, torch.full((3,), 32000)),
    ):
        torch.testing.assert_close(result.detach(), expected, **close)


def test_encoders_that_do_not_mask_padding_get_speech_alone(elsewhere):
    path, embedder = build(elsewhere, ECAPA, SENTENCE)
    path.write_text(f"vad: True\n{path.read_text('utf-8')}", "utf-8")
    loaded = load_pretrained(export_inference_folder(elsewhere, path, embedder))
    waves = spoken()
    with torch.no_grad():
        expected = torch.cat([embedder(cut(wave)[None]) for wave in waves])
        result = loaded.embedder(waves)
        plain = with_vad(loaded.embedder, False)(waves)
        again = with_vad(embedder, True)(waves)
    torch.testing.assert_close(result, expected)
    torch.testing.assert_close(again, expected)
    torch.testing.assert_close(plain, embedder(waves))


def test_other_wishes_for_the_vad_are_named(tmp_path):
    _, embedder = build(tmp_path, LRESNET, MEAN)
    with pytest.raises(
        ValueError, match="vad is 'maybe'; expected True, False or null"
    ):
        with_vad(embedder, "maybe")


def test_silence_alone_is_embedded_as_it_is(elsewhere):
    _, embedder = build(elsewhere, LRESNET, MEAN)
    wave = torch.zeros(1, 8000)
    with torch.no_grad():
        torch.testing.assert_close(with_vad(embedder, True)(wave), embedder(wave))
    features = SpeechFeatures(embedder.compute_features)
    rows = features.speech(torch.cat([wave, torch.ones(1, 8000) * 1e-3]))
    assert [len(row) for row in rows] == [8000, 8000]


def test_speech_that_a_manifest_names_is_not_cut_again(tmp_path):
    _, embedder = build(tmp_path, LRESNET, MEAN)
    wav = str(tmp_path / "a.wav")
    soundfile.write(wav, spoken()[0].numpy(), 16000)
    row = {"ID": "a", "duration": 2.0, "wav": wav, "start": 0, "stop": 32000}
    half = Manifest.from_rows([{**row, "speech": "0-16000"}])
    expected = embed(half, embedder).vectors
    np.testing.assert_array_equal(
        embed(half, with_vad(embedder, True)).vectors, expected
    )
    whole = Manifest.from_rows([row])
    speech = energy_vad(soundfile.read(wav, dtype="int16")[0])
    text = ";".join(f"{start}-{stop}" for start, stop in speech.tolist())
    np.testing.assert_allclose(
        embed(whole, with_vad(embedder, True)).vectors,
        embed(Manifest.from_rows([{**row, "speech": text}]), embedder).vectors,
        atol=1e-5,
    )


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
