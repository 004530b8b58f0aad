"""The full-size YAMLs train as they stand, on a tiny encoder and corpus."""

import json

import pytest
import recipe_runs as runs
import torch

pytestmark = [pytest.mark.recipe, pytest.mark.usefixtures("in_this_process")]

# Crops, optimizer and head are the recipes' own.
OWN = {"head", "out_dim", "local_crops", "base_lr", "warmup_epochs"}
SSPS = {"num_clusters": 6, "queue_size": 16, "ssps_after": 0.5}
SMALL = {
    "rdino": {"out_dim": 32, "expanded_dim": 24, "warmup_epochs": 1},
    "sdpn": {"out_dim": 16, "koleo_group": 3, "warmup_epochs": 1},
    "dino_ssps": {"out_dim": 32, "hidden_dim": 16, "bottleneck_dim": 8, **SSPS},
    "simclr_ssps": {"projection_dim": 8, **SSPS},
    "vicreg": {"projection_dim": 8, "projector_dim": 16},
    "simclr": {"contrast_group": 3, "warmup_epochs": 1},
    "moco": {"projection_dim": 8, "queue_size": 16, "warmup_epochs": 1},
}


@pytest.mark.parametrize("name", SMALL)
def test_full_size_recipes_train(tiny_corpus, tmp_path_factory, tmp_path, name):
    keys = {key: value for key, value in runs.TINY.items() if key not in OWN}
    keys |= {"batch_size": 12, "number_of_epochs": 2, "validate_every": 9}
    keys |= {"ckpt_interval_steps": 0, "trial_lists": [], **SMALL[name]}
    keys["data_folder"] = str(tiny_corpus)
    keys["data_save_folder"] = str(tmp_path_factory.getbasetemp() / "full_size_data")
    keys["output_folder"] = str(tmp_path / "run")
    lines = [f"extends: {runs.RECIPE / 'hparams' / name}.yaml"]
    for key, value in keys.items():
        text = value if str(value).startswith("!") else json.dumps(value)
        lines.append(f"{key}: {text}")
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text("\n".join(lines) + "\n", encoding="utf-8")
    brain, loader = runs.make_brain(recipe)
    before = {k: v.clone() for k, v in brain.modules.student.state_dict().items()}
    brain.fit(vars(brain.hparams)["epoch_counter"], loader)
    for key, value in brain.modules.student.state_dict().items():
        if key.endswith("weight"):
            assert not torch.equal(value, before[key]), key
    epochs = [row for row in brain.curves.read() if row["kind"] == "epoch"]
    assert [row["nonfinite"] for row in epochs] == [0, 0]
    assert len(brain.optimizer.param_groups) == (3 if name == "sdpn" else 2)
