"""The command that embeds: tables, processes, one message for bad input."""

import json
import subprocess

import numpy as np
import pytest
import recipe_runs as runs
import soundfile
import torch
from process_tools import TORCHRUN
from test_pretrained import export
from test_utterances import write_audio

from speechbrain_dino.embeddings.table import EmbeddingTable
from speechbrain_dino.runs import label
from speechbrain_dino.runs.command_line import start_run
from speechbrain_dino.runs.embed import main
from speechbrain_dino.utils import precision
from speechbrain_dino.utils.distributed import own_device


@pytest.fixture
def audio(tmp_path):
    for number in range(6):
        write_audio(tmp_path / "audio" / f"{number}.wav", 9000 + 700 * number)
    return tmp_path / "audio"


def test_a_folder_becomes_a_table(tmp_path, audio):
    model = export(tmp_path / "run", 1)
    common = ["--model", str(model), "--data", str(audio), "--device", "cpu"]
    table = main([*common, "--output_folder", str(tmp_path / "a")])
    assert table.ids == [f"{number}.wav" for number in range(6)]
    assert table.vectors.shape == (6, 6)
    alone = [*common, "--output_folder", str(tmp_path / "b"), "--batch_seconds", "0"]
    np.testing.assert_allclose(main(alone).vectors, table.vectors, atol=1e-4)


def test_the_status_names_the_users_files(tmp_path, audio):
    """Of what was converted and turns out bad when it is read, as well."""
    model, rate = export(tmp_path / "run", 1), 22050
    soundfile.write(audio / "silent.flac", np.zeros(2 * rate), rate)
    lines = ["ID,duration,wav,start,stop"]
    for number, name in enumerate(["0.wav", "silent.flac"]):
        frames = soundfile.info(audio / name).frames
        lines.append(f"u{number},{frames / rate},{audio / name},0,{frames}")
    manifest = tmp_path / "given.csv"
    manifest.write_text("\n".join(lines) + "\n", encoding="utf-8")
    for data, name in ((audio, "silent.flac"), (manifest, "u1")):
        output = tmp_path / f"of-{name}"
        arguments = ["--model", str(model), "--data", str(data), "--device", "cpu"]
        main([*arguments, "--output_folder", str(output)])
        text = (output / "status.csv").read_text(encoding="utf-8")
        path = audio / "silent.flac"
        assert text.splitlines() == ["ID,wav,status", f"{name},{path},silent"]


def test_auto_becomes_what_the_hardware_computes(tmp_path, audio, monkeypatch):
    monkeypatch.setattr(precision, "cpu_has_bf16", lambda: False)
    precision.resolved_precision.cache_clear()
    arguments = ["--model", str(export(tmp_path / "run", 1)), "--data", str(audio)]
    arguments += ["--device", "cpu", "--output_folder", str(tmp_path / "a")]
    main([*arguments, "--precision", "auto"])
    precision.resolved_precision.cache_clear()
    about = json.loads((tmp_path / "a" / "table.json").read_text(encoding="utf-8"))
    assert about["options"]["precision"] == "fp32"


@pytest.mark.distributed
def test_processes_make_the_same_table(tmp_path, audio):
    model = export(tmp_path / "run", 1)
    arguments = ["--model", str(model), "--data", str(audio), "--device", "cpu"]
    alone = main([*arguments, "--output_folder", str(tmp_path / "a")])
    command = [
        *TORCHRUN,
        "--nproc_per_node=2",
        "-m",
        "speechbrain_dino.runs.embed",
    ]
    both = [*command, *arguments, "--output_folder", str(tmp_path / "b")]
    done = subprocess.run(
        both,
        env=runs.environment(),  # one thread, as here: the bits depend on their number
        capture_output=True,
        text=True,
        timeout=runs.HANGS,
    )
    assert done.returncode == 0, done.stderr
    together = EmbeddingTable.load(tmp_path / "b")
    assert together.ids == alone.ids
    np.testing.assert_array_equal(together.vectors, alone.vectors)


@pytest.mark.parametrize("device", ["cuda", None])
def test_more_processes_than_gpus_end_before_anything_is_loaded(
    tmp_path, monkeypatch, caplog, device
):
    """On a machine that seems to have one GPU."""
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    option = ["--device", device] if device else []
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("seed: 1\n", encoding="utf-8")
    given = ["--model", "no model", "--data", "no data", *option]
    for command, arguments in (
        (main, [*given, "--output_folder", str(tmp_path)]),
        (label.main, [*given, "--output", str(tmp_path / "labels.csv")]),
        (start_run, [str(recipe), *option]),
    ):
        caplog.clear()
        with pytest.raises(SystemExit) as stopped:
            command(arguments)
        assert stopped.value.code == 1
        assert "started 2 processes" in caplog.records[-1].getMessage()
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert own_device(device) == "cuda:1"
    assert own_device("cpu") == "cpu"
    assert own_device("cuda:0") == "cuda:0"


def test_bad_input_ends_with_one_message(tmp_path, audio, caplog):
    model = export(tmp_path / "run", 1)
    output = ["--output_folder", str(tmp_path / "o"), "--device", "cpu"]
    for wrong, message in (
        (["--model", str(tmp_path), "--data", str(audio)], "no hyperparams.yaml"),
        (["--model", str(model), "--data", "nowhere"], "nowhere does not exist"),
    ):
        with pytest.raises(SystemExit) as stopped:
            main([*wrong, *output])
        assert stopped.value.code == 1
        assert message in caplog.records[-1].getMessage()


@pytest.mark.parametrize(
    "option, value",
    [
        ("batch_seconds", "nan"),
        ("window_seconds", "-3"),
        ("sample_rate", "0"),
        ("workers", "0"),
        ("workers", "many"),
        ("device", "gpu"),
        ("device", "cuda:99"),
    ],
)
def test_a_value_that_cannot_be_is_one_message(
    tmp_path, audio, caplog, capsys, option, value
):
    given = ["--model", "M", "--data", str(audio), "--output_folder", str(tmp_path)]
    with pytest.raises(SystemExit) as stopped:
        main([*given, f"--{option}", value])
    assert stopped.value.code in (1, 2)
    message = (capsys.readouterr().err.splitlines() or caplog.messages)[-1]
    assert option in message and value in message
