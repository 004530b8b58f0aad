"""Names in trial lists: the file that they name, or none, or an error."""

import pytest
from audio_files import tree, write

from speechbrain_dino.corpora.audio_folder import prepare_audio_folder
from speechbrain_dino.corpora.preparation import read_summary
from speechbrain_dino.corpora.voxceleb import prepare_voxceleb
from speechbrain_dino.data.manifest import Manifest
from speechbrain_dino.data.trials import read_trials

SMALL = {"min_duration": 0.5, "num_workers": 1, "check": "headers"}


def files_of(folder, names, save, prepare=prepare_voxceleb, **options):
    """Files, relative to the data folder, that the names of a list stand for."""
    trials = save.with_suffix(".txt")
    pairs = [f"0\t{name}\t{names[0]}\n" for name in names]
    trials.write_text("".join(pairs), encoding="utf-8")
    prepare(folder, save, [trials], **(SMALL | options))
    test = Manifest.from_csv(save / "test.csv")
    wavs = {row.id: row.wav.removeprefix(f"{folder}/") for row in test}
    return [wavs[name] for name in names]


def test_names_with_spaces(tmp_path):
    names = ["wav/a b/my talk/part 1.wav", "wav/c/s/1.wav", "wav/d/s/1.wav"]
    data = tree(tmp_path / "data", names)
    given = ["a b/my talk/part 1.wav", "wav/a b/my talk/part 1.wav", "c/s/1.wav"]
    wanted = [names[0], names[0], names[1]]
    assert files_of(data, given, tmp_path / "save") == wanted
    listed = read_trials(tmp_path / "save" / "trials" / "save.txt")
    assert listed.enrol == given and listed.labels.tolist() == [0, 0, 0]


@pytest.fixture
def data(tmp_path):
    names = ["wav/a/s/1.wav", "wav/a/s/2.wav", "wav/b/s/1.wav", "wav/c/s/1.wav"]
    names += ["wav_degraded/a/s/1.flac", "extra/a/s/1.wav", "one.wav"]
    return tree(tmp_path / "data", names)


def test_a_path_below_the_data_folder_is_that_file(data, tmp_path):
    names = ["wav_degraded/a/s/1.flac", "wav/a/s/1.wav", "extra/a/s/1.wav", "one.wav"]
    names += ["./wav/a/s/2.wav", "wav/../wav/b/s/1.wav", str(data / "extra/a/s/1.wav")]
    wanted = [*names[:4], "wav/a/s/2.wav", "wav/b/s/1.wav", "extra/a/s/1.wav"]
    assert files_of(data, names, tmp_path / "save") == wanted
    train = Manifest.from_csv(tmp_path / "save" / "train.csv")
    assert list(train.ids) == ["c--s--1"]


def test_other_names_stand_for_the_end_of_a_path(data, tmp_path):
    names = ["a/s/1.wav", "a/s/1.m4a", "a/s/1", "b/s/1.wav", "data/wav/a/s/2.wav"]
    names += ["flac/a/s/1.flac", "..\\wav\\c\\s\\1.wav", "wav_degraded/a/s/1.wav"]
    wanted = ["wav/a/s/1.wav"] * 3 + ["wav/b/s/1.wav", "wav/a/s/2.wav"]
    wanted += ["wav/a/s/1.wav", "wav/c/s/1.wav", "wav_degraded/a/s/1.flac"]
    options = {"require_training": False}
    assert files_of(data, names, tmp_path / "save", **options) == wanted


@pytest.mark.parametrize(
    "name",
    [
        "DOES_NOT_EXIST/a/s/1.wav",
        "test/wav/a/s/1.wav",
        "flac/a/s/1.wav",  # neither the folder nor a format that it was changed into
        "/somewhere/else/wav/a/s/1.wav",
        "wav/s/1.wav",
        "s/1.wav",
        "..",
        "one",
    ],
)
def test_no_file_is_taken_whose_path_contradicts_the_name(data, tmp_path, name):
    with pytest.raises(ValueError, match=r"save.txt:1: no file is there"):
        files_of(data, [name], tmp_path / "save")


