"""DINO's loss, steps, encoder, features and augmentation against the originals.

``reference/dino.json`` and ``dino_ecapa.json`` hold what the code of the repositories
and commits named there gave, once, for the inputs and weights made here: no code.
"""

from functools import partial

import numpy as np
import pytest
import soundfile as sf
import torch
from test_parity_self_supervised import REFERENCE, recipe, reference
from tiny_steps import EMBEDDING, FEATURES, SGD, fill, ten_steps

from speechbrain_dino.augment.noise import AddNoise
from speechbrain_dino.corpora.noise_rir import prepare_noise_rir
from speechbrain_dino.losses.dino import DINO, DINOLoss
from speechbrain_dino.models.encoders import LResNet34
from speechbrain_dino.models.fwse_resnet import FwSEResNet34
from speechbrain_dino.models.heads import DINOHead
from speechbrain_dino.models.teacher import Teacher

RATE = 16000
UNSURE = slice(FEATURES * EMBEDDING, FEATURES * EMBEDDING + EMBEDDING)


def test_loss_gradients_and_center_of_three_steps():
    generator = np.random.default_rng(5)
    loss = DINOLoss(16)
    for expected in reference("dino")["loss"]["steps"]:
        student, teacher = (
            torch.from_numpy(generator.uniform(-1, 1, (views * 4, 16))).float()
            for views in (6, 2)
        )
        student.requires_grad_()
        value = loss(student.reshape(6, 4, 16), teacher.reshape(2, 4, 16))
        value.backward()
        assert value.item() == pytest.approx(expected["loss"], rel=1e-6)
        gradient = np.reshape(expected["gradient"], (24, 16))
        np.testing.assert_allclose(student.grad, gradient, atol=1e-7)
        np.testing.assert_allclose(loss.center, expected["center"], atol=1e-6)


def paper():
    optimizer = partial(torch.optim.Adam, lr=0.0, betas=(0.9, 0.95), amsgrad=True)
    head = DINOHead(6, 16, 8, bottleneck_dim=4)
    steps = {"rate": 0.05, "weight_decay": 0.01, "frozen_steps": 3}
    return ten_steps(DINO(16), head, optimizer, Teacher, **steps)


def wespeaker():
    head = DINOHead(6, 16, 8, bottleneck_dim=4, batch_norm=True)
    steps = {"clip": 0.3, "weight_decay": 0.01, "frozen_steps": 3}
    return ten_steps(DINO(16), head, SGD, Teacher, **steps)


@pytest.mark.parametrize("method, run", [("dino", paper), ("dino_ecapa", wespeaker)])
def test_losses_and_weights_of_ten_steps(method, run):
    losses, weights = run()
    np.testing.assert_allclose(losses, reference(method)["losses"], rtol=2e-4)
    # In front of BatchNorm a bias has no gradient: Adam makes steps of its rounding.
    sure = np.delete(np.arange(len(weights)), UNSURE)
    expected = np.array(reference(method)["weights"])
    np.testing.assert_allclose(weights[sure], expected[sure], atol=2e-3)


def test_embedding_of_lresnet34():
    """In training mode: BatchNorm keeps random weights within ReLU6's bounds."""
    encoder = fill(LResNet34(lin_neurons=16, activation="relu6"), seed=1)
    feats = np.random.default_rng(2).standard_normal((4, 40, 80)) * 3
    with torch.no_grad():
        embeddings = encoder(torch.from_numpy(feats).float()).flatten()
    expected = np.array(reference("dino")["embedding"])
    assert np.abs(embeddings.numpy() - expected).max() < 2e-3 * np.abs(expected).max()
    other = fill(LResNet34(lin_neurons=16), seed=1)
    with torch.no_grad():
        different = other(torch.from_numpy(feats).float()).flatten().numpy()
    assert np.abs(different - expected).max() > 0.02 * np.abs(expected).max()


def test_embedding_of_fwse_resnet34():
    """The one of 3.96 / 4.31 / 7.41 %, narrow, in training mode."""
    encoder = FwSEResNet34(
        40, (8, 16, 32, 64), lin_neurons=16, attention_channels=16, dropout=0.0
    )
    feats = np.random.default_rng(2).standard_normal((4, 60, 40)) * 3
    with torch.no_grad():
        embeddings = fill(encoder, seed=1)(torch.from_numpy(feats).float()).flatten()
    expected = np.array(reference("dino_cosine")["embedding"])
    assert np.abs(embeddings.numpy() - expected).max() < 2e-3 * np.abs(expected).max()


def test_features_of_three_files(voxceleb_mini):
    """Kaldi's, as the authors' code has them but for the offset and the ends."""
    stored = np.load(REFERENCE / "dino_features.npz")
    kept = ("compute_features", "mean_var_norm", "n_mels", "sample_rate", "f_max")
    built = recipe("dino", lambda key, value: key in kept)
    features, norm = built["compute_features"].eval(), built["mean_var_norm"]
    for name, expected in zip(stored["files"], stored["features"].astype(np.float32)):
        samples = sf.read(voxceleb_mini / "wav" / str(name), dtype="int16")[0]
        # Theirs has frames that begin before the crop, by the third of a hop.
        wave = torch.from_numpy(samples[8040:24000]).float()[None] / 32768
        ours, expected = norm(features(wave))[0].numpy(), expected[1:-1]
        assert np.corrcoef(ours.ravel(), expected.ravel())[0, 1] > 0.997
        apart = np.abs(ours - expected)[:, 2:]  # of the offset in front of the crop
        assert np.median(apart) < 0.06
        bands = [np.corrcoef(ours[:, b], expected[:, b])[0, 1] for b in range(2, 80)]
        assert min(bands) > 0.99


