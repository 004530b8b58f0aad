"""The command that labels: a row per file, nothing lost, nothing of the user's gone."""

import os

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from speechbrain.dataio.encoder import CategoricalEncoder
from test_pretrained import export
from test_utterances import write_audio

from speechbrain_dino.embeddings import extract
from speechbrain_dino.embeddings.export_classifier import Probabilities
from speechbrain_dino.models.classifiers import LinearClassifier
from speechbrain_dino.runs.label import label_audio, main

CLASSIFIER = """
classifier: !new:speechbrain_dino.embeddings.export_classifier.Probabilities
    head: !new:speechbrain_dino.models.classifiers.LinearClassifier
        in_dim: 6
        num_classes: 3
label_encoder: !new:speechbrain.dataio.encoder.CategoricalEncoder
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """The folder of a run whose inference folder classifies."""
    run = tmp_path_factory.mktemp("model") / "run"
    folder = export(run, 1)
    yaml = folder / "hyperparams.yaml"
    text = yaml.read_text(encoding="utf-8")
    text = text.replace(
        "modules:", f"{CLASSIFIER}modules:\n    classifier: !ref <classifier>"
    )
    loadables = "".join(
        f"\n        {x}: !ref <{x}>" for x in ("classifier", "label_encoder")
    )
    text = text.replace("    loadables:", f"    loadables:{loadables}")
    yaml.write_text(text, encoding="utf-8")
    torch.manual_seed(0)
    head = Probabilities(LinearClassifier(6, 3))
    torch.save(head.state_dict(), folder / "classifier.ckpt")
    names = CategoricalEncoder()
    names.expect_len(3)
    names.update_from_iterable(["sad", "happy", "angry"], sequence_input=False)
    names.save(folder / "label_encoder.ckpt")
    return run


@pytest.fixture
def audio(tmp_path):
    folder = tmp_path / "audio"
    for number in range(4):
        write_audio(folder / f"{number}.wav", 9000 + 700 * number)
    write_audio(folder / "stereo.flac", 9000, 8000, 2)
    sound = np.random.default_rng(0).uniform(-0.5, 0.5, 8000)
    soundfile.write(folder / "canceled.wav", np.stack([sound, -sound], 1), 16000)
    soundfile.write(folder / "silent.wav", np.zeros(16000), 16000)
    (folder / "empty.wav").touch()
    (folder / "page.mp3").write_text("<html>404</html>")
    return folder


BAD = {"canceled.wav": "silent", "silent.wav": "silent"}
BAD |= {"empty.wav": "empty", "page.mp3": "unreadable"}


def run(model, data, output, *more):
    arguments = ["--model", str(model), "--data", str(data), "--device", "cpu"]
    main([*arguments, "--output", str(output), *more])
    return pd.read_csv(output, index_col="ID")


@pytest.mark.parametrize("on_bad", ["skip", "keep"])
def test_every_file_has_a_row_and_silence_no_label_unasked(
    model, audio, tmp_path, on_bad
):
    table = run(model, audio, tmp_path / "out.csv", "--on_bad", on_bad)
    assert sorted(table.index) == sorted(path.name for path in audio.iterdir())
    assert {k: v for k, v in table["status"].items() if v != "ok"} == BAD
    kept = ("canceled.wav", "silent.wav") if on_bad == "keep" else ()
    bare = set(table.index[table["label"].isna()])
    assert bare == set(BAD) - set(kept)
    assert table["score"].isna().equals(table["label"].isna())
    # The user's files, not converted copies that are gone.
    assert [table.loc[name, "wav"] for name in table.index] == [
        str(audio / name) for name in table.index
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["audio", "out.csv"]


def test_fail_ends_before_anything_is_computed(model, audio, tmp_path, caplog):
    with pytest.raises(SystemExit):
        run(model, audio, tmp_path / "out.csv", "--on_bad", "fail")
    assert "audio of 2 utterances is bad" in caplog.text  # what headers tell
    assert not (tmp_path / "out.csv").exists()


def test_the_folder_of_a_manifest_channel_and_a_single_file(model, audio, tmp_path):
    left = run(model, audio / "canceled.wav", tmp_path / "one.csv", "--channel", "left")
    right = run(model, audio, tmp_path / "all.csv", "--channel", "right")
    name = str(audio / "canceled.wav")
    assert left["status"].tolist() == ["ok"] and left.index.tolist() == [name]
    assert right.loc["canceled.wav", "label"] == left.loc[name, "label"]


def test_a_folder_in_place_of_the_table_stays(model, audio, tmp_path, caplog):
    before = sorted(path.name for path in audio.iterdir())
    with pytest.raises(SystemExit):
        run(model, audio, audio)
    assert "is a folder: --output names the CSV" in caplog.text
    assert sorted(path.name for path in audio.iterdir()) == before
    mine = tmp_path / "out.csv.parts"
    mine.mkdir()
    (mine / "recording.wav").write_text("mine")
    with pytest.raises(SystemExit):
        run(model, audio, tmp_path / "out.csv")
    assert "recording.wav is in the way" in caplog.text
    assert (mine / "recording.wav").read_text() == "mine"


def test_what_cannot_be_written_ends_before_the_work(
    model, audio, tmp_path, caplog, monkeypatch
):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setattr(extract, "embed_parts", None)  # nothing may be computed
    with pytest.raises(SystemExit):
        run(model, audio, tmp_path / "file" / "out.csv")
    assert "file" in caplog.records[-1].getMessage()


def test_a_killed_run_goes_on_and_ends_with_the_same_table(
    model, audio, tmp_path, monkeypatch
):
    whole = run(model, audio, tmp_path / "whole.csv")

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("speechbrain_dino.embeddings.cache._assemble", killed)
        with pytest.raises(KeyboardInterrupt):
            run(model, audio, tmp_path / "out.csv")
    parts = list((tmp_path / "out.csv.parts").rglob("000000.npy"))
    assert len(parts) == 1
    read = []
    monkeypatch.setattr(
        "speechbrain_dino.embeddings.extract._read_ahead",
        lambda reader, jobs, workers: iter(read.extend(jobs) or ()),
    )
    again = run(model, audio, tmp_path / "out.csv")
    assert read == []
    pd.testing.assert_frame_equal(again, whole)
    assert not (tmp_path / "out.csv.parts").exists()


def test_python_takes_waveforms(model):
    sound = np.random.default_rng(0).uniform(-0.5, 0.5, 8000).astype(np.float32)
    table = label_audio(model, [sound, 0 * sound], device="cpu")
    assert table["ID"].tolist() == ["0", "1"]
    assert table["status"].tolist() == ["ok", "silent"]
    assert table["label"].notna().tolist() == [True, False]


def test_long_recordings_take_windows(model, tmp_path, monkeypatch):
    longest = []
    forward = extract.Embedder.forward

    def seen(self, wavs, num_samples=None):
        longest.append(wavs.shape[1])
        return forward(self, wavs, num_samples)

    monkeypatch.setattr(extract.Embedder, "forward", seen)
    write_audio(tmp_path / "long.wav", 16000 * 250)
    table = label_audio(model, tmp_path / "long.wav", device="cpu")
    assert len(table) == 1
    assert max(longest) <= 120 * 16000
    assert len(longest) == 3


def test_what_is_no_table_of_labels_is_not_replaced(model, audio, tmp_path, caplog):
    recording = audio / "0.wav"
    content = recording.read_bytes()
    mine = tmp_path / "mine.csv"
    mine.write_text("my,own\n1,2\n", encoding="utf-8")
    for output in (recording, mine, audio / "new" / ".." / "0.wav"):
        with pytest.raises(SystemExit):
            run(model, audio, output)
        assert "is no table of labels" in caplog.messages[-1]
    assert recording.read_bytes() == content
    assert mine.read_text(encoding="utf-8") == "my,own\n1,2\n"
    for _ in range(2):  # its own table is replaced
        assert len(run(model, audio, tmp_path / "out.csv")) == 9
    work = tmp_path / "more.csv.parts"
    work.mkdir()
    (work / "owner.json").write_text('{"command": "label"}', encoding="utf-8")
    (work / "notes.txt").write_text("mine", encoding="utf-8")
    run(model, audio, tmp_path / "more.csv")
    assert [path.name for path in work.iterdir()] == ["notes.txt"]


def test_names_that_are_no_text_have_a_row(model, audio, tmp_path):
    name = os.fsdecode(b"caf\xe9.wav")
    try:
        (audio / name).write_bytes((audio / "0.wav").read_bytes())
    except OSError:
        pytest.skip("this file system takes UTF-8 alone")
    output = tmp_path / "out.csv"
    main(["--model", str(model), "--data", str(audio), "--output", str(output)])
    rows = pd.read_csv(output, index_col="ID", encoding_errors="surrogateescape")
    assert rows.loc[name, "status"] == "name"
    assert (rows["status"] == "ok").sum() == 5
