"""What only a real GPU can show; skipped where there is none."""

import os
import subprocess
import sys

import numpy as np
import pytest
import recipe_runs as runs
import torch
from process_tools import TORCHRUN
from speechbrain.inference.classifiers import EncoderClassifier
from speechbrain.inference.speaker import SpeakerRecognition
from test_finetune import corpus, run, start_model  # noqa: F401  fixtures
from test_inference import (
    ECAPA,
    LRESNET,
    MEAN,
    SENTENCE,
    build as build_embedder,
    write_wavs,
)
from test_objective_runs import EVERY, build, fit  # noqa: F401  build is a fixture
from test_rounds import recipe as rounds_recipe  # noqa: F401  a fixture

from speechbrain_dino.corpora.utterances import find_utterances
from speechbrain_dino.embeddings.export import export_inference_folder
from speechbrain_dino.embeddings.extract import embed
from speechbrain_dino.runs.compare.measured import peak_memory

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("in_this_process")]
ON_GPU = ("--device", "cuda")


@pytest.mark.parametrize("method", EVERY)
def test_every_method_trains(build, method):  # noqa: F811
    brain, loader = build(method, options=ON_GPU, number_of_epochs=2)
    before = {k: v.clone() for k, v in brain.modules.student.state_dict().items()}
    fit(brain, loader)
    after = brain.modules.student.state_dict()
    assert {value.device.type for value in after.values()} == {"cuda"}
    moved = [k for k, v in before.items() if not torch.equal(v, after[k])]
    assert {name.split(".")[0] for name in moved} >= {"encoder", "head"}
    epochs = [row for row in brain.curves.read() if row["kind"] == "epoch"]
    assert [row["nonfinite"] for row in epochs] == [0, 0]


@pytest.mark.parametrize("method", EVERY)
def test_the_host_waits_at_logging_steps_alone(build, monkeypatch, method):  # noqa: F811
    brain, loader = build(
        method,
        options=ON_GPU,
        number_of_epochs=2,
        log_every=1000,
        ckpt_interval_steps=0,
    )
    step, watched = brain.fit_batch, []

    def watch(batch):
        # The first steps allocate; the last of an epoch is logged.
        watching = brain.epoch > 1 and brain.step < len(loader)
        watched.append(watching)
        torch.cuda.set_sync_debug_mode("error" if watching else "default")
        try:
            return step(batch)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    monkeypatch.setattr(brain, "fit_batch", watch)
    fit(brain, loader)
    assert any(watched)


def test_fine_tuning_and_labels(run, corpus, tmp_path):  # noqa: F811
    results = run(tmp_path / "out", device="cuda", main_epochs=1)
    assert 0 <= results["finetune"]["pooled"]["uar"] <= 1
    folder = str(tmp_path / "out" / "inference")
    model = EncoderClassifier.from_hparams(folder, run_opts={"device": "cuda"})
    wave = next((corpus / "AudioWAV").glob("*.wav"))
    probabilities, _, _, label = model.classify_file(str(wave))
    assert probabilities.device.type == "cuda" and len(label) == 1


def folder_of(tmp_path, encoder, norm):
    """An inference folder, and its embedder on the CPU."""
    path, embedder = build_embedder(tmp_path, encoder, norm)
    return str(export_inference_folder(tmp_path, path, embedder)), embedder


@pytest.mark.parametrize(
    ("encoder", "norm"), [(ECAPA, SENTENCE), (LRESNET, MEAN)], ids=["ecapa", "lresnet"]
)
def test_inference_folder_loaded_on_a_gpu(tmp_path, encoder, norm):
    folder, embedder = folder_of(tmp_path, encoder, norm)
    waves = 0.1 * torch.randn(2, 16000)
    with torch.no_grad():
        expected = embedder(waves)
    lengths = torch.tensor([1.0, 0.5])
    for interface in (EncoderClassifier, SpeakerRecognition):
        model = interface.from_hparams(folder, run_opts={"device": "cuda"})
        vectors = model.encode_batch(waves).flatten(1)
        assert vectors.device.type == "cuda"
        assert torch.cosine_similarity(vectors.cpu(), expected).min() > 0.999
        assert model.encode_batch(waves, lengths).isfinite().all()
        assert model.encode_batch(waves.cuda(), lengths.cuda()).isfinite().all()
    score, same = model.verify_batch(waves, waves)
    assert score.min() > 0.999 and same.all()
    one, two = write_wavs(tmp_path)
    assert model.verify_files(one, one)[0].item() == pytest.approx(1, abs=1e-3)
    assert -1 <= model.verify_files(one, two)[0].item() <= 1


