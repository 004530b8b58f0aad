"""precision: auto, decided from what the hardware can do and what a run began with."""

import contextlib
import subprocess

import pytest
import recipe_runs as runs
import torch
from process_tools import TORCHRUN

from speechbrain_dino.utils import precision
from speechbrain_dino.utils.ownership import claim
from speechbrain_dino.utils.precision import (
    Bf16Support,
    bf16_support,
    choose_precision,
    measured_factor,
    resolved_precision,
    stored_precision,
)

AVX2 = Bf16Support("cpu", False)
EMULATED = Bf16Support("cpu", False, 14.2)
NATIVE = Bf16Support("cpu", True, 0.6)
T4, H100 = Bf16Support("cuda", False), Bf16Support("cuda", True)
MPS = Bf16Support("mps")


def with_cpu(monkeypatch, instructions, factor):
    """A CPU that reports and measures this."""
    monkeypatch.setattr(precision, "cpu_has_bf16", lambda: instructions)
    monkeypatch.setattr(precision, "measured_factor", lambda: factor)
    resolved_precision.cache_clear()


@pytest.fixture(autouse=True)
def _forget():
    yield
    resolved_precision.cache_clear()


# -- the decision -------------------------------------------------------------


@pytest.mark.parametrize(
    "support, chosen, reason",
    [
        (H100, "bf16", "this GPU computes it"),
        (T4, "fp16", "this GPU has no bf16 arithmetic"),
        (NATIVE, "bf16", "this CPU computes it, in 0.6 times the time of fp32"),
        (AVX2, "fp32", "this CPU has no bf16 arithmetic"),
        (EMULATED, "fp32", "this CPU emulates bf16, in 14 times the time of fp32"),
        (MPS, "fp32", "the safe choice on mps"),
    ],
)
def test_auto_takes_what_the_hardware_computes(support, chosen, reason):
    choice = choose_precision("auto", support)
    assert choice.precision == chosen and reason in choice.reason
    assert not choice.warn


@pytest.mark.parametrize(
    "stored, support, chosen, reason",
    [
        ("fp16", H100, "fp16", "this run began with it"),
        ("fp32", H100, "fp32", "this run began with it"),
        ("bf16", NATIVE, "bf16", "this run began with it"),
        ("bf16", EMULATED, "bf16", "emulates bf16, in 14 times the time of fp32"),
        ("bf16", T4, "bf16", "no bf16 arithmetic. Faster: --precision fp16"),
        ("fp16", NATIVE, "fp32", "fp16 would need a CUDA GPU; the run was computed in"),
        ("fp16", MPS, "fp32", "fp16 would need a CUDA GPU"),
    ],
)
def test_a_resumed_run_keeps_its_precision(stored, support, chosen, reason):
    choice = choose_precision("auto", support, stored)
    assert choice.precision == chosen and reason in choice.reason
    slow = chosen == "bf16" and not support.native
    assert choice.warn == (slow or chosen != stored)


@pytest.mark.parametrize("stored", [None, "fp32"])
def test_what_is_asked_for_is_obeyed(stored):
    for asked, support in (("bf16", NATIVE), ("fp16", T4), ("bf16", H100)):
        choice = choose_precision(asked, support, stored)
        assert choice.precision == asked
        assert ("computed in fp32 so far" in choice.reason) == (stored is not None)
    slow = choose_precision("bf16", EMULATED, stored)
    assert slow.precision == "bf16" and slow.warn
    assert "14 times the time of fp32. Faster: --precision fp32" in slow.reason
    assert not choose_precision("bf16", MPS).warn


def test_impossible_names_are_refused():
    with pytest.raises(ValueError, match="expected one of auto, bf16, fp16, fp32"):
        choose_precision("float16", H100)
    with pytest.raises(ValueError, match="for GPUs, and the device is cpu: take auto"):
        choose_precision("fp16", NATIVE)


# -- the look at the device ---------------------------------------------------


@pytest.mark.parametrize(
    "instructions, factor, wanted, expected",
    [
        (True, 0.6, False, Bf16Support("cpu", True, 0.6)),
        # oneDNN held to less than the CPU has.
        (True, 2.4, False, Bf16Support("cpu", False, 2.4)),
        (False, 14.0, False, Bf16Support("cpu", False, None)),
        (False, 14.0, True, Bf16Support("cpu", False, 14.0)),
    ],
)
def test_a_cpu_has_to_confirm_its_instructions(
    monkeypatch, instructions, factor, wanted, expected
):
    with_cpu(monkeypatch, instructions, factor)
    assert bf16_support("cpu", wanted) == expected


@pytest.mark.parametrize("native", [True, False])
def test_emulation_by_a_gpu_does_not_count(monkeypatch, native):
    asked = []

    def supported(including_emulation=True):
        return including_emulation or native

    def device(chosen):
        asked.append(chosen)
        return contextlib.nullcontext()

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    monkeypatch.setattr(torch.cuda, "device", device)
    assert bf16_support("cuda:1") == Bf16Support("cuda", native)
    assert asked == [torch.device("cuda:1")]


def test_the_measurement_leaves_no_trace():
    state = torch.random.get_rng_state()
    torch.set_num_threads(2)
    with torch.no_grad():
        factor = measured_factor.__wrapped__(1)
    assert factor > 0
    assert torch.get_num_threads() == 2
    assert torch.equal(torch.random.get_rng_state(), state)


