"""Every training takes a step on a GPU that is not there.

Nothing may mix devices, and between two logging steps the host may not wait for the
device: ``.item()``, ``.cpu()``, ``if tensor`` and shapes that depend on numbers raise.

What fake tensors cannot follow: backward (gradients of the right shapes take its
place), numbers (the k-means of an epoch, whose rows are chosen by value, runs on all
rows; the gate of an epoch is chosen on the host), and copies *to* the device that wait
because they lack ``non_blocking`` (tests/gpu/test_gpu.py).
"""

import re
from unittest.mock import patch

import numpy as np
import pytest
import recipe_runs as runs
import soundfile as sf
import torch
from fake_cuda import HostWaits, fake_cuda, gradients_without_backward
from hyperpyyaml import load_hyperpyyaml
from speechbrain.inference.speaker import SpeakerRecognition
from speechbrain.processing.features import InputNormalization
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
)

from speechbrain_dino.augment.channel import AddChannel
from speechbrain_dino.augment.crops import CropAugment
from speechbrain_dino.augment.speeds import SpeedClasses
from speechbrain_dino.data.crops import CropBatch
from speechbrain_dino.embeddings.export import PARTS, export_inference_folder
from speechbrain_dino.embeddings.pretrained import load_pretrained
from speechbrain_dino.losses.label_gates import DynamicGate, FixedGate, LabelCorrection
from speechbrain_dino.losses.ssps import SSPS, nearest_others, spherical_kmeans
from speechbrain_dino.models.embedder import Embedder
from speechbrain_dino.models.features import move_constants
from speechbrain_dino.runs.finetune import take_encoder, weigh_classes
from speechbrain_dino.runs.prepare import draws_of
from speechbrain_dino.runs.recipe_yaml import read_recipe
from speechbrain_dino.training.classifier_setup import set_up_classifier
from speechbrain_dino.training.run import Run
from speechbrain_dino.training.safe_step import (
    KeptBuffers,
    clip_gradients,
    start_momentum,
    step_if,
)

BATCH, ITEMS, CLASSES = 4, 40, 5
# A real step needs no time for them, but building the parameters does.
SMALL = {
    "out_dim": 64,
    "hidden_dim": 32,
    "bottleneck_dim": 16,
    "queue_size": 16,
    "num_clusters": 6,
    "projector_dim": 32,
    "expanded_dim": 64,
}


def recipes():
    """The YAMLs that train."""
    for path in sorted((runs.ROOT / "recipes").glob("*/hparams/*.yaml")):
        if not path.stem.startswith(("cluster", "paper", "probe", "verify")):
            yield pytest.param(path, id=f"{path.parts[-3]}-{path.stem}")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder with noises and rooms, prepared; and a model to start from."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    for name, samples in (("noise", 16000), ("rir", 800)):
        decay = np.exp(-np.arange(samples) / 100) if name == "rir" else 1
        sf.write(folder / f"{name}.wav", 0.1 * rng.normal(size=samples) * decay, 16000)
        rows = f"ID,duration,wav\n{name},{samples / 16000},{folder / name}.wav\n"
        (folder / f"{name}.csv").write_text(rows, encoding="utf-8")
    yaml = (
        "compute_features: !new:speechbrain.lobes.features.Fbank {n_mels: 80}\n"
        "mean_var_norm: !new:speechbrain_dino.models.features.MeanNorm\n"
        "embedding_model: !new:speechbrain_dino.models.encoders.LResNet34\n"
        "    input_size: 80\n    channels: [4, 4, 8, 8]\n    lin_neurons: 16\n"
    )
    (folder / "start.yaml").write_text(yaml, encoding="utf-8")
    parts = load_hyperpyyaml(yaml)
    embedder = Embedder(*(parts[name] for name in PARTS))
    export_inference_folder(folder, folder / "start.yaml", embedder)
    return folder


def hparams_of(recipe, data, **changed):
    """What a recipe describes, small, with classes where it trains on labels."""
    text = read_recipe(recipe)
    keys = {"data_folder": str(data), "data_save_folder": str(data)}
    for line in text.splitlines():
        if line.endswith("!PLACEHOLDER") or "!PLACEHOLDER  " in line:
            keys.setdefault(line.split(":")[0], str(data))
    keys |= {"start_model": None} if "\nstart_model:" in text else {}
    small = {k: v for k, v in SMALL.items() if re.search(rf"^{k}: *\d", text, re.M)}
    small = {k: v for k, v in small.items() if f"\n{k}: null" not in text}
    # What a test removes by null, a recipe may not have.
    changed = {k: v for k, v in changed.items() if f"\n{k}:" in text}
    keys |= {"log_every": 1, "precision": "fp32"}  # what auto becomes is not asked here
    hparams = load_hyperpyyaml(text, {**keys, **small, **changed})
    hparams["augment"].load()
    if "classifier" not in hparams:
        return hparams
    if "copy_paste" in hparams:  # fine-tuning: the encoder comes with the model
        hparams["start_model"] = str(data / "inference")
        take_encoder(hparams)
        hparams["start_model"] = None
        weigh_classes(hparams, np.arange(ITEMS) % CLASSES, CLASSES)
        hparams["copy_paste"].set_up(["neutral", *"abcd"])
    return hparams