def test_two_files_of_one_name_are_both_named(tmp_path):
    names = ["x/wav/a/s/1.wav", "y/wav/a/s/1.flac", "y/wav/b/s/1.wav"]
    data = tree(tmp_path / "data", names)
    with pytest.raises(ValueError, match=r"save.txt:1: 'a/s/1.wav' may be") as error:
        files_of(data, ["a/s/1.wav"], tmp_path / "save")
    assert str(data / names[0]) in str(error.value)
    assert str(data / names[1]) in str(error.value)
    assert files_of(data, ["y/wav/a/s/1.flac"], tmp_path / "save") == [names[1]]
    assert files_of(data, ["x/wav/a/s/1.flac"], tmp_path / "save") == [names[0]]
    parts = [data / "x", data / "y"]
    with pytest.raises(ValueError, match="may be either of"):
        files_of(parts, ["wav/a/s/1.mp3"], tmp_path / "save")


def test_formats_of_one_utterance_and_links_are_no_two_files(tmp_path):
    names = ["dev/aac/a/s/1.flac", "dev/wav/a/s/1.wav", "dev/wav/b/s/1.wav"]
    data = tree(tmp_path / "data", names)
    (data / "dev" / "wav" / "b" / "s" / "2.wav").symlink_to(data / names[2])
    assert files_of(data, ["a/s/1.m4a"], tmp_path / "save") == [names[1]]
    assert files_of(data, ["a/s/1.flac"], tmp_path / "save") == [names[0]]
    assert files_of([data, data / "dev"], ["a/s/1.wav"], tmp_path / "save") == [
        str(data / names[1])
    ]


def test_what_lists_name_is_converted_to_files_of_its_own(tmp_path):
    for number, name in enumerate(("wav/a/s/1.flac", "other/a/s/1.flac")):
        write(tmp_path / "data" / name, rate=8000, seed=number)
    write(tmp_path / "data" / "wav" / "b" / "s" / "1.wav")
    names = ["wav/a/s/1.flac", "other/a/s/1.flac"]
    one, two = files_of(tmp_path / "data", names, tmp_path / "save")
    assert one != two
    assert read_summary(tmp_path / "save")["tested_on"] == {"save": ["other"]}


def test_a_folder_of_audio_knows_paths_alone(data, tmp_path):
    def prepare(*arguments, **options):
        return prepare_audio_folder(*arguments, **options)

    names = ["wav/a/s/1.wav", str(data / "one.wav"), "./extra/a/s/1.wav"]
    wanted = ["wav/a/s/1.wav", "one.wav", "extra/a/s/1.wav"]
    assert files_of(data, names, tmp_path / "save", prepare) == wanted
    with pytest.raises(ValueError, match=r"no file is there for 'a/s/1.wav'"):
        files_of(data, ["a/s/1.wav"], tmp_path / "save", prepare)


def test_trials_of_absent_and_unusable_files_are_left_out_when_asked(data, tmp_path):
    (data / "wav" / "a" / "s" / "3.wav").write_bytes(b"no audio")
    trials = tmp_path / "t.txt"
    lines = ["1 a/s/1.wav a/s/2.wav", "0 a/s/1.wav b/s/1.wav", "1 a/s/1.wav a/s/9.wav"]
    trials.write_text("\n".join([*lines, "1 a/s/3.wav a/s/1.wav"]), encoding="utf-8")
    summary = prepare_voxceleb(
        data, tmp_path / "save", [trials], skip_missing=True, **SMALL
    )
    assert summary["trials"] == {"t": 2}
    assert summary["skipped"]["t"] == {
        "trials": 2,
        "of": 4,
        "names": 2,
        "examples": ["a/s/9.wav", "a/s/3.wav"],
    }
    text = (tmp_path / "save" / "trials" / "t.txt").read_text(encoding="utf-8")
    assert text.splitlines() == lines[:2]
    assert len(Manifest.from_csv(tmp_path / "save" / "test.csv")) == 3
    with pytest.raises(ValueError, match=r"no file is there for 'a/s/9.wav'"):
        prepare_voxceleb(data, tmp_path / "save", [trials], **SMALL)
