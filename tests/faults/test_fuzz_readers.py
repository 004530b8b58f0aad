"""Whatever is in a file, its reader returns or names the file in an error of the user.

``make faults`` tries 10,000 damaged files of each kind.
"""

import json

import pytest
from damage import damaged, many
from hypothesis import given, strategies as st

from speechbrain_dino.clustering.labels import (
    load_labels,
    read_summary as read_clustering,
)
from speechbrain_dino.corpora.crema_d_tables import read_people, read_votes
from speechbrain_dino.corpora.iemocap import read_evaluation
from speechbrain_dino.corpora.msp_podcast import read_labels
from speechbrain_dino.data.fold_makers import group_kfold
from speechbrain_dino.data.folds import read_folds, write_folds
from speechbrain_dino.data.manifest import Manifest
from speechbrain_dino.data.trials import read_scores, read_trials
from speechbrain_dino.scoring.conditions import describe, read_metadata

USER_ERRORS = (ValueError, OSError)  # what commands end with a line of text

MANIFEST = "ID,duration,wav,start,stop,spk_id,emotion\n" + "".join(
    f"u{n},1.5,/data/{n}.wav,0,24000,s{n // 2},{('sad', 'calm')[n % 2]}\n"
    for n in range(8)
)
IDS = [f"u{n}" for n in range(8)]


def folds_of(path):
    return read_folds(path, manifest(path.parent))


def manifest(folder):
    whole = folder / "whole.csv"
    whole.write_text(MANIFEST, encoding="utf-8")
    return Manifest.from_csv(whole)


def metadata_of(path):
    return describe([f"id1/s/{n}.wav" for n in range(3)], metadata=read_metadata(path))


EVALUATION = """% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]

[6.2901 - 8.2357]\tSes01F_impro01_F000\tneu\t[2.5000, 2.5000, 2.5000]
C-E2:\tNeutral;\t()

[10.0100 - 11.3925]\tSes01F_impro01_F001\tang\t[2.5000, 2.5000, 2.5000]
"""
MSP = {
    f"MSP_{n}.wav": {
        "EmoClass": "A", "EmoAct": 4.2, "EmoVal": 2.0, "EmoDom": 3.0, "SpkrID": 7,
        "Gender": "Male", "Split_Set": "Train",
    }
    for n in range(2)
}  # fmt: skip
MSP_CSV = (
    "FileName,EmoClass,EmoAct,EmoVal,EmoDom,SpkrID,Gender,Split_Set\n"
    "MSP_0.wav,A,4.2,2.0,3.0,7,Male,Train\nMSP_1.wav,N,1,2,3,8,Female,Test1\n"
)
READERS = {
    "trials.txt": (read_trials, "1 a.wav b.wav\n0 a.wav c.wav\n1 b.wav d.wav\n"),
    "scores.txt": (read_scores, "a.wav b.wav 0.5 target\nc.wav d.wav 0.1 nontarget\n"),
    "train.csv": (Manifest.from_csv, MANIFEST),
    "labels.csv": (lambda path: load_labels(path, IDS),
                   "ID,label\n" + "".join(f"u{n},{n % 3}\n" for n in range(8))),
    "clustering.json": (lambda path: read_clustering(path.parent), '{"clusters": 3}'),
    "metadata.csv": (metadata_of,
                     "file,speaker,gender\nid1/s/0.wav,id1,f\nid1/s/1.wav,id1,f\n"),
    "VideoDemographics.csv": (read_people,
                              "ActorID,Age,Sex\n1001,51,Male\n1002,21,F\n"),
    "summaryTable.csv": (lambda path: read_votes(path, "VoiceVote"),
                         '"FileName","VoiceVote"\n"1001_DFA_ANG_XX","A"\n'
                         '"1001_DFA_SAD_XX","S:N"\n'),
    "Ses01F_impro01.txt": (read_evaluation, EVALUATION),
    "labels_consensus.json": (read_labels, json.dumps(MSP)),
    "labels_consensus.csv": (read_labels, MSP_CSV),
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


def read(reader, path, content):
    """Reads ``content`` from ``path``; an error must name the file."""
    path.write_bytes(content)
    try:
        reader(path)
    except USER_ERRORS as error:
        assert path.name in str(error) or path.stem in str(error), (error, content)
        assert "\n" not in str(error).rstrip() or len(str(error)) < 2000


@pytest.mark.parametrize("name", READERS)
def test_the_whole_file_is_read(folder, name):
    reader, content = READERS[name]
    (folder / name).write_text(content, encoding="utf-8")
    reader(folder / name)


@pytest.mark.parametrize("name", READERS)
def test_a_damaged_file_is_read_or_named(folder, name):
    reader, content = READERS[name]

    @many
    @given(damaged(content.encode()))
    def attempt(data):
        read(reader, folder / name, data)

    attempt()


def test_damaged_folds(folder):
    whole = manifest(folder)
    folds = group_kfold(whole, num_folds=2, strata=None, labels=["sad", "calm"])
    write_folds(folder / "folds.json", folds, whole, ["sad", "calm"])
    content = (folder / "folds.json").read_bytes()
    assert len(folds_of(folder / "folds.json")) == 2

    @many
    @given(damaged(content))
    def attempt(data):
        read(folds_of, folder / "folds.json", data)

    attempt()


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["folds", "name", "train", "labels", "group"]), inner
        )
    ),
    max_leaves=8,
)


@many
@given(JSON)
def test_folds_that_are_other_json(tmp_path_factory, content):
    folder = tmp_path_factory.getbasetemp()
    read(folds_of, folder / "folds.json", json.dumps(content).encode())