def brain_of(hparams):
    """The recipe's brain on the device, before its first step."""
    classes = {}
    if "classifier" in hparams:
        run, labels = Run(hparams, None), np.arange(ITEMS) % CLASSES
        set_up_classifier(run, labels, [f"speaker{k}" for k in labels])
        classes = {"labels": run.labels, "num_classes": run.num_classes}
    brain = hparams["brain"](
        **classes,
        curves=None,
        modules=hparams["modules"],
        opt_class=hparams["opt_class"],
        hparams=hparams,
        run_opts={"device": "cuda"},
    )
    brain.loader, brain.batches, brain.epoch, brain.step = range(100), 100, 1, 1
    for part in brain.modules.loss.modules():
        if isinstance(part, SSPS):
            part.allocate(ITEMS)
            part.epoch = part.clustered_for = part.first_epoch = 1
            brain.with_reference = part.wants_reference()
    brain.init_optimizers()
    brain.modules.train()
    return brain


def batch_of(hparams):
    """A batch as the loader makes it: on the host."""
    seconds = [hparams["global_seconds"], hparams["local_seconds"]]
    seconds = [value(0) if callable(value) else value for value in seconds]
    counts = [hparams["global_crops"], hparams["local_crops"]]
    num_draws = draws_of(hparams)
    speeds, paste = hparams.get("speed_classes"), hparams.get("copy_paste")
    if speeds is not None:
        seconds = [speeds.longest * value for value in seconds]
        num_draws += 1
    if paste is not None:
        num_draws += paste.num_draws
    sizes = [(n, BATCH, round(16000 * s)) for n, s in zip(counts, seconds) if n]
    return CropBatch(
        [torch.zeros(size, dtype=torch.int16) for size in sizes],
        [torch.rand(*size[:2], num_draws) for size in sizes],
        torch.arange(BATCH),
    )


def take_step(hparams, monkeypatch):
    """A whole step; health observes it too."""
    # The host waits for the line that this writes, at logging steps alone.
    monkeypatch.setattr(
        "speechbrain_dino.training.brain.log_step", lambda brain, loss, number: loss
    )
    with fake_cuda():
        brain = brain_of(hparams)
        with gradients_without_backward(list(brain.trained.parameters())):
            loss = brain.fit_batch(batch_of(hparams))
    assert loss.device.type == "cuda" and loss.shape == ()
    assert brain.optimizer_step == 1
    for module in brain.modules.values():
        for name, value in module.state_dict().items():
            if isinstance(value, torch.Tensor):
                assert value.device.type == "cuda", name
    return brain


@pytest.mark.parametrize("recipe", list(recipes()))
def test_every_recipe_takes_a_step(recipe, data, monkeypatch):
    take_step(hparams_of(recipe, data), monkeypatch)


VOXCELEB = runs.RECIPE / "hparams"


@pytest.mark.parametrize("norm_type", ["sentence", "global"])
def test_normalization_of_speechbrain(data, monkeypatch, norm_type):
    hparams = hparams_of(VOXCELEB / "dino_mini.yaml", data)
    norm = InputNormalization(norm_type=norm_type)
    if norm_type == "global":
        # It counts frames on the host while its statistics move: not after that.
        norm(torch.rand(2, 10, hparams["n_mels"]))
        norm._should_update = lambda epoch: False
    hparams["modules"]["mean_var_norm"] = norm
    take_step(hparams, monkeypatch)


@pytest.mark.parametrize("crops", ["all", "local"])
def test_teacher_that_hears_clean_crops(data, monkeypatch, crops):
    hparams = hparams_of(VOXCELEB / "dino_mini.yaml", data)
    hparams |= {"teacher_clean": True, "student_crops": crops}
    take_step(hparams, monkeypatch)


def test_channel_and_every_speed(data, monkeypatch):
    hparams = hparams_of(VOXCELEB / "pseudo_labels_mini.yaml", data)
    hparams["speed_classes"] = SpeedClasses([1.0, 0.9, 1.1])
    steps = [*hparams["augment"].steps, AddChannel(prob=1.0)]
    hparams["augment"] = hparams["modules"]["augment"] = CropAugment(*steps)
    take_step(hparams, monkeypatch)


