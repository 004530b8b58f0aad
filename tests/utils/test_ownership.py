"""Nothing that a command did not write itself is replaced or removed."""

import json
import os
import re
from pathlib import Path

import pytest

from speechbrain_dino.utils.ownership import (
    MARK,
    NotOwnedError,
    check_owner,
    claim,
    read_mark,
    replacing_folder,
)


def files(folder):
    """Path within the folder -> content, of all files but the marks."""
    return {
        path.relative_to(folder).as_posix(): path.read_text("utf-8")
        for path in folder.rglob("*")
        if path.is_file() and path.name != MARK
    }


def write(folder, command="report", **texts):
    with replacing_folder(folder, command) as draft:
        for name, text in texts.items():
            path = draft / name.replace("__", "/")
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, "utf-8")


def test_an_own_folder_is_replaced_as_a_whole(tmp_path):
    folder = tmp_path / "deep" / "report"
    write(folder, one="1", both="1", ways__plda="1")
    write(folder, two="2", both="2")
    assert files(folder) == {"two": "2", "both": "2"}
    assert os.listdir(folder.parent) == ["report"]
    mark = read_mark(folder)
    assert mark["command"] == "report" and mark["files"] == ["both", "two"]
    assert mark["run"] == "deep/report" and str(tmp_path) not in json.dumps(mark)


def test_what_the_user_put_there_stays(tmp_path):
    folder = tmp_path / "report"
    write(folder, page="1", ways__plda="1")
    (folder / "notes").write_text("mine", "utf-8")
    (folder / "ways" / "plot").write_text("mine too", "utf-8")
    (folder / "link").symlink_to("nowhere")
    write(folder, page="2")
    assert files(folder) == {"page": "2", "notes": "mine", "ways/plot": "mine too"}
    assert os.readlink(folder / "link") == "nowhere"
    write(folder)  # nothing is written any more
    assert files(folder) == {"notes": "mine", "ways/plot": "mine too"}


def test_a_name_that_the_user_took_is_refused(tmp_path):
    folder = tmp_path / "report"
    write(folder, page="1")
    (folder / "notes").write_text("mine", "utf-8")
    with pytest.raises(NotOwnedError, match="notes was not written by a report"):
        write(folder, page="2", notes="the report's")
    assert files(folder) == {"page": "1", "notes": "mine"}
    assert os.listdir(tmp_path) == ["report"]


def test_a_folder_without_mark_is_refused_before_the_work(tmp_path):
    folder = tmp_path / "report"
    folder.mkdir()
    (folder / "thesis").write_text("mine", "utf-8")
    with pytest.raises(NotOwnedError, match="thesis is in the way") as refused:
        write(folder, page="1")
    assert files(tmp_path) == {"report/thesis": "mine"}
    assert os.listdir(tmp_path) == ["report"]
    # What the message advises for folders of earlier versions.
    advice = re.search(r"write (\{.*\}) into (\S+) and run", str(refused.value))
    Path(advice[2]).write_text(advice[1], "utf-8")
    write(folder, page="1")
    assert files(folder) == {"thesis": "mine", "page": "1"}
    write(folder, page="2")
    assert files(folder) == {"thesis": "mine", "page": "2"}


def test_a_mark_of_an_earlier_version_lets_its_files_be_replaced(tmp_path):
    (tmp_path / "page").write_text("of the earlier version", "utf-8")
    (tmp_path / MARK).write_text('{"command": "report"}', "utf-8")
    write(tmp_path, page="1")
    assert files(tmp_path) == {"page": "1"}


def test_another_commands_folder_is_refused(tmp_path):
    claim(tmp_path, "training", ["results.json"])
    (tmp_path / "results.json").write_text("{}", "utf-8")
    claim(tmp_path, "training", ["results.json"])  # resumed
    message = "holds files of a training .*, which a verification would replace"
    with pytest.raises(NotOwnedError, match=message):
        claim(tmp_path, "verification", ["results.json"])
    with pytest.raises(NotOwnedError, match=message):
        write(tmp_path, "verification", scores="1")
    assert files(tmp_path) == {"results.json": "{}"}


def test_a_users_folder_is_claimed_but_for_taken_names(tmp_path):
    (tmp_path / "thesis").write_text("mine", "utf-8")
    claim(tmp_path, "training", ["save", "report"])
    other = tmp_path / "other"
    other.mkdir()
    (other / "report").symlink_to("nowhere")  # a name is taken by a dead link as well
    with pytest.raises(NotOwnedError, match="report is in the way: a training"):
        claim(other, "training", ["save", "report"])
    assert os.listdir(other) == ["report"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"command": 1}', "\x00"])
def test_a_damaged_mark_is_refused(tmp_path, text):
    write(tmp_path, page="1")
    (tmp_path / MARK).write_text(text, "utf-8")
    with pytest.raises(NotOwnedError, match=r"owner\.json is damaged"):
        write(tmp_path, page="2")
    assert files(tmp_path) == {"page": "1"}


def test_a_file_in_the_way_is_refused(tmp_path):
    (tmp_path / "report").write_text("mine", "utf-8")
    with pytest.raises(NotOwnedError, match="report is a file"):
        check_owner(tmp_path / "report", "report")


def test_a_failed_replacement_leaves_the_old_folder(tmp_path, monkeypatch):
    folder = tmp_path / "report"
    write(folder, page="1")
    with pytest.raises(OSError, match="full"), replacing_folder(folder, "report") as d:
        (d / "page").write_text("2", "utf-8")
        raise OSError("full")
    replace = os.replace

    def failing(source, target):
        if os.fspath(target) == str(folder) and "replaced" not in os.fspath(source):
            raise OSError("full")
        replace(source, target)

    monkeypatch.setattr(os, "replace", failing)
    with pytest.raises(OSError, match="full"):
        write(folder, page="2")
    assert files(folder) == {"page": "1"}
    assert os.listdir(tmp_path) == ["report"]


def test_a_replacement_killed_between_its_steps_is_put_back(tmp_path):
    folder = tmp_path / "report"
    write(folder, page="1")
    (folder / "notes").write_text("mine", "utf-8")
    scratch = tmp_path / ".report-killed"
    scratch.mkdir()
    os.replace(folder, scratch / "replaced")
    write(folder, page="2")
    assert files(folder) == {"page": "2", "notes": "mine"}
