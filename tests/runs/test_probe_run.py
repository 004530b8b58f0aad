"""A whole run of the probe on a small corpus."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from hyperpyyaml import load_hyperpyyaml
from recipe_runs import ROOT
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, recall_score
from sklearn.preprocessing import StandardScaler

from speechbrain_dino.data.fold_makers import read_folds
from speechbrain_dino.data.manifest import Manifest
from speechbrain_dino.embeddings.export import export_inference_folder
from speechbrain_dino.embeddings.table import EmbeddingTable
from speechbrain_dino.models.embedder import Embedder
from speechbrain_dino.runs.command_line import launched, run_emotion
from speechbrain_dino.runs.probe import run_probe
from speechbrain_dino.utils.checked_json import read_checked

MODEL = """
compute_features: !new:speechbrain.lobes.features.Fbank
    n_mels: 16
mean_var_norm: !new:speechbrain_dino.models.features.MeanNorm
embedding_model: !new:speechbrain.lobes.models.ECAPA_TDNN.ECAPA_TDNN
    input_size: 16
    channels: [8, 8, 8, 8, 16]
    kernel_sizes: [5, 3, 3, 3, 1]
    dilations: [1, 2, 3, 4, 1]
    attention_channels: 4
    se_channels: 4
    res2net_scale: 2
    lin_neurons: 8
