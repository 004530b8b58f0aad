"""Trainings with every objective of the recipes: what they log, save and resume."""

import json
import subprocess

import pytest
import recipe_runs as runs
import torch
from process_tools import TORCHRUN

from speechbrain_dino.clustering.labels import load_labels

pytestmark = [pytest.mark.recipe, pytest.mark.usefixtures("in_this_process")]

METHODS = runs.RECIPE / "hparams" / "methods"
SMALL = {  # sizes for 24 utterances of noise
    "projection_dim": 8,
    "projector_dim": 16,
    "queue_size": 16,
    "expanded_dim": 24,
    "bottleneck_dim": 8,
    "hidden_dim": 16,
    "num_clusters": 6,
    "ssps_after": 0.33,
    "cluster_after": 0.33,
    "cluster_every": 1,
}
WITHOUT_PROTOTYPES = ("simclr", "moco", "vicreg", "byol", "simclr_ssps")
WITHOUT_TEACHER = ("simclr", "vicreg", "simclr_ssps")
TERMS = {
    "dino_cosine": {"dino", "cosine"},
    "dino_contrastive": {"dino", "koleo", "contrastive"},
    "dino_koleo": {"dino", "koleo"},
    "rdino": {"dino", "dimensions"},
    "sdpn": {"sdpn", "entropy", "koleo"},
    "dino_ssps": {"positives_found"},
    "simclr_ssps": {"positives_found"},
}
EVERY = sorted(path.stem for path in METHODS.glob("*.yaml"))


@pytest.fixture
def build(tiny_corpus, tmp_path_factory, tmp_path):
    """Builds brain and loader of a method on the tiny corpus, again at each call."""
    prepared = tmp_path_factory.getbasetemp() / "prepared_for_objectives"

    def build(method, output="run", options=(), **keys):
        parts = ["simclr"] * (method == "simclr_ssps") + [method]
        files = [METHODS / f"{part}.yaml" for part in parts]
        given = "".join(file.read_text(encoding="utf-8") for file in files)
        small = {k: v for k, v in SMALL.items() if f"\n{k}:" in given}
        if method == "sdpn":
            small |= {"out_dim": 16}
        runs.write_recipe(
            tmp_path / "tiny.yaml",
            data_folder=str(tiny_corpus),
            data_save_folder=str(prepared),
            batch_size=6,
            validate_every=3,
        )
        recipe = tmp_path / f"{method}.yaml"
        lines = [f"extends: {json.dumps(['tiny.yaml', *map(str, files)])}"]
        settings = {**small, **keys, "output_folder": str(tmp_path / output)}
        lines += [f"{key}: {written(value)}" for key, value in settings.items()]
        recipe.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return runs.make_brain(recipe, *options)

    return build


def written(value):
    plain = isinstance(value, str) and value.startswith("!")
    return value if plain else json.dumps(value)


def fit(brain, loader):
    brain.fit(vars(brain.hparams)["epoch_counter"], loader)
    return brain


@pytest.mark.parametrize("method", EVERY)
def test_every_method_trains_on_its_recipe(build, tmp_path, method):
    brain, loader = build(method)
    before = {k: v.clone() for k, v in brain.modules.student.state_dict().items()}
    fit(brain, loader)
    after = brain.modules.student.state_dict()
    moved = [k for k, v in before.items() if not torch.equal(v, after[k])]
    assert {name.split(".")[0] for name in moved} >= {"encoder", "head"}

    epochs = [row for row in brain.curves.read() if row["kind"] == "epoch"]
    assert [row["nonfinite"] for row in epochs] == [0, 0, 0]
    for row in epochs:
        assert ("ln_k" in row) is ("kl" in row) is (method not in WITHOUT_PROTOTYPES)
        assert ("teacher_distance" in row) is (method not in WITHOUT_TEACHER)
        assert row["embedding_std"] > 0 and row["effective_rank"] >= 1
        terms = {key[5:] for key in row if key.startswith("loss/")}
        assert terms == TERMS.get(method, set())
    assert 0 <= epochs[-1]["eer/veri_test"] <= 1

    saved = set(runs.states(tmp_path / "run"))
    assert {"student", "loss", "health", "optimizer"} <= saved
    assert ("teacher" in saved) is (method not in WITHOUT_TEACHER)
    evaluated = brain.embedder().embedding_model
    branch = brain.modules.student
    if method not in WITHOUT_TEACHER:
        branch = brain.modules.teacher.branch
    assert evaluated is branch.encoder


