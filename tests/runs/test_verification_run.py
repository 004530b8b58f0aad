"""The verification recipe: every list, every way, the right figures."""

import json
import runpy
import sys
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from recipe_runs import RECIPE
from test_pretrained import export

from speechbrain_dino.data.manifest import Manifest
from speechbrain_dino.data.trials import read_trials, trial_rows
from speechbrain_dino.embeddings import cache as embedding_folder, speech_features
from speechbrain_dino.embeddings.extract import embed
from speechbrain_dino.embeddings.pretrained import load_pretrained
from speechbrain_dino.embeddings.speech_features import with_vad
from speechbrain_dino.embeddings.table import EmbeddingTable
from speechbrain_dino.metrics.verification import eer
from speechbrain_dino.scoring.cosine import as_norm, cosine_scores


def verify(options):
    """Runs ``verify.py`` in this process."""
    sys.argv[:] = [str(RECIPE / "verify.py"), str(RECIPE / "hparams" / "verify.yaml")]
    sys.argv += ["--device", "cpu"]
    sys.argv += [text for k, v in options.items() for text in (f"--{k}", str(v))]
    runpy.run_path(sys.argv[0], run_name="__main__")


@pytest.fixture
def own_argv(monkeypatch):
    monkeypatch.setattr(sys, "argv", list(sys.argv))


@pytest.fixture
def arguments(tmp_path, tiny_corpus):
    model = export(tmp_path / "run", 1)
    second = tmp_path / "again.txt"
    second.write_text(
        (tiny_corpus / "veri_test.txt").read_text(encoding="utf-8"), encoding="utf-8"
    )
    meta = tmp_path / "meta.csv"
    meta.write_text("speaker,gender\nid00006,f\nid00007,m\n", encoding="utf-8")
    return {
        "model": model,
        "data_folder": tiny_corpus,
        "top_n": 4,
        "trial_lists": f"[veri_test.txt, {second}]",
        "metadata": meta,
        "output_folder": tmp_path / "out",
        "bootstrap": 20,
    }


@pytest.mark.recipe
def test_the_recipe(arguments, tmp_path, in_this_process, own_argv, monkeypatch):
    verify(arguments)
    out = tmp_path / "out"
    results = json.loads((out / "results.json").read_text(encoding="utf-8"))
    embedder = load_pretrained(tmp_path / "run" / "inference").embedder
    test = embed(Manifest.from_csv(out / "data" / "test.csv"), embedder)
    train = embed(Manifest.from_csv(out / "data" / "train.csv"), embedder)
    trials = read_trials(out / "data" / "trials" / "veri_test.txt")
    rows = trial_rows(test, trials)
    expected = {
        "cosine": cosine_scores(test.vectors, *rows),
        "as_norm": as_norm(test.vectors, train.vectors, *rows, top_n=4),
        "s_norm": as_norm(test.vectors, train.vectors, *rows, top_n=None),
    }
    for way, scores in expected.items():
        folder = out / "scores" / ("" if way == "cosine" else way)
        for name in ("veri_test", "again"):
            written = pd.read_csv(folder / f"{name}.txt", sep=" ", header=None)
            np.testing.assert_allclose(written[3], scores, atol=1e-3)
            figures = results["scorings"][way]["lists"][name]
            targets = trials.labels == 1
            rate = eer(written[3][targets], written[3][~targets])[0]
            assert figures["eer"] == pytest.approx(rate, abs=1e-9)
            low, high = figures["intervals"]["eer"]
            assert low <= high
    assert results["verification"] == results["scorings"]["cosine"]["lists"]
    assert results["scorings"]["as_norm"]["cohort_size"] == len(train)
    page = (out / "report" / "index.html").read_text(encoding="utf-8")
    assert "as_norm" in page and "24 utterances" in page and "gender" in page

    def nothing_to_embed(*arguments, **options):
        raise AssertionError("embedded again")

    monkeypatch.setattr(embedding_folder, "embed_parts", nothing_to_embed)
    further = {"calibration_list": "again.txt", "fuse": "[cosine, as_norm]"}
    verify(arguments | further | {"cohort": out / "data" / "train.csv"})
    again = json.loads((out / "results.json").read_text(encoding="utf-8"))
    assert again["verification"] == results["verification"]
    plain = list(results["scorings"])
    calibrated = [f"{way}_calibrated" for way in plain]
    assert list(again["scorings"]) == [*plain, *calibrated, "fusion"]
    for way in [*calibrated, "fusion"]:
        assert list(again["scorings"][way]["lists"]) == ["veri_test"]
        figures = again["scorings"][way]["lists"]["veri_test"]
        assert figures["min_cllr"] <= figures["cllr"]
        assert (out / "scores" / way / "veri_test.txt").is_file()
    assert again["scorings"]["fusion"]["systems"] == ["cosine", "as_norm"]
    page = (out / "report" / "index.html").read_text(encoding="utf-8")
    assert "learned on again, which is left out" in page and "minCllr" in page


@pytest.mark.recipe
def test_lists_that_name_every_speaker(
    arguments, tmp_path, tiny_corpus, in_this_process, own_argv, capfd
):
    names = sorted(
        p.relative_to(tiny_corpus / "wav") for p in tiny_corpus.rglob("*.wav")
    )
    lines = [
        f"{int(one.parts[0] == two.parts[0])} {one} {two}"
        for one, two in pairwise(names)
    ]
    everyone = tmp_path / "everyone.txt"
    everyone.write_text("\n".join(lines) + "\n", encoding="utf-8")
    verify(arguments | {"trial_lists": f"[{everyone}]"})
    results = json.loads(
        (tmp_path / "out" / "results.json").read_text(encoding="utf-8")
    )
    assert list(results["scorings"]) == ["cosine"]
    assert results["verification"]["everyone"]["trials"] == len(names) - 1
    text = capfd.readouterr()
    assert "The lists name every speaker" in text.err + text.out


@pytest.mark.recipe
def test_what_the_user_mends_is_one_message(
    arguments, tmp_path, in_this_process, own_argv, capfd
):
    for wrong, message in (
        ({"model": tmp_path / "no"}, "there is no folder"),
        ({"trial_lists": "[missing.txt]"}, "trial list 'missing.txt' was not found"),
        ({"metadata": tmp_path / "no.csv"}, "no.csv"),
        ({"fuse": "[cosine, mean]"}, "fuse: cosine, mean needs calibration_list"),
    ):
        with pytest.raises(SystemExit) as stopped:
            verify(arguments | wrong)
        assert stopped.value.code == 1
        text = capfd.readouterr()
        assert message in text.err + text.out
        assert "Traceback" not in text.err + text.out


@pytest.mark.recipe
def test_silence_is_left_out_where_the_yaml_says_so(
    arguments, tmp_path, in_this_process, own_argv, monkeypatch
):
    def first_half(samples, sample_rate):
        return np.array([[0, len(samples) // 2]])

    monkeypatch.setattr(speech_features, "energy_vad", first_half)
    for vad in (None, True):
        verify({**arguments, "vad": vad} if vad else arguments)
        results = json.loads((tmp_path / "out" / "results.json").read_text("utf-8"))
        assert results["vad"] == bool(vad)
    embedder = load_pretrained(tmp_path / "run" / "inference").embedder
    test = Manifest.from_csv(tmp_path / "out" / "data" / "test.csv")
    table = EmbeddingTable.load(tmp_path / "out" / "embeddings" / "test")
    expected = embed(test, with_vad(embedder, True)).vectors
    np.testing.assert_allclose(table.vectors, expected, atol=1e-4)
    assert np.abs(expected - embed(test, embedder).vectors).max() > 1e-3
