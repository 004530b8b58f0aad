"""``--compile``: the encoders, once for all lengths, kept for the next run."""

import os
import shutil
from functools import partial
from pathlib import Path

import pytest
import recipe_runs as runs
import torch
from speechbrain.lobes.models.ECAPA_TDNN import ECAPA_TDNN

from speechbrain_dino.models.ecapa import FastECAPA
from speechbrain_dino.training import brain as brain_module
from speechbrain_dino.utils.compiled import keep_compiled

ENCODER = """!new:speechbrain_dino.models.ecapa.FastECAPA
    input_size: !ref <n_mels>
    channels: [8, 8, 12]
    kernel_sizes: [5, 3, 1]
    dilations: [1, 2, 1]
    attention_channels: 4
    se_channels: 4
    res2net_scale: 2
    lin_neurons: !ref <embedding_dim>"""

# It moves all frames' logits alike: what a softmax over frames gives back is rounding.
NO_GRADIENT = "asp.conv.conv.bias"

needs_compiler = pytest.mark.skipif(
    shutil.which(os.environ.get("CXX", "g++")) is None,
    reason="torch.compile needs a C++ compiler on the CPU: install g++ or set CXX",
)


def trained(recipe, *options):
    """A brain after two steps, and what dynamo and inductor counted."""
    torch._dynamo.reset()
    counters = torch._dynamo.utils.counters
    counters.clear()
    brain, loader = runs.make_brain(recipe, *options, "--optimizer_step_limit", 2)
    brain.fit(vars(brain.hparams)["epoch_counter"], loader)
    assert brain.optimizer_step == 2
    return brain, {kind: dict(counts) for kind, counts in counters.items()}


@pytest.mark.usefixtures("in_this_process")
def test_training_compiles_once_for_crops_of_two_lengths(
    tiny_corpus, tmp_path, monkeypatch
):
    """Traced, and computed as eagerly: the other test compiles."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "compiled"))
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    said = []
    monkeypatch.setattr(
        brain_module.logger, "info", lambda text, *args: said.append(text % args)
    )
    recipes = [
        runs.write_recipe(
            tmp_path / f"{name}.yaml",
            data_folder=str(tiny_corpus),
            data_save_folder=str(tmp_path / "prepared"),
            output_folder=str(tmp_path / name),
            embedding_model=ENCODER,
            validate_every=99,
            ckpt_interval_steps=0,
        )
        for name in ("eager", "compiled")
    ]
    eager, _ = trained(recipes[0])
    brain, counts = trained(recipes[1], "--compile")
    # Student with gradients, teacher without.
    assert counts["stats"]["unique_graphs"] == 2
    assert "graph_break" not in counts
    assert any(line.startswith("the first step, compilation incl") for line in said)
    assert str(tmp_path / "compiled") in said[0]
    states = [b.modules.student.state_dict() for b in (brain, eager)]
    assert states[0].keys() == states[1].keys()
    for name, value in states[0].items():
        if name.endswith(NO_GRADIENT):
            continue
        torch.testing.assert_close(
            value, states[1][name], atol=1e-4, rtol=1e-3, msg=name
        )


@needs_compiler
def test_a_compiled_step_is_that_of_speechbrain(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    torch._dynamo.reset()
    sizes = {"channels": [8, 8, 12], "kernel_sizes": [5, 3, 1], "dilations": [1, 2, 1]}
    sizes |= {"attention_channels": 4, "se_channels": 4, "res2net_scale": 2}
    torch.manual_seed(0)
    fast = FastECAPA(16, lin_neurons=8, **sizes)
    slow = ECAPA_TDNN(16, lin_neurons=8, **sizes)
    slow.load_state_dict(fast.state_dict())
    compiled = torch.compile(fast, dynamic=True, fullgraph=True)
    feats = torch.randn(6, 40, 16)
    for encoder in (compiled, slow):
        encoder(feats).square().sum().backward()
    gradients = dict(slow.named_parameters())
    for name, parameter in fast.named_parameters():
        expected = gradients[name].grad
        gap = (parameter.grad - expected).norm()
        if name != NO_GRADIENT:
            assert gap < 1e-3 * expected.norm(), name
    torch.testing.assert_close(compiled(feats), slow(feats), atol=1e-5, rtol=1e-4)
    assert any(tmp_path.rglob("*.so"))


def test_what_is_compiled_goes_to_the_cache_of_the_user(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    folder = tmp_path / "speechbrain_dino" / "compiled"
    assert Path(keep_compiled()) == folder
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(folder)
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "elsewhere")
    assert keep_compiled() == "elsewhere"
