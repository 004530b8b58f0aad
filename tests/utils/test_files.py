"""A reader sees the old state or the new one."""

import pytest

from speechbrain_dino.utils.files import replacing


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path):
    target = tmp_path / "a.txt"
    target.write_text("old", encoding="utf-8")
    with pytest.raises(RuntimeError), replacing(target) as draft:
        draft.write_text("half", encoding="utf-8")
        raise RuntimeError
    assert target.read_text(encoding="utf-8") == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_a_file_is_replaced_and_parents_are_made(tmp_path):
    target = tmp_path / "b" / "a.txt"
    for text in ("old", "new"):
        with replacing(target) as draft:
            draft.write_text(text, encoding="utf-8")
    assert target.read_text(encoding="utf-8") == "new"
    assert [p.name for p in target.parent.iterdir()] == ["a.txt"]


def test_a_folder_is_not_replaced_by_a_file(tmp_path):
    recordings = tmp_path / "F"
    recordings.mkdir()
    (recordings / "a.wav").write_bytes(b"speech")
    with pytest.raises(IsADirectoryError, match="F is a folder"), replacing(recordings):
        raise AssertionError("the work began")
    assert (recordings / "a.wav").read_bytes() == b"speech"
    assert [p.name for p in tmp_path.iterdir()] == ["F"]
