"""The verification recipe: every list, every way, the right figures."""

import json
import runpy
import shutil
import sys
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import soundfile
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
from speechbrain_dino.utils.ownership import claim


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


def contents(folder):
    """Bytes of all files."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.recipe
@pytest.mark.parametrize("taken", ["report", "scores", "calibration"])
def test_a_folder_of_the_users_is_left_alone(
    arguments, tmp_path, in_this_process, own_argv, caplog, taken
):
    mine = tmp_path / "out" / taken / "mine.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("my own", encoding="utf-8")
    for wrong in ({}, {"trial_lists": "[missing.txt]"}):  # also when it would fail
        with pytest.raises(SystemExit) as stopped:
            verify(arguments | wrong)
        assert f"{mine.parent} is in the way" in stopped.value.code
        assert contents(tmp_path / "out") == {mine: b"my own"}


@pytest.mark.recipe
def test_a_trainings_folder_is_left_alone(
    arguments, tmp_path, in_this_process, own_argv, caplog
):
    out = tmp_path / "out"
    claim(out, "training")
    for name in ("results.json", "hyperparams.yaml", "scores/a.txt", "data/train.csv"):
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).write_text("of the training", encoding="utf-8")
    before = contents(out)
    with pytest.raises(SystemExit) as stopped:
        verify(arguments)
    assert "holds files of a training" in stopped.value.code
    assert contents(out) == before


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


def content(path):
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.recipe
def test_ways_fail_alone_and_absent_files_are_skipped(
    arguments, tmp_path, tiny_corpus, in_this_process, own_argv, capfd
):
    """A cohort that PLDA cannot learn from; a list of which one file is absent."""
    out = tmp_path / "out"
    verify(arguments | {"trial_lists": "[veri_test.txt]"})
    plain = content(out / "results.json")
    assert (plain["ways_left_out"], plain["skipped_trials"]) == ({}, {})
    train = pd.read_csv(out / "data" / "train.csv", dtype=str)
    cohort = tmp_path / "cohort.csv"
    train.drop_duplicates("spk_id").to_csv(cohort, index=False)
    lines = (tiny_corpus / "veri_test.txt").read_text(encoding="utf-8").splitlines()
    more = [f"0 {lines[0].split()[1]} id99999/s/{n}.wav" for n in range(2)]
    partly = tmp_path / "partly.txt"
    partly.write_text("\n".join([more[0], *lines, more[1]]) + "\n", encoding="utf-8")
    wanted = arguments | {"trial_lists": f"[{partly}]", "cohort": cohort}
    with pytest.raises(SystemExit):
        verify(wanted)
    text = "".join(capfd.readouterr())
    assert "partly.txt:1: no file is there for 'id99999/s/0.wav', 'id99999/s/1" in text
    assert f"in 2 of {len(lines) + 2} trials" in text
    verify(wanted | {"skip_missing": True, "cohort_by": "speaker"})
    results = content(out / "results.json")
    assert list(results["scorings"]) == ["cosine", "mean", "s_norm", "as_norm"]
    why = "at least one speaker with two utterances"
    assert why in results["ways_left_out"]["plda"]
    metrics = results["verification"]["partly"]
    assert (metrics["trials"], metrics["skipped"]) == (len(lines), 2)
    assert metrics["eer"] == plain["verification"]["veri_test"]["eer"]
    assert results["skipped_trials"]["partly"]["trials"] == 2
    text = "".join(capfd.readouterr())
    table = text[text.index("list scoring") :]
    assert why in table and "skipped" in table
    page = (out / "report" / "index.html").read_text(encoding="utf-8")
    assert "plda is left out" in page
    assert f"2 of {len(lines) + 2} trials of partly are left out" in page


@pytest.mark.recipe
def test_lists_that_cannot_be_scored_cost_no_embedding(
    arguments, tmp_path, tiny_corpus, in_this_process, own_argv, monkeypatch, capfd
):
    def nothing_to_embed(*arguments, **options):
        raise AssertionError("embedded")

    monkeypatch.setattr(embedding_folder, "embed_parts", nothing_to_embed)
    text = (tiny_corpus / "veri_test.txt").read_text(encoding="utf-8")
    targets = [line for line in text.splitlines() if line[0] == "1"]
    (tmp_path / "same.txt").write_text("\n".join(targets), encoding="utf-8")
    (tmp_path / "known").mkdir()
    hard = tmp_path / "known" / "list_test_hard2.txt"
    hard.write_text("\ufeff" + text, encoding="utf-8")
    said = {"trained_on": {"vox1/dev": {"utterances": 9, "speakers": 3}}}
    (tmp_path / "run" / "data").mkdir()
    (tmp_path / "run" / "data" / "prepare.json").write_text(json.dumps(said), "utf-8")
    for name, message in (
        (tmp_path / "same.txt", "same.txt: all trials are target trials (one speaker)"),
        (
            hard,
            "trained on speakers of the trial lists (list_test_hard2: VoxCeleb1",
        ),
    ):
        with pytest.raises(SystemExit) as stopped:
            verify(arguments | {"trial_lists": f"[{name}]"})
        assert stopped.value.code == 1
        assert message in "".join(capfd.readouterr())


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
def test_a_silent_file_stops_the_run_or_its_trials_are_left_out(
    arguments, tmp_path, tiny_corpus, in_this_process, own_argv, capsys
):
    corpus = tmp_path / "corpus"
    shutil.copytree(tiny_corpus, corpus)
    trials = read_trials(corpus / "veri_test.txt")
    name = trials.test[0]
    (path,) = corpus.rglob(name)
    soundfile.write(path, np.zeros(soundfile.info(path).frames), 16000)
    options = {
        "data_folder": corpus,
        "trial_lists": "[veri_test.txt]",
        "metadata": "null",
    }
    with pytest.raises(SystemExit):
        verify(arguments | options)
    printed = capsys.readouterr()
    assert f"audio of '{name}' is bad (silent)" in printed.out + printed.err
    verify(arguments | options | {"on_bad": "skip"})
    out = tmp_path / "out"
    results = json.loads((out / "results.json").read_text(encoding="utf-8"))
    pairs = zip(trials.enrol, trials.test)
    kept = [k for k, pair in enumerate(pairs) if name not in pair]
    assert results["bad_audio"] == {name: "silent"}
    left_out = len(trials.enrol) - len(kept)
    assert results["trials_left_out"] == {"veri_test": left_out} and left_out
    for folder in ("scores", "scores/as_norm"):
        written = pd.read_csv(out / folder / "veri_test.txt", sep=" ", header=None)
        assert written[2].tolist() == [trials.test[k] for k in kept]
        assert np.isfinite(written[3]).all()


@pytest.mark.recipe
def test_lists_without_a_kind_of_trial_after_bad_audio_are_left_out(
    arguments, tmp_path, tiny_corpus, in_this_process, own_argv, capsys
):
    corpus = tmp_path / "corpus"
    shutil.copytree(tiny_corpus, corpus)
    trials = read_trials(corpus / "veri_test.txt")
    target = next(k for k in range(len(trials.enrol)) if trials.labels[k])
    pair = trials.enrol[target], trials.test[target]
    others = [
        f"{label} {a} {b}"
        for label, a, b in zip(trials.labels, trials.enrol, trials.test)
        if pair[0] not in (a, b)
    ]
    lines = {"one": [f"1 {' '.join(pair)}", *others], "none": [" ".join(pair)]}
    lines["one"] = [line for line in lines["one"] if pair[0] in line or line[0] == "0"]
    lines["good"] = others
    for name, content in lines.items():
        (corpus / f"{name}.txt").write_text("\n".join(content) + "\n")
    (path,) = corpus.rglob(pair[0])
    soundfile.write(path, np.zeros(soundfile.info(path).frames), 16000)
    options = arguments | {"data_folder": corpus, "metadata": "null"}
    options |= {"on_bad": "skip"}
    verify(options | {"trial_lists": "[one, none, good]"})
    out = tmp_path / "out"
    results = json.loads((out / "results.json").read_text(encoding="utf-8"))
    assert list(results["verification"]) == ["good"]
    assert results["verification"]["good"]["trials"] == len(others)
    why = results["lists_left_out"]
    assert "all trials are nontarget trials" in why["one"]
    assert "no trial is left" in why["none"]
    assert [path.name for path in (out / "scores").glob("*.txt")] == ["good.txt"]
    with pytest.raises(SystemExit):
        verify(options | {"trial_lists": "[one, none]"})
    printed = capsys.readouterr()
    assert "no list can be scored" in printed.out + printed.err


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