def test_half_precision_follows_float32(build):
    losses = {}
    for precision in ("fp32", "bf16"):
        brain, loader = build(
            "simclr", precision, precision=precision, number_of_epochs=1
        )
        rows = fit(brain, loader).curves.read()
        losses[precision] = [row["loss"] for row in rows if row["kind"] == "step"]
    assert losses["bf16"] == pytest.approx(losses["fp32"], rel=0.1)
    assert losses["bf16"] != losses["fp32"]


@pytest.mark.distributed
def test_two_processes_end_with_the_weights_of_one(launcher, build, tmp_path):
    head = """!new:speechbrain_dino.models.heads.DINOHead
    in_dim: !ref <embedding_dim>
    out_dim: !ref <out_dim>
    hidden_dim: 16
    bottleneck_dim: 8
    hand_out: True"""
    plain = {"head": head, "embedding_model": runs.PLAIN_ENCODER}
    build("dino_ssps", "one", **plain)  # writes the recipe, prepares the data
    recipe = tmp_path / "dino_ssps.yaml"
    run = launcher.run(recipe, "--output_folder", tmp_path / "one")
    assert run.status == 0, run.output
    command = [*TORCHRUN, "--nproc_per_node=2"]
    command += [str(runs.RECIPE / "train.py"), str(recipe)]
    done = subprocess.run(
        [*command, "--output_folder", str(tmp_path / "two")],
        env=runs.environment(),
        capture_output=True,
        text=True,
        timeout=runs.HANGS,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    one = runs.tensors(runs.states(tmp_path / "one"))
    two = runs.tensors(runs.states(tmp_path / "two"))
    compared = [k for k, v in one.items() if torch.is_tensor(v) and "health" not in k]
    assert any("assignments" in name for name in compared)
    for name in compared:
        if "share_found" not in name:  # that of the process' own utterances
            torch.testing.assert_close(
                two[name], one[name], rtol=1e-4, atol=1e-5, msg=name
            )


class Stop(Exception):
    """Stands for a kill."""


@pytest.mark.parametrize(
    "method, stop",  # after 4 steps the second epoch begins, after 8 the third
    [("moco", 5), ("dino_ssps", 7), ("simclr_ssps", 11), ("dino_cluster", 11)],
)
def test_a_run_that_was_stopped_ends_with_the_same_bits(
    build, monkeypatch, tmp_path, method, stop
):
    whole = fit(*build(method, "whole"))
    assert whole.optimizer_step == 12
    brain, loader = build(method, "stopped")
    fit_batch, seen = brain.fit_batch, []

    def stopped(batch):
        seen.append(1)
        if len(seen) > stop:
            raise Stop
        return fit_batch(batch)

    monkeypatch.setattr(brain, "fit_batch", stopped)
    with pytest.raises(Stop):
        fit(brain, loader)
    fit(*build(method, "stopped"))
    expected = runs.tensors(runs.states(tmp_path / "whole"))
    resumed = runs.tensors(runs.states(tmp_path / "stopped"))
    assert set(resumed) == set(expected)
    for name, value in expected.items():
        if torch.is_tensor(value):
            assert torch.equal(resumed[name], value), name
    figures = [
        [
            {k: v for k, v in row.items() if k not in ("wait", "utt_per_s")}
            for row in rows
        ]
        for rows in (runs.curves(tmp_path / "whole"), runs.curves(tmp_path / "stopped"))
    ]
    assert figures[0] == figures[1]


def test_positives_of_other_utterances_are_found(build):
    brain = fit(*build("dino_ssps", num_clusters=3))
    shares = [
        r["loss/positives_found"] for r in brain.curves.read() if r["kind"] == "epoch"
    ]
    # The first epoch of three collects; then every utterance has its cluster.
    assert shares[0] == 0 and shares[1] > 0.3 and shares[2] > 0.3
    assert brain.modules.loss.references.embeddings.any(1).all()


def test_clusters_are_recomputed_and_put_in_force(build, tmp_path):
    brain = fit(*build("dino_cluster", num_clusters=5))
    folder = tmp_path / "run" / "clusters"
    epochs = sorted(path.parent.name for path in folder.glob("*/labels.csv"))
    # A third of the epochs goes without.
    assert epochs == ["epoch_0002", "epoch_0003"]
    data = brain.loader.dataset
    labels = load_labels(folder / "epoch_0003", data.manifest.ids)
    assert len(set(labels)) == 5
    sizes = [int((labels == label).sum()) for label in labels]
    assert data.partners.size.tolist() == sizes


def test_fixed_clusters_and_their_mistakes(build, tiny_corpus, tmp_path):
    labels = runs.write_labels(tmp_path / "labels", tiny_corpus)
    brain = fit(*build("dino_cluster", cluster_labels=str(labels)))
    assert brain.loader.dataset.partners.size.tolist() == [4] * 24
    brain, loader = build("dino_cluster", "other", cluster_labels="nowhere.csv")
    with pytest.raises(SystemExit):
        fit(brain, loader)


def test_too_many_clusters_stop_before_training(build):
    brain, loader = build("dino_ssps", num_clusters=20)
    with pytest.raises(SystemExit):
        fit(brain, loader)
    assert not brain.curves.read()


def recorded(brain, monkeypatch):
    """What ``features`` is asked for: (crops, whether augmented)."""
    asked, features = [], brain.features

    def recording(view, draws=None):
        asked.append((len(view), draws is not None))
        return features(view, draws)

    monkeypatch.setattr(brain, "features", recording)
    return asked


@pytest.mark.parametrize(
    "keys, asked, shapes",
    [
        ({}, [(2, True), (2, True)], (4, 2, 2)),
        ({"teacher_clean": True}, [(2, True), (2, True), (2, False)], (4, 2, 2)),
        ({"student_crops": "local"}, [(2, True), (2, True)], (2, 2, 0)),
        (
            {"student_crops": "local", "teacher_clean": True, "global_crops": 1},
            [(2, True), (1, False)],
            (2, 1, 0),
        ),
    ],
)
def test_who_hears_what_is_a_key(build, monkeypatch, keys, asked, shapes):
    brain, loader = build("dino_koleo", number_of_epochs=1, **keys)
    requests = recorded(brain, monkeypatch)
    batch = next(iter(loader)).to(brain.device)
    views = brain.compute_forward(batch, None)
    assert requests == asked
    assert (len(views.student), len(views.teacher), views.shared) == shapes
    assert torch.equal(views.items, batch.items)
    assert brain.compute_objectives(views, batch, None).loss.isfinite()


@pytest.mark.parametrize(
    "method, keys, message",
    [
        ("simclr", {"student_crops": "local"}, "needs a teacher"),
        (
            "dino_koleo",
            {"student_crops": "local", "local_crops": 0},
            "local_crops above 0",
        ),
        (
            "dino_koleo",
            {"student_crops": "some"},
            "student_crops: some: expected all or local",
        ),
        ("simclr", {"global_crops": 1, "local_crops": 0}, "two crops in all"),
    ],
)
def test_crops_that_do_not_fit_are_named(build, capsys, method, keys, message):
    with pytest.raises(SystemExit) as stopped:
        build(method, **keys)
    assert message in capsys.readouterr().out + str(stopped.value.code)
