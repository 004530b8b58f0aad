"""Development trials of training speakers: who is in them, and who is trained on."""

import shutil
from collections import Counter
from itertools import combinations

import numpy as np
import pytest
import soundfile as sf
from recipe_runs import make_noises

from speechbrain_dino.corpora.voxceleb import prepare_voxceleb
from speechbrain_dino.data.manifest import Manifest
from speechbrain_dino.data.trials import read_trials
from speechbrain_dino.runs.hold_out import CLEAN, DEGRADED, hold_out, main
from speechbrain_dino.utils.ownership import NotOwnedError


@pytest.fixture
def noises(tmp_path):
    return make_noises(tmp_path / "noises")


def _held(corpus, output, **options):
    options = {"trial_lists": ["veri_test.txt"], "min_duration": 0.5} | options
    return hold_out(corpus, output, **options)


def _speakers(path):
    trials = read_trials(path)
    return {name.split("/")[0] for name in (*trials.enrol, *trials.test)}


def test_all_pairs_within_and_as_many_across(tiny_corpus, tmp_path):
    held_out = _held(tiny_corpus, tmp_path / "D", speakers=3)
    trials = read_trials(tmp_path / "D" / CLEAN)
    # four utterances each: 6 pairs of a speaker
    assert held_out == (3, 3, 12, 36)
    assert Counter(trials.labels.tolist()) == {1: 18, 0: 18}
    pairs = [frozenset(pair) for pair in zip(trials.enrol, trials.test)]
    assert len(set(pairs)) == 36
    for label, one, other in zip(trials.labels, trials.enrol, trials.test):
        assert label == (one.split("/")[0] == other.split("/")[0])
    for speaker in _speakers(trials.path):
        names = {n for n in (*trials.enrol, *trials.test) if n.startswith(speaker)}
        assert {frozenset(pair) for pair in combinations(names, 2)} <= set(pairs)


def test_recipes_train_on_nobody_who_is_listed(tiny_corpus, tmp_path):
    _held(tiny_corpus, tmp_path / "D", speakers=2)
    prepare_voxceleb(tmp_path / "D", tmp_path / "save", [CLEAN], min_duration=0.5)
    trained = Manifest.from_csv(tmp_path / "save" / "train.csv").column("spk_id")
    reported = _speakers(tiny_corpus / "veri_test.txt")
    developed = _speakers(tmp_path / "D" / CLEAN)
    everyone = {path.name for path in (tiny_corpus / "wav").iterdir()}
    assert len(developed) == len(reported) == 2
    assert set(trained) == everyone - reported - developed
    assert not reported & {path.name for path in (tmp_path / "D" / "wav").iterdir()}


def test_sessions_are_named_as_videos_are(tiny_corpus, tmp_path):
    shutil.copytree(tiny_corpus, tmp_path / "F")
    speaker = tmp_path / "F" / "wav" / "id00001"
    (speaker / "s0").rename(speaker / "-a--b--")
    _held(tmp_path / "F", tmp_path / "D", speakers=2)
    links = (tmp_path / "D" / "wav" / "id00001").glob("*/*.wav")
    sessions = ["-a--b--", "s1", "s2", "s3"]
    assert sorted(str(link.relative_to(tmp_path / "D" / "wav")) for link in links) == [
        f"id00001/{session}/00001.wav" for session in sessions
    ]


def test_the_seed_decides(tiny_corpus, tmp_path):
    lists = []
    for folder, seed in (("A", 1), ("B", 1), ("C", 2)):
        _held(tiny_corpus, tmp_path / folder, speakers=3, seed=seed)
        lists.append((tmp_path / folder / CLEAN).read_text())
    assert lists[0] == lists[1] != lists[2]


def test_degraded_test_sides(tiny_corpus, tmp_path, noises):
    options = {"speakers": 2, "noise_folder": noises, "rir_folder": noises}
    _held(tiny_corpus, tmp_path / "D", **options)
    clean, degraded = (read_trials(tmp_path / "D" / name) for name in (CLEAN, DEGRADED))
    assert degraded.enrol == clean.enrol
    assert degraded.labels.tolist() == clean.labels.tolist()
    for name, copy in set(zip(clean.test, degraded.test)):
        speaker, session, utterance = name.split("/")
        stem = utterance.removesuffix(".wav")
        assert copy == f"{speaker}/{session}_degraded/{stem}.flac"
        one, other = (sf.read(tmp_path / "D" / "wav" / n)[0] for n in (name, copy))
        assert len(one) == len(other)
        assert abs(np.corrcoef(one, other)[0, 1]) < 0.99
        # The power is kept but for the noise, 8 to 20 dB below.
        assert 0.9 < np.square(other).mean() / np.square(one).mean() < 1.5
    before = {p.name: p.read_bytes() for p in (tmp_path / "D" / "wav").rglob("*.flac")}
    _held(tiny_corpus, tmp_path / "D", **options)
    after = {p.name: p.read_bytes() for p in (tmp_path / "D" / "wav").rglob("*.flac")}
    assert before == after


def test_copies_of_an_earlier_choice_are_gone(tiny_corpus, tmp_path, noises):
    options = {"speakers": 2, "noise_folder": noises, "rir_folder": noises}
    _held(tiny_corpus, tmp_path / "D", **options)
    _held(tiny_corpus, tmp_path / "D", speakers=2, seed=2)
    assert not list((tmp_path / "D" / "wav").rglob("*.flac"))
    assert not (tmp_path / "D" / DEGRADED).exists()
    assert (tiny_corpus / "wav" / "id00000" / "s0" / "00001.wav").is_file()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"speakers": 6}, "speakers=6, but 6 of 6"),
        ({"speakers": 2, "rir_folder": "x"}, "both noise_folder and rir_folder"),
    ],
)
def test_what_cannot_be(tiny_corpus, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        _held(tiny_corpus, tmp_path / "D", **options)


def test_a_folder_of_the_users_stays(tiny_corpus, tmp_path):
    (tmp_path / "wav").mkdir()
    (tmp_path / "wav" / "mine.wav").write_text("mine")
    with pytest.raises(NotOwnedError):
        _held(tiny_corpus, tmp_path)
    assert (tmp_path / "wav" / "mine.wav").read_text() == "mine"


def test_command_line(tiny_corpus, tmp_path, capsys):
    words = ["--data_folder", str(tiny_corpus), "--output_folder", str(tmp_path / "D")]
    words += ["--trial_lists", "veri_test.txt", "--speakers", "2"]
    assert main([*words, "--min_duration", "0.5"]).speakers == 2
    with pytest.raises(SystemExit):
        main([*words[:4], "--speakers", "1"])
    assert "'1' is no integer of at least 2" in capsys.readouterr().err