"""
RECIPE = f"""
extends: {ROOT}/recipes/CREMA-D/hparams/probe.yaml
classes: [angry, sad]
demographics: null
num_folds: 3
valid_actors: 2
allow_missing: True
workers: 1
bootstrap: 50
"""
EMOTIONS = {"ANG": 0.9, "SAD": 0.2}


def make_corpus(folder):
    """Noise whose low-pass tells the emotion, blurred by chance; 9 actors."""
    rng = np.random.default_rng(0)
    (folder / "AudioWAV").mkdir(parents=True)
    sentences = "IEO", "DFA", "IOM"
    for actor, sentence, (code, pole) in product(
        range(1001, 1010), sentences, EMOTIONS.items()
    ):
        pole = np.clip(pole + 0.25 * rng.standard_normal(), 0.0, 0.95)
        samples = rng.standard_normal(9600)
        for n in range(1, len(samples)):
            samples[n] += pole * samples[n - 1]
        samples *= 0.1 / samples.std()
        name = f"{actor}_{sentence}_{code}_XX.wav"
        soundfile.write(folder / "AudioWAV" / name, samples, 16000)
    return folder


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """Corpus, model and recipe."""
    folder = tmp_path_factory.mktemp("probe")
    make_corpus(folder / "corpus")
    (folder / "model.yaml").write_text(MODEL, encoding="utf-8")
    torch.manual_seed(0)  # whatever was tested before
    parts = load_hyperpyyaml(MODEL)
    export_inference_folder(folder, folder / "model.yaml", Embedder(*parts.values()))
    (folder / "tiny.yaml").write_text(RECIPE, encoding="utf-8")
    return folder


@pytest.fixture
def run(inputs, in_this_process):
    def start(*options, model=inputs / "inference", output=inputs / "out"):
        return run_emotion(
            [
                str(inputs / "tiny.yaml"),
                f"--data_folder={inputs / 'corpus'}",
                f"--model={model}",
                f"--output_folder={output}",
                "--device=cpu",
                *options,
            ]
        )

    return start


def expected(vectors, targets, folds, chosen):
    """True and predicted classes of all test parts, by scikit-learn."""
    true, predicted = [], []
    for fold, value in zip(folds, chosen):
        scaler = StandardScaler().fit(vectors[fold.train])
        model = LogisticRegression(
            C=value, class_weight="balanced", tol=1e-8, max_iter=5000
        ).fit(scaler.transform(vectors[fold.train]), targets[fold.train])
        true.extend(targets[fold.test])
        predicted.extend(model.predict(scaler.transform(vectors[fold.test])))
    return true, predicted


def test_figures_are_those_of_scikit_learn(run, inputs):
    results = run()
    output = inputs / "out"
    assert read_checked(output / "results.json") == results
    probe = results["probe"]["emotion"]
    assert list(probe["systems"]) == [
        "chance",
        "majority",
        *(
            f"{s}, {n}"
            for s in ("trained", "untrained")
            for n in ("embedding", "pooled", "both")
        ),
        "mfcc",
    ]
    manifest = Manifest.from_csv(output / "data" / "utterances.csv")
    folds = read_folds(output / "data" / "folds.json", manifest)
    targets = np.array([str(name) for name in manifest.column("emotion")])
    assert len(folds) == 3 and len(manifest) == 54
    for system, source, columns in (
        ("trained, embedding", "trained", slice(0, 8)),
        ("trained, pooled", "trained", slice(8, None)),
        ("untrained, both", "untrained", slice(None)),
        ("mfcc", "mfcc", slice(None)),
    ):
        table = EmbeddingTable.load(output / "embeddings" / source)
        assert table.ids == list(manifest.ids)
        vectors = table.vectors[:, columns].astype(np.float64)
        of_system = probe["systems"][system]
        assert of_system["dimensions"] == vectors.shape[1]
        true, guess = expected(vectors, targets, folds, of_system["chosen"])
        figures = {
            "uar": recall_score(true, guess, average="macro"),
            "micro_f1": accuracy_score(true, guess),
            "macro_f1": f1_score(true, guess, average="macro"),
        }
        assert of_system["pooled"] == pytest.approx(figures)
        assert of_system["confusion"] == confusion_matrix(true, guess).tolist()
        low, high = of_system["intervals"]["uar"]
        assert low <= figures["uar"] <= high
    # The noise tells the classes apart; what does not listen is at the floor.
    assert probe["systems"]["mfcc"]["pooled"]["uar"] > 0.75
    assert probe["systems"]["majority"]["pooled"]["uar"] == 0.5
    of_sources = {n: s for n, s in probe["systems"].items() if "source" in s}
    highest = max(s["validation"] for s in of_sources.values())
    assert of_sources[probe["best_in_validation"]]["validation"] == highest
    for source, layer in probe["best_layers"].items():
        own = {
            s["layer"]: s["validation"]
            for s in of_sources.values()
            if s["source"] == source
        }
        assert own[layer] == max(own.values())
    for fold in folds:
        counts = probe["folds"][fold.name]["test"]
        assert counts["all"] == len(fold.test) == counts["angry"] + counts["sad"]
        assert counts["speakers"] == 3
    page = (output / "report" / "index.html").read_text(encoding="utf-8")
    assert "data:image/png;base64" in page and probe["best_in_validation"] in page


def test_a_second_run_takes_the_embeddings_and_ends_the_same(run, inputs, monkeypatch):
    first = run()["probe"]

    def never(*arguments, **options):
        raise AssertionError("embedded again")

    monkeypatch.setattr("speechbrain_dino.embeddings.cache.embed_parts", never)
    assert run()["probe"] == first


def test_a_model_a_fold(run, inputs):
    """Each fold is tested with its own model, as a run with that model alone does."""
    for seed, name in enumerate(("fold1", "fold2", "fold3")):
        torch.manual_seed(seed)
        model = Embedder(*load_hyperpyyaml(MODEL).values())
        export_inference_folder(inputs / name, inputs / "model.yaml", model)
    for name in ("{fold}", "fold1", "fold2", "fold3"):
        run(model=inputs / name / "inference", output=inputs / "by_fold" / name)
    file = "predictions/emotion/trained_embedding.csv"
    predictions = pd.read_csv(inputs / "by_fold" / "{fold}" / file)
    assert len(predictions) == 54
    for name, rows in predictions.groupby("fold"):
        alone = pd.read_csv(inputs / "by_fold" / name / file)
        alone = alone[alone.fold == name]
        assert rows.predicted.tolist() == alone.predicted.tolist()
        others = inputs / "by_fold" / "fold1" / "embeddings" / "trained"
        table = EmbeddingTable.load(others)
        own = inputs / "by_fold" / "{fold}" / "embeddings" / "trained" / name
        same = np.array_equal(EmbeddingTable.load(own).vectors, table.vectors)
        assert same == (name == "fold1")


def test_a_column_that_is_not_there_is_named(run, capsys):
    with pytest.raises(SystemExit):
        run("--column=mood")
    printed = capsys.readouterr()
    assert (
        "'mood'" in printed.out + printed.err
        and "'emotion'" in printed.out + printed.err
    )


def test_bad_audio_is_left_out_of_folds_and_figures(inputs, in_this_process, capsys):
    rows = []
    for path in sorted((inputs / "corpus" / "AudioWAV").glob("*.wav")):
        actor, _, emotion, _ = path.stem.split("_")
        row = {"ID": path.stem, "duration": 0.6, "wav": str(path), "start": 0}
        rows.append(row | {"stop": 9600, "spk_id": actor, "emotion": emotion})
    for name, samples in (("silent", np.zeros(9600)), ("nan", np.full(9600, np.nan))):
        wav = inputs / f"{name}.wav"
        soundfile.write(wav, samples, 16000, subtype="FLOAT")
        rows.insert(20, rows[20] | {"ID": name, "wav": str(wav)})
    rows.append(rows[0] | {"ID": "missing", "wav": str(inputs / "nowhere.wav")})
    Manifest.from_rows(rows).to_csv(inputs / "all.csv")
    arguments = [
        str(ROOT / "recipes" / "VoxCeleb" / "hparams" / "probe.yaml"),
        f"--manifest={inputs / 'all.csv'}",
        f"--model={inputs}",
        "--column=emotion",
        "--bootstrap=0",
        "--num_folds=3",
        "--device=cpu",
    ]

    def probe(*more):
        launch, hparams = launched([*arguments, *more], "probe")
        return run_probe(launch, hparams)["probe"]["emotion"]

    results = probe(f"--output_folder={inputs / 'skipping'}")
    predicted = pd.read_csv(
        inputs / "skipping" / "predictions" / "emotion" / "trained_embedding.csv"
    )
    good = {row["ID"] for row in rows} - {"silent", "nan", "missing"}
    assert sorted(predicted["ID"]) == sorted(good)
    labels = {row["ID"]: row["emotion"] for row in rows}
    assert predicted["label"].tolist() == [labels[name] for name in predicted["ID"]]
    assert sum(fold["test"]["all"] for fold in results["folds"].values()) == len(good)
    with pytest.raises(SystemExit):
        probe(f"--output_folder={inputs / 'failing'}", "--on_bad=fail")
    assert "the audio of" in "".join(capsys.readouterr())
