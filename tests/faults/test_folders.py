"""Folders as people have them: odd names, links, copies, other people's tables."""

import os

import numpy as np
import pytest
from audio_files import tree, write

from speechbrain_dino.corpora.audio_folder import prepare_audio_folder
from speechbrain_dino.corpora.preparation import list_files
from speechbrain_dino.corpora.utterances import find_audio, find_utterances
from speechbrain_dino.data.checks import LeftOut
from speechbrain_dino.data.manifest import Manifest

LATIN_1 = os.fsdecode(b"caf\xe9.wav")


def names_in(folder, **options):
    return [name for name, *_ in list_files(folder, LeftOut(), **options)]


def test_names_that_cannot_stand_in_a_list_are_named(tmp_path):
    folder = tree(tmp_path / "in", ["good.wav", "two\nlines.wav", "a\rb.wav"], 3.0)
    try:
        (folder / os.fsdecode(b"\xe9t\xe9")).mkdir()
        for name in (LATIN_1, os.path.join(os.fsdecode(b"\xe9t\xe9"), "a.wav")):
            (folder / name).write_bytes((folder / "good.wav").read_bytes())
        number = 4
    except OSError:  # file systems that take UTF-8 alone
        number = 2
    summary = prepare_audio_folder(folder, tmp_path / "save")
    assert (summary["kept"], summary["left_out"]["name"]["count"]) == (1, number)
    named = summary["left_out"]["name"]["example"]
    assert named.isprintable() and named.startswith(str(folder))
    utterances = find_utterances(folder, tmp_path / "again")
    assert list(utterances.ids) == ["good.wav"]


def test_names_that_are_long_or_odd_are_converted(tmp_path):
    names = [f"{'x' * n}.wav" for n in (245, 248, 251)]
    names += [f"{'é' * 120}.wav", "a b.wav", 'q"uote,.wav', "[1]{2}.wav", "-x.wav"]
    folder = tmp_path / "in"
    for seed, name in enumerate(names):
        write(folder / name, 3.0, 8000, seed=seed)
    summary = prepare_audio_folder(folder, tmp_path / "save")
    assert (summary["kept"], summary["left_out"]) == (len(names), {})
    manifest = Manifest.from_csv(tmp_path / "save" / "train.csv")
    wavs = [manifest[row].wav for row in range(len(manifest))]
    assert len(set(wavs)) == len(names)
    assert all(os.path.isfile(wav) for wav in wavs)


def test_a_folder_goes_by_its_own_name(tmp_path):
    folder = tree(tmp_path / "in", ["m/a.wav", "m/n/b.wav"])
    for link in ("a", "z", "m/0"):
        os.symlink(folder / "m" / "n", folder / link)
    os.symlink(folder, folder / "b")
    assert names_in(folder) == ["m/a.wav", "m/n/b.wav"]


def test_of_links_the_first_by_name_counts(tmp_path):
    outside = tree(tmp_path / "out", ["a.wav", "n/b.wav"])
    folder = tree(tmp_path / "in", ["0/c.wav"])
    for link in ("z", "k", "0/y"):
        os.symlink(outside, folder / link)
    os.symlink(outside / "n", folder / "x")
    assert names_in(folder) == ["0/c.wav", "0/y/a.wav", "0/y/n/b.wav"]


def test_converted_copies_are_no_data(tmp_path):
    folder = tmp_path / "in"
    for seed in range(3):
        write(folder / f"{seed}.wav", 3.0, 8000, seed=seed)
    for run in ("results/1/save", "results/2/save"):
        assert prepare_audio_folder(folder, folder / run)["kept"] == 3
    manifest = find_utterances(folder, tmp_path / "elsewhere")
    assert list(manifest.ids) == ["0.wav", "1.wav", "2.wav"]
    copies = folder / "results" / "1" / "save" / "audio"
    assert names_in(copies) == ["0.wav.wav", "1.wav.wav", "2.wav.wav"]  # asked for


def test_a_mark_of_others_hides_nothing(tmp_path):
    folder = tree(tmp_path / "in", ["cache/a.wav"])
    signature = "Signature: 8a477f597d28d172789f06886806bc55\n# of another program\n"
    (folder / "cache" / "CACHEDIR.TAG").write_text(signature, encoding="utf-8")
    assert names_in(folder) == ["cache/a.wav"]