@pytest.mark.parametrize("gate", [FixedGate(3.0), DynamicGate(start_epoch=2)])
def test_gates(data, monkeypatch, gate):
    hparams = hparams_of(VOXCELEB / "pseudo_labels_mini.yaml", data)
    hparams["modules"]["gate"] = gate
    take_step(hparams, monkeypatch)


def test_label_correction(data):
    """Its own part: the step chooses rows by value, and says why it waits there."""
    with fake_cuda():
        labels, sure = LabelCorrection()(torch.rand(4, 5, device="cuda"))
    assert labels.device.type == sure.device.type == "cuda"


def test_bad_steps_leave_what_they_touched():
    with fake_cuda():
        norm = torch.nn.BatchNorm1d(4).to("cuda")
        for kind in (torch.optim.SGD, torch.optim.AdamW):
            optimizer = kind(norm.parameters(), lr=0.1, fused=True)
            start_momentum(optimizer)
            kept = KeptBuffers(norm)
            loss = norm(torch.rand(8, 4, device="cuda")).sum()
            finite = loss.detach().isfinite()
            kept.restore_unless(finite)
            for parameter in norm.parameters():
                parameter.grad = torch.zeros_like(parameter)
            for per_tensor in (False, True):
                length = clip_gradients(norm.parameters(), 1.0, per_tensor)
            step_if(optimizer, finite & length.isfinite())


@pytest.mark.parametrize("recipe", ["dino_mini", "dino_ecapa"])
def test_embedding(data, recipe):
    hparams = hparams_of(VOXCELEB / f"{recipe}.yaml", data)
    with fake_cuda():
        embedder = Embedder(*(hparams[part] for part in PARTS)).to("cuda").eval()
        move_constants(embedder, "cuda")
        waves = torch.zeros(2, 16000, device="cuda")
        vectors = embedder(waves, torch.tensor([16000, 12000]))
    assert vectors.device.type == "cuda"


@pytest.mark.parametrize(
    ("loaded_on", "moved_to"), [("cpu", None), ("cuda", None), ("cpu", "cuda")]
)
def test_inference_folder_on_the_device(data, loaded_on, moved_to):
    """As loaded, and after ``.to``, of which SpeechBrain's interfaces know nothing."""
    folder = str(data / "inference")
    model = SpeakerRecognition.from_hparams(folder, run_opts={"device": "cpu"})
    with fake_cuda():
        if loaded_on == "cuda":
            model.to("cuda").device = "cuda"
        if moved_to is not None:
            model.to(moved_to)
        vectors = model.encode_batch(torch.zeros(2, 16000), torch.tensor([1.0, 0.5]))
        score, _ = model.verify_batch(torch.zeros(1, 9000), torch.zeros(1, 16000))
    expected = moved_to or loaded_on
    assert vectors.device.type == score.device.type == expected


def test_clusters_of_an_epoch():
    with fake_cuda():
        vectors = torch.rand(50, 8, device="cuda")
        # Counting members has no shape that fake tensors know: rows are known here.
        with patch.object(
            torch, "bincount", lambda x, minlength: x.new_ones(minlength)
        ):
            assigned, centroids = spherical_kmeans(vectors, 5, 2)
        nearest = nearest_others(centroids, assigned.new_ones(5) > 0, 2)
    assert {x.device.type for x in (assigned, centroids, nearest)} == {"cuda"}


def test_a_loaded_model_is_on_the_cpu(data, monkeypatch):
    """Wherever SpeechBrain would put it: fine-tuning and embedding move it later."""
    monkeypatch.setattr("speechbrain.inference.interfaces.infer_device", lambda: "meta")
    embedder = load_pretrained(data / "inference").embedder
    assert {x.device.type for x in embedder.parameters()} == {"cpu"}
    hparams = hparams_of(runs.ROOT / "recipes/CREMA-D/hparams/finetune.yaml", data)
    assert hparams["classifier"].keywords == {"in_dim": 16}


def test_mistakes_are_seen():
    """The fake refuses what it is there to refuse."""
    with fake_cuda():
        there = torch.zeros(2, device="cuda")
        with pytest.raises(RuntimeError, match="two different devices"):
            there + torch.zeros(2)
        for wait in (there.sum().item, there.tolist, lambda: bool(there.sum())):
            with pytest.raises(DataDependentOutputException):
                wait()
        for wait in (there.cpu, lambda: there.to("cpu")):
            with pytest.raises(HostWaits):
                wait()
        with pytest.raises(DynamicOutputShapeException):
            there[there > 0]