@pytest.mark.parametrize(("first", "then"), [("cpu", "cuda"), ("cuda", "cpu")])
def test_inference_folder_moved_after_loading(tmp_path, first, then):
    """SpeechBrain's interface goes on feeding the device that it was loaded on."""
    folder, embedder = folder_of(tmp_path, LRESNET, MEAN)
    model = SpeakerRecognition.from_hparams(folder, run_opts={"device": first})
    model.to(then)
    waves = 0.1 * torch.randn(2, 16000)
    with torch.no_grad():
        expected = embedder(waves)
    vectors = model.encode_batch(waves, torch.ones(2)).flatten(1)
    assert vectors.device.type == then
    assert torch.cosine_similarity(vectors.cpu(), expected).min() > 0.999
    assert model.verify_files(*write_wavs(tmp_path))[0].isfinite()


@pytest.mark.parametrize(
    ("encoder", "norm"),
    [
        (ECAPA, SENTENCE),
        (LRESNET, MEAN),
        (ECAPA, "speechbrain.processing.features.InputNormalization"),
    ],
    ids=["ecapa", "lresnet", "global"],
)
def test_embeddings_are_those_of_the_cpu(tmp_path, encoder, norm):
    _, embedder = build_embedder(tmp_path, encoder, norm)
    if norm.endswith("InputNormalization"):
        embedder.mean_var_norm.train()
        embedder(0.1 * torch.randn(4, 16000))
        embedder.eval()
    (tmp_path / "audio").mkdir()
    write_wavs(tmp_path / "audio")
    manifest = find_utterances(tmp_path / "audio", tmp_path / "data", 16000)
    tables = {
        device: np.array(embed(manifest, embedder, device=device).vectors)
        for device in ("cpu", "cuda", "cpu")
    }
    one, two = (v / np.linalg.norm(v, axis=1)[:, None] for v in tables.values())
    assert (one * two).sum(1).min() > 0.999


def gpu_environment():
    """Variables of processes that run this checkout and see the GPUs."""
    environment = runs.environment()
    environment.pop("CUDA_VISIBLE_DEVICES")
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        environment["CUDA_VISIBLE_DEVICES"] = os.environ["CUDA_VISIBLE_DEVICES"]
    return environment


def test_rounds(rounds_recipe, tmp_path):  # noqa: F811
    command = [sys.executable, "rounds.py", str(rounds_recipe), *ON_GPU]
    done = subprocess.run(
        [*command, "--output_folder", str(tmp_path / "rounds")],
        cwd=runs.RECIPE,
        env=gpu_environment(),
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = runs.results(tmp_path / "rounds")["rounds"]
    assert [line["round"] for line in lines] == [0, 1, 2]


@pytest.mark.distributed
def test_more_processes_than_gpus_are_named(tmp_path):
    processes = torch.cuda.device_count() + 1
    command = [f"--nproc_per_node={processes}", "-m", "speechbrain_dino.runs.embed"]
    arguments = ["--model", "none", "--data", "none", "--output_folder", str(tmp_path)]
    done = subprocess.run(
        [*TORCHRUN, *command, *arguments],
        env=gpu_environment(),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode != 0
    assert f"torchrun started {processes} processes" in done.stderr


def test_the_memory_of_a_gpu_is_noted():
    torch.zeros(2**28, device="cuda")  # a GiB
    peak = peak_memory()
    assert peak["device"] == "cuda" and peak["memory_gb"] >= 1