def test_output_in_place_of_the_data_is_refused(tmp_path):
    folder = tree(tmp_path / "data", ["a.wav"], 3.0)
    with pytest.raises(ValueError, match="give another output folder"):
        find_utterances(folder, folder)
    assert os.listdir(folder) == ["a.wav"]


def test_a_table_beside_audio_is_not_ours(tmp_path):
    folder = tree(tmp_path / "in", ["clips/a.wav", "clips/b.wav"])
    table = "path,sentence\na.mp3,hello\n"
    (folder / "train.csv").write_text(table, encoding="utf-8")
    manifest = find_utterances(folder, tmp_path / "save")
    assert list(manifest.ids) == ["clips/a.wav", "clips/b.wav"]
    manifest = Manifest.from_csv(tmp_path / "save" / "train.csv")
    only = tmp_path / "only"
    manifest.to_csv(only / "train.csv")  # a manifest and nothing else
    assert list(find_utterances(only, tmp_path / "save2").ids) == list(manifest.ids)
    lengths = [int(n) for n in np.unique(manifest.lengths)]
    assert lengths == [16000]


def test_formats_of_libsndfile_are_found(tmp_path):
    folder = tmp_path / "in"
    for seed, kind in enumerate(("aiff", "au", "caf", "w64", "wave", "aif", "oga")):
        formats = {"wave": "WAV", "aif": "AIFF", "oga": "OGG"}
        options = {"format": formats.get(kind, kind.upper())}
        write(folder / f"a.{kind}", 3.0, seed=seed, **options)
    assert prepare_audio_folder(folder, tmp_path / "save")["kept"] == 7


def test_audio_in_a_folder_that_takes_the_output_counts_as_well(tmp_path):
    folder = tree(tmp_path / "in", ["a.wav", "save/b.wav", "save/sub/c.wav"], 3.0)
    write(folder / "narrow.wav", 3.0, 8000, seed=7)
    for _ in range(2):
        manifest = find_utterances(folder, folder / "save")
        assert sorted(manifest.ids) == [
            "a.wav",
            "narrow.wav",
            "save/b.wav",
            "save/sub/c.wav",
        ]


def test_a_copy_stays_in_its_folder_whatever_the_manifest_names(tmp_path):
    wav = write(tmp_path / "in" / "a.wav", 1.0, 8000)
    mine = tmp_path / "in" / "a.wav.wav"
    mine.write_bytes(b"mine")
    up = os.sep.join([".."] * (len(tmp_path.parts) + 9))
    rows = [
        {"ID": str(k), "duration": 1.0, "wav": path, "start": 0, "stop": 8000}
        for k, path in enumerate(
            [f"{tmp_path}/{up}{wav}", f"{tmp_path}/in/../in/a.wav"]
        )
    ]
    save = tmp_path / "save"
    manifest = find_utterances(Manifest.from_rows(rows), save)
    for row in range(2):
        copy = os.path.realpath(manifest[row].wav)
        assert copy.startswith(str(save / "audio") + os.sep)
        assert manifest[row].stop == 16000
    assert mine.read_bytes() == b"mine"


def test_names_no_file_can_have_are_named_in_a_list(tmp_path):
    good = write(tmp_path / "good.wav", 1.0)
    names = [good, f"{tmp_path}/{'x' * 300}.wav", f"{tmp_path}/a\0b.wav"]
    names.append(write(tmp_path / "two\nlines.wav", 1.0, seed=1))
    audio = find_audio(names, tmp_path / "save")
    assert list(audio.manifest.ids) == [good]
    assert sorted(audio.left_out) == sorted((n, n, "name") for n in names[1:])
    rows = [
        {"ID": str(k), "duration": 1.0, "wav": name, "start": 0, "stop": 16000}
        for k, name in enumerate(names)
    ]
    audio = find_audio(Manifest.from_rows(rows), tmp_path / "save2")
    assert [kind for *_, kind in audio.left_out] == ["name"] * 3
    assert list(audio.manifest.ids) == ["0"]
