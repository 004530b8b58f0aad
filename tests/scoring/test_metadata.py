"""Metadata of utterances, read from several kinds of tables."""

import numpy as np
import pandas as pd
import pytest

from speechbrain_dino.scoring.conditions import (
    categories,
    describe,
    read_metadata,
    trial_conditions,
)

IDS = ["id1/a/1.wav", "id1/b/1.wav", "id2/a/1.wav", "id3/a/1.wav"]


def test_a_table_by_utterance_fills_the_speakers_others(tmp_path):
    path = tmp_path / "u.csv"
    path.write_text(
        "split,spk,path,gender,mood\n"
        "test,id1,wav/id1/a/1.flac,f,happy\ntest,id1,wav/id1/x/1.flac,f,sad\n"
        "test,id2,wav/id2/a/1.flac,m,sad\n",
        encoding="utf-8",
    )
    table = describe(IDS, metadata=read_metadata(path))
    assert table["speaker"].tolist() == ["id1", "id1", "id2", "id3"]
    assert table["session"].tolist() == ["id1/a", "id1/b", "id2/a", "id3/a"]
    assert table["gender"].tolist() == ["f", "f", "m", ""]
    assert table["mood"].tolist() == ["happy", "", "sad", ""]
    assert categories(table) == ["gender", "mood"]


def test_voxceleb1s_own_table(tmp_path):
    path = tmp_path / "vox1_meta.csv"
    path.write_text(
        "VoxCeleb1 ID\tGender\tNationality\nid1\tf\tUK\nid2\tm \tUK\n", encoding="utf-8"
    )
    table = describe(IDS, metadata=read_metadata(path))
    assert table["gender"].tolist() == ["f", "f", "m", ""]
    assert categories(table) == ["gender"]


def test_a_column_of_speakers_goes_before_the_names():
    metadata = pd.DataFrame(
        {"gender": ["f", "m"], "ID": ["u1.wav", "u2.wav"], "speaker": ["ann", "bob"]}
    )
    table = describe(["u2.flac", "u1.flac", "u3.flac"], metadata=metadata)
    assert table["speaker"].tolist() == ["bob", "ann", "u3.flac"]
    assert table["gender"].tolist() == ["m", "f", ""]


def test_a_table_of_others_is_refused():
    with pytest.raises(ValueError, match=r"no column of the metadata \(x\) names an"):
        describe(IDS, metadata=pd.DataFrame({"x": ["id9"]}))


def test_trials_are_sorted_by_both_sides():
    table = describe(IDS)
    table["gender"] = ["f", "f", "m", ""]
    table["seconds"] = [1.0, 5.0, 3.0, 20.0]
    kinds = trial_conditions(table, np.array([0, 0, 1, 3]), np.array([1, 2, 1, 1]))
    assert kinds["gender"].tolist() == ["f", "different", "f", ""]
    assert kinds["session"].tolist() == ["different", "different", "same", "different"]
    assert kinds["duration"].tolist() == ["< 2 s", "< 2 s", "4-8 s", "4-8 s"]


def test_lines_of_other_files_are_not_taken(tmp_path):
    """Clean and degraded copies of an utterance have lines of their own."""
    path = tmp_path / "u.csv"
    path.write_text(
        "\ufeffpath,noise\nwav/id1/a/1.flac,none\nwav_degraded/id1/a/1.flac,street\n"
        "other/id2/a/1.flac,fan\nx/id3/a/1.flac,rain\ny/id3/a/1.flac,car\n",
        encoding="utf-8",
    )
    ids = ["wav_degraded/id1/a/1.flac", "wav/id1/a/1.wav", "/data/wav/id1/a/1.wav"]
    ids += ["id2/a/1.wav", "wav/id2/a/1.wav", "id3/a/1.wav"]
    table = describe(ids, metadata=read_metadata(path))
    assert table["noise"].tolist() == ["street", "none", "none", "fan", "", ""]


def test_what_is_no_table_is_named(tmp_path):
    for content in (b"", b"speaker,gender\nid1,\xe9\n", b'speaker,gender\n"id1,f\n\n'):
        path = tmp_path / "meta.csv"
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"meta\.csv is no"):
            read_metadata(path)