# -- augmentation: 1,000 draws ---------------------------------------------------------

TONES = {"noise": 1000, "music": 2000, "speech": 3000}
ROOMS = {"smallroom": 3, "mediumroom": 5, "largeroom": 7, "real": 9}
THEIRS = {"babble": "speech", "realroom": "real"}
DRAWS = 1000


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    """Noises that are tones of their kind; rooms whose echo has their kind's delay."""
    folder = tmp_path_factory.mktemp("sounds")
    for kind, hertz in TONES.items():
        for number in range(3):
            tone = 0.3 * np.sin(2 * np.pi * hertz * np.arange(RATE) / RATE + number)
            wav = folder / "noises" / kind / f"{number}.wav"
            wav.parent.mkdir(parents=True, exist_ok=True)
            sf.write(wav, tone, RATE)
    for kind, delay in ROOMS.items():
        room = np.zeros(20)
        room[[0, delay]] = 0.9, 0.4
        place = f"simulated_rirs/{kind}"
        if kind == "real":
            place = "real_rirs_isotropic_noises"
        for number in range(2 + delay):  # as uneven as RIRS_NOISES
            wav = folder / "rooms" / place / f"rir{number}.wav"
            wav.parent.mkdir(parents=True, exist_ok=True)
            sf.write(wav, room, RATE)
    noises, rooms = folder / "noises", folder / "rooms"
    prepare_noise_rir(folder / "data", noises, rooms, num_workers=1)
    return folder / "data"


def augmentation(method, sounds):
    kept = ("augment", "noise_prob", "reverb_prob", "noise_max_hours")
    folder = {"data_save_folder": str(sounds)}
    return recipe(method, lambda key, value: key in kept, **folder)["augment"]


def rooms_and_kinds(augment):
    """Which room and which noise each of 1,000 crops gets, "None" for none.

    An impulse shows the echo of the room, a tone of its own what was added to it.
    """
    generator = np.random.default_rng(11)
    draws = generator.random((DRAWS, augment.num_draws), dtype=np.float32)
    draws = torch.from_numpy(draws)
    impulses = torch.zeros(DRAWS, 1600)
    impulses[:, 0] = 1.0
    wet = augment(impulses, None, draws)
    echoes = wet[:, 1:10].abs() / wet[:, :1].abs()
    by_delay = {delay: kind for kind, delay in ROOMS.items()}
    rooms = [
        by_delay[int(echo.argmax()) + 1] if echo.max() > 0.2 else "None"
        for echo in echoes
    ]
    tone = torch.sin(2 * torch.pi * 5000 * torch.arange(RATE) / RATE)
    spectrum = torch.fft.rfft(augment(tone.expand(DRAWS, -1), None, draws)).abs()
    added = spectrum[:, list(TONES.values())] / spectrum[:, 5000:5001]
    kinds = [
        list(TONES)[int(row.argmax())] if row.max() > 0.02 else "None" for row in added
    ]
    return rooms, kinds


@pytest.mark.parametrize("method", ["dino", "dino_ecapa"])
def test_shares_of_rooms_and_noises(method, sounds):
    expected = reference(method)["augmentation"]
    augment = augmentation(method, sounds)
    augment.load()
    seen = rooms_and_kinds(augment)
    for names, counts in zip(seen, (expected["rooms"], expected["kinds"])):
        counts = {THEIRS.get(kind, kind): number for kind, number in counts.items()}
        assert set(names) == set(counts)
        for kind, number in counts.items():
            share = number / DRAWS
            spread = np.sqrt(2 * share * (1 - share) / DRAWS)  # of two samples
            assert abs(names.count(kind) / DRAWS - share) < 4 * spread, kind


@pytest.mark.parametrize("method", ["dino", "dino_ecapa"])
def test_ranges_of_the_snr(method, sounds):
    parts = augmentation(method, sounds).modules()
    (add,) = [part for part in parts if isinstance(part, AddNoise)]
    snr = reference(method)["augmentation"]["snr"]
    assert len(snr) == len(add.ranges)
    for kind, (lowest, mean, highest) in snr.items():
        low, high = add.ranges[THEIRS.get(kind, kind)]
        assert low <= lowest < low + 0.05 * (high - low)
        assert high - 0.05 * (high - low) < highest <= high
        assert mean == pytest.approx((low + high) / 2, abs=0.1 * (high - low))


@pytest.mark.parametrize(
    "method, first",
    [("pseudo_labels_dlg_lc", "dino_ecapa"), ("pseudo_labels_lgl", "simclr")],
)
def test_first_models_fit_what_starts_from_them(method, first):
    """Recipes whose heads name a first model start from its encoder and features."""
    kept = ("embedding_model", "embedding_dim", "compute_features", "mean_var_norm")
    kept += ("n_mels", "f_max", "sample_rate")
    one, other = (recipe(name, lambda k, _: k in kept) for name in (method, first))
    shapes = [
        {
            name: value.shape
            for name, value in part["embedding_model"].state_dict().items()
        }
        for part in (one, other)
    ]
    assert shapes[0] == shapes[1]
    wave = torch.randn(1, 64000)
    feats = [
        part["mean_var_norm"](part["compute_features"].eval()(wave))
        for part in (one, other)
    ]
    torch.testing.assert_close(*feats)
