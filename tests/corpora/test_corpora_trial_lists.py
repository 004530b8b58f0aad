"""Where trial lists are found, and the message when they are not."""

import os

import pytest

from speechbrain_dino.corpora import trial_lists
from speechbrain_dino.corpora.trial_lists import (
    addresses,
    find_list,
    resolve,
    resolve_all,
)

LIST = "1 a/b/1.wav a/b/2.wav\n0 a/b/1.wav c/d/1.wav\n"


@pytest.fixture
def folders(tmp_path):
    """A data folder with two lists, and where downloads go."""
    (tmp_path / "data" / "meta").mkdir(parents=True)
    (tmp_path / "data" / "veri_test.txt").write_text(LIST, encoding="utf-8")
    (tmp_path / "data" / "meta" / "list_test_hard.txt").write_text(
        LIST, encoding="utf-8"
    )
    return [tmp_path / "data"], tmp_path / "downloads"


@pytest.fixture
def offline(monkeypatch):
    """Addresses that are tried; none can be reached."""
    tried = []

    def refuse(source, timeout):
        tried.append(source)
        raise OSError("no network")

    monkeypatch.setattr(trial_lists.urllib.request, "urlopen", refuse)
    return tried


def test_local_files_first(folders, offline, tmp_path):
    data, downloads = folders
    own = tmp_path / "own.txt"
    own.write_text(LIST, encoding="utf-8")
    assert find_list(own, data, downloads) == own
    assert find_list("veri_test", data, downloads) == data[0] / "veri_test.txt"
    assert find_list("veri_test.txt", data, downloads) == data[0] / "veri_test.txt"
    hard = find_list("list_test_hard", data, downloads)
    assert hard == data[0] / "meta" / "list_test_hard.txt"
    assert offline == []


def test_download_once(folders, tmp_path):
    data, downloads = folders
    (tmp_path / "server").mkdir()
    (tmp_path / "server" / "mine.txt").write_text(LIST, encoding="utf-8")
    address = (tmp_path / "server" / "mine.txt").as_uri()
    local = find_list(address, data, downloads)
    assert local.read_text(encoding="utf-8") == LIST
    assert local.name == "mine.txt"
    os.remove(tmp_path / "server" / "mine.txt")
    assert find_list(address, data, downloads) == local


def test_a_page_in_place_of_the_list_is_refused(folders, tmp_path):
    data, downloads = folders
    (tmp_path / "moved.txt").write_text(
        "<html>moved to another place</html>", encoding="utf-8"
    )
    with pytest.raises(
        FileNotFoundError, match=r"txt:1: expected .*'label enrol test' "
    ):
        find_list((tmp_path / "moved.txt").as_uri(), data, downloads)
    assert not list(downloads.rglob("*.txt"))


def test_not_found(folders, offline):
    data, downloads = folders
    with pytest.raises(FileNotFoundError, match="no network") as error:
        find_list("veri_test2", data, downloads)
    assert offline == addresses("veri_test2")
    assert f"Put the list into {data[0]} as veri_test2.txt" in str(error.value)
    offline.clear()
    with pytest.raises(FileNotFoundError, match="'nothing' was not found"):
        find_list("nothing", data, downloads)
    assert offline == []


def test_every_well_known_list_has_addresses():
    for name in trial_lists.WELL_KNOWN:
        assert len(addresses(name)) >= 2
        assert all(a.startswith("https://") for a in addresses(name))


def test_files_of_a_list(folders):
    numbers = {"a/b/1.wav": 0, "a/b/2.wav": 1, "c/d/1.wav": 2}
    resolved_list = resolve(folders[0][0] / "veri_test.txt", numbers.get)
    assert resolved_list.trials.labels.tolist() == [1, 0]
    assert (resolved_list.files, resolved_list.absent) == (numbers, {})
    assert resolved_list.skipped() == {}


def test_absent_files_are_counted_over_all_lists(tmp_path):
    lists = {"one": tmp_path / "one.txt", "two": tmp_path / "two.txt"}
    names = "".join(f"0 a u{n}\n" for n in range(9))
    lists["one"].write_text("1 a b\n1 a a\n" + names, encoding="utf-8")
    lists["two"].write_text("0 a c\n1 a a\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"one.txt:1: no file is there") as error:
        resolve_all(lists, {"a": 0}.get)
    one, two = str(error.value).splitlines()
    assert "'b', 'u0', 'u1', 'u2', 'u3', ..." in one
    assert "(10 of the 11 names in this list, in 10 of 11 trials)" in one
    assert (
        "two.txt:1: no file is there for 'c' (1 of the 2 names in this list, in 1 of 2 "
        "trials)"
    ) in two
    assert "--skip_missing" in two


def test_trials_without_files_are_left_out_when_asked(tmp_path, caplog):
    path = tmp_path / "one.txt"
    path.write_text("1 a b\n0 a c\n0 d b\n1 c c\n", encoding="utf-8")
    one = resolve_all({"one": path}, {"a": 0, "b": 1, "c": 2}.get, True)["one"]
    assert (one.trials.enrol, one.trials.test) == (["a", "a", "c"], ["b", "c", "c"])
    assert one.trials.labels.tolist() == [1, 0, 1]
    assert one.files == {"a": 0, "b": 1, "c": 2}
    assert one.skipped() == {"trials": 1, "of": 4, "names": 1, "examples": ["d"]}
    assert "in 1 of 4 trials): these trials are left out" in caplog.text
    with pytest.raises(ValueError, match=r"Without them, .*all trials are target"):
        resolve_all({"one": path}, {"a": 0, "b": 1}.get, True)
    with pytest.raises(ValueError, match="no trial is left"):
        resolve_all({"one": path}, {}.get, True)


def test_a_name_of_two_files_is_an_error_in_its_line(tmp_path):
    def both(name):
        raise ValueError(f"{name} is two")

    path = tmp_path / "one.txt"
    path.write_text("1 a b\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"one.txt:1: a is two"):
        resolve(path, both)
