"""Fine-tuning on emotions: whole runs, the model they leave, the labels it gives."""

import json

import numpy as np
import pandas as pd
import pytest
from emotion_runs import SMALL, as_arguments, make_emotions, make_start_model
from recipe_runs import ROOT
from sklearn.metrics import accuracy_score, recall_score
from speechbrain.inference.classifiers import EncoderClassifier

from speechbrain_dino.runs.command_line import run_emotion
from speechbrain_dino.runs.finetune import weigh_classes
from speechbrain_dino.runs.label import label_audio, main


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return make_emotions(tmp_path_factory.mktemp("emotions"))


@pytest.fixture(scope="module")
def start_model(tmp_path_factory):
    return make_start_model(tmp_path_factory.mktemp("start"))


@pytest.fixture
def run(corpus, start_model, in_this_process):
    def run(output, **keys):
        yaml = ROOT / "recipes" / "CREMA-D" / "hparams" / "finetune_mini.yaml"
        small = {**SMALL, "data_folder": corpus}
        small |= {"start_model": start_model, "output_folder": output, **keys}
        return run_emotion([str(yaml), *as_arguments(small)])

    return run


def test_a_whole_run_and_what_it_leaves(run, corpus, start_model, tmp_path):
    results = run(tmp_path / "out")["finetune"]
    log = (tmp_path / "out" / "log.txt").read_text(encoding="utf-8")
    assert f"in 3 classes, training from {start_model}" in log
    folds = [tmp_path / "out" / "folds" / f"fold{k}" for k in (1, 2, 3)]
    tables = [pd.read_csv(fold / "predictions.csv") for fold in folds]
    whole = pd.concat(tables)
    assert len(whole) == 72 and whole["ID"].is_unique
    actors = [set(table["spk_id"]) for table in tables]
    assert all(len(some) == 2 for some in actors)  # and each is tested on once
    page = (tmp_path / "out" / "report" / "index.html").read_text(encoding="utf-8")
    assert "recall neutral" in page and "UAR (%)" in page
    assert (tmp_path / "out" / "report" / "confusion.png").stat().st_size > 10_000
    pooled = results["pooled"]
    uar = recall_score(whole["label"], whole["predicted"], average="macro")
    assert pooled["uar"] == pytest.approx(uar)
    accuracy = accuracy_score(whole["label"], whole["predicted"])
    assert pooled["micro_f1"] == pytest.approx(accuracy)
    assert uar > 0.6  # chance is a third; it is 1.0 whatever the seed
    assert results["classes"] == ["angry", "neutral", "sad"]
    probs = whole[["p_angry", "p_neutral", "p_sad"]].to_numpy()
    np.testing.assert_allclose(probs.sum(1), 1, atol=1e-5)

    card = (tmp_path / "out" / "inference" / "README.md").read_text(encoding="utf-8")
    assert "--data F --output F.csv" in card

    # The exported model says what the predictions of its fold say.
    model = EncoderClassifier.from_hparams(
        str(tmp_path / "out" / "inference"), run_opts={"device": "cpu"}
    )
    fold = tables[[1, 2, 3].index(int(results["exported_fold"][-1]))]
    row = fold.iloc[0]
    _, score, _, label = model.classify_file(
        str(corpus / "AudioWAV" / f"{row['ID']}.wav")
    )
    assert label == [row["predicted"]]
    assert float(score) == pytest.approx(row[f"p_{row['predicted']}"], abs=1e-3)

    labeled = label_audio(tmp_path / "out" / "inference", corpus / "AudioWAV", "cpu")
    by_name = labeled.set_index(labeled["wav"].str.extract(r"(\w+)\.wav")[0])
    for _, row in fold.iterrows():
        assert by_name.loc[row["ID"], "label"] == row["predicted"]

    before = (folds[0] / "predictions.csv").stat().st_mtime_ns
    again = run(tmp_path / "out")["finetune"]
    assert (folds[0] / "predictions.csv").stat().st_mtime_ns == before
    assert again["uar_valid"] == results["uar_valid"]


def test_training_stops_when_validation_does_not_rise(run, tmp_path):
    run(tmp_path / "out", patience=1, base_lr=1e-9, affine_lr=1e-9, main_epochs=30)
    for fold in (tmp_path / "out" / "folds").iterdir():
        rows = [
            json.loads(line)
            for line in (fold / "curves.jsonl")
            .read_text(encoding="utf-8")
            .split("\n")[:-1]
        ]
        assert max(row["epoch"] for row in rows) <= 4


def test_debug_ends_before_the_first_validation(run, tmp_path):
    results = run(tmp_path / "out", debug="yes", debug_epochs=1, validate_every=3)
    assert results["finetune"]["epochs"] == [1, 1, 1]
    assert results["finetune"]["uar_valid"] == [None] * 3
    # Another one starts over, with other values, too.
    keys = {"base_lr": 0.01, "validate_every": 1}
    results = run(tmp_path / "out", debug="yes", debug_epochs=1, **keys)
    assert None not in results["finetune"]["uar_valid"]


def test_margin_softmax_and_no_weights(run, tmp_path):
    keys = {"class_weight": "null", "main_epochs": 1}
    results = run(tmp_path / "out", **keys, from_scratch=True, copy_paste="null")
    assert len(results["finetune"]["fold_names"]) == 3


@pytest.mark.parametrize(
    "keys, message",
    [
        ({"start_model": "nowhere/at/all"}, "no folder nowhere/at/all"),
        ({"affine_layers": "[last]"}, "are no layers of the encoder"),
    ],
)
def test_a_mistake_gives_one_clear_message(run, tmp_path, capsys, keys, message):
    with pytest.raises(SystemExit):
        run(tmp_path / "out", **keys)
    captured = capsys.readouterr()
    log = (tmp_path / "out" / "log.txt").read_text(encoding="utf-8")
    assert message in captured.out + captured.err + log


def test_weights_of_classes_are_known_ones():
    with pytest.raises(ValueError, match="class_weight is 'heavy'; expected balanced"):
        weigh_classes({"class_weight": "heavy"}, np.array([0, 1]), 2)


def test_a_model_without_classes_cannot_label(start_model, corpus, tmp_path, capsys):
    arguments = {"model": start_model, "data": corpus, "output": tmp_path / "o.csv"}
    with pytest.raises(SystemExit):
        main(as_arguments(arguments))
    assert not (tmp_path / "o.csv").exists()