def test_the_measurement_takes_the_undisturbed_ones(monkeypatch):
    seconds = {torch.float32: [9, 2, 3], torch.bfloat16: [1, 8, 70]}
    monkeypatch.setattr(
        precision, "_convolution_seconds", lambda dtype: seconds[dtype].pop()
    )
    assert measured_factor.__wrapped__(3) == 0.5


# -- embeddings ---------------------------------------------------------------


def test_slow_bf16_is_a_warning(monkeypatch, caplog):
    with_cpu(monkeypatch, False, 14.0)
    assert resolved_precision("bf16", "cpu") == "bf16"
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "14 times the time of fp32" in record.getMessage()


# -- whole runs ---------------------------------------------------------------

# Run in the training process first: its CPU reports and measures this.
CPU = """
import speechbrain_dino.utils.precision as precision
precision.cpu_has_bf16 = lambda: {}
precision.measured_factor = lambda: {}
"""
OLD, NEW = CPU.format(False, 14.0), CPU.format(True, 0.6)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory, tiny_corpus):
    folder = tmp_path_factory.mktemp("precision")
    return runs.write_recipe(
        folder / "tiny.yaml",
        data_folder=str(tiny_corpus),
        data_save_folder=str(folder / "prepared"),
        precision="auto",
    )


def trained(launcher, recipe, folder, epochs, *options, first):
    """Precision and output of a run whose results, settings and log agree on it."""
    options = ["--output_folder", folder, "--number_of_epochs", epochs, *options]
    run = launcher.run(recipe, *options, "--device=cpu", first=first)
    assert run.status == 0, run.output
    stored = stored_precision(folder / "hyperparams.yaml")
    assert runs.results(folder)["precision"] == stored
    logged = (folder / "log.txt").read_text(encoding="utf-8")
    assert f"Using training precision: `--precision={stored}`" in logged
    assert run.output.count(f"precision {stored}: ") == 1
    return stored, run.output


@pytest.mark.recipe
def test_a_run_resumes_on_another_machine(launcher, recipe, tmp_path):
    stored, output = trained(launcher, recipe, tmp_path, 1, first=NEW)
    assert stored == "bf16"
    assert "chosen as this CPU computes it, in 0.6 times" in output
    stored, output = trained(launcher, recipe, tmp_path, 2, first=OLD)
    assert stored == "bf16"
    assert "kept, this run began with it; but this CPU emulates bf16, in 14" in output
    other = ["--precision", "fp32", "--allow_changed", "precision"]
    stored, output = trained(launcher, recipe, tmp_path, 3, *other, first=OLD)
    assert stored == "fp32"
    assert "as given; the run was computed in bf16 so far" in output
    assert runs.curves(tmp_path)[-1]["epoch"] == 3


@pytest.mark.recipe
def test_auto_is_what_it_chose(launcher, recipe, tmp_path):
    """Deciding draws no random numbers and changes nothing else."""
    ends = []
    for name, cpu, options in (
        ("auto", OLD, ()),
        ("explicit auto", OLD, ("--precision=auto",)),
        ("explicit", NEW, ("--precision", "fp32")),
    ):
        folder = tmp_path / name
        stored, _ = trained(launcher, recipe, folder, 1, *options, first=cpu)
        assert stored == "fp32"
        ends.append(runs.tensors(runs.states(folder)["student"]))
    for end in ends[1:]:
        for name, value in ends[0].items():
            assert torch.equal(end[name], value), name


@pytest.mark.recipe
def test_fp16_cannot_resume_on_a_cpu(launcher, recipe, tmp_path):
    claim(tmp_path, "training")
    (tmp_path / "hyperparams.yaml").write_text(
        "seed: 1\nprecision: fp16\n", encoding="utf-8"
    )
    stored, output = trained(launcher, recipe, tmp_path, 1, first=NEW)
    assert stored == "fp32"
    assert "fp16 would need a CUDA GPU; the run was computed in fp16 so far" in output


# Every process would choose differently.
SHARED = """
import os, sys
import speechbrain_dino.utils.precision as precision
from speechbrain_dino.runs.command_line import launched
precision.cpu_has_bf16 = lambda: os.environ["RANK"] == "0"
precision.measured_factor = lambda: 0.6
launch, hparams = launched(sys.argv[1:])
line = [x for x in launch.resolved().splitlines() if x.startswith("precision")]
print(f"<{os.environ['RANK']} {line[0]} {hparams['precision']}>")
"""


@pytest.mark.distributed
def test_all_processes_take_the_choice_of_the_first(tmp_path):
    (tmp_path / "run.py").write_text(SHARED, encoding="utf-8")
    text = f"precision: auto\noutput_folder: {tmp_path / 'out'}\n"
    (tmp_path / "r.yaml").write_text(text, encoding="utf-8")
    command = [*TORCHRUN, "--nproc_per_node=2"]
    command += [str(tmp_path / "run.py"), str(tmp_path / "r.yaml")]
    done = subprocess.run(
        command, env=runs.environment(), capture_output=True, text=True, timeout=180
    )
    assert done.returncode == 0, done.stderr[-3000:]
    for rank in (0, 1):
        assert f"<{rank} precision: bf16 bf16>" in done.stdout
