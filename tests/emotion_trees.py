"""Emotion corpora in their true formats, and manifests of labeled rows."""

import csv
import json
import zlib

import numpy as np
from audio_files import write

from speechbrain_dino.data.manifest import Manifest

MSP_HEADER = "FileName,EmoClass,EmoAct,EmoVal,EmoDom,SpkrID,Gender,Split_Set"
SMALL = {"num_workers": 1, "allow_missing": True}


def manifest_of(rows, columns=("spk_id", "session", "gender", "emotion")):
    """A manifest of (ID, *columns)."""
    audio = {"duration": 1.0, "wav": "/c/a.wav", "start": 0, "stop": 16000}
    return Manifest.from_rows(
        {"ID": name, **audio, **dict(zip(columns, values))} for name, *values in rows
    )


def rows_of(manifest, *columns):
    """The columns of all rows, as a list of tuples."""
    return list(zip(*(list(manifest.column(name)) for name in columns)))


def ids(manifest, rows):
    """IDs of the rows."""
    return [manifest.ids[i] for i in rows]


def iemocap_file(path, turns):
    """One file of EmoEvaluation: turns are (name, code, "[V, A, D]")."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = ["% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]", ""]
    for k, (name, code, dimensions) in enumerate(turns):
        ending = "  " if k % 2 else "\t"
        lines += [
            f"[{k}.2901 - {k + 1}.2357]\t{name}\t{code}\t{dimensions}{ending}",
            "C-E2:\tNeutral; Anger;\t()",
            "C-F1:\tOther;\t(curious, 50\u00b0)  ",
            "A-E3:\tval 3; act 2; dom  2;\t()",
            "A-M1:\tval 3; act ; dom  ;\t()",
            "",
        ]
    path.write_bytes("\n".join(lines).encode("latin-1"))


def iemocap(folder, turns, seconds=0.5):
    """Turns are (name, code) or (name, code, "[V, A, D]"); audio of noise for each."""
    dialogs = {}
    for seed, (name, code, *dimensions) in enumerate(turns):
        dialog = name.rsplit("_", 1)[0]
        session = folder / f"Session{int(name[3:5])}"
        dimensions = dimensions or ["[2.5000, 3.0000, 3.5000]"]
        dialogs.setdefault((session, dialog), []).append((name, code, *dimensions))
        write(
            session / "sentences" / "wav" / dialog / f"{name}.wav", seconds, seed=seed
        )
    for (session, dialog), turns_of_dialog in dialogs.items():
        evaluation = session / "dialog" / "EmoEvaluation"
        iemocap_file(evaluation / f"{dialog}.txt", turns_of_dialog)
        (evaluation / f"._{dialog}.txt").write_bytes(b"\x00\x05\x16\x07Mac OS X")
        (evaluation / "Categorical").mkdir(exist_ok=True)
        (evaluation / "Categorical" / f"{dialog}_e2_cat.txt").write_text(
            "x :Neutral;\n", encoding="utf-8"
        )
    return folder


def crema_d(folder, names, people=None, votes=None, sentences=None, seconds=0.5):
    """Audio of noise per name, and the tables asked for."""
    _made_folder(folder)
    for name in names:
        path = folder / "AudioWAV" / (name if "." in name else f"{name}.wav")
        write(path, seconds, seed=zlib.crc32(name.encode()))
    if people is not None:
        lines = ['"ActorID","Age","Sex","Race","Ethnicity"']
        lines += [f'{a},{age},"{sex}","X","Y"' for a, (age, sex) in people.items()]
        (folder / "VideoDemographics.csv").write_text(
            "\n".join(lines) + "\n", encoding="utf-8"
        )
    if votes is not None:
        header = ["", "FileName", "VoiceVote", "VoiceLevel", "FaceVote", "FaceLevel"]
        with open(
            _made_folder(folder / "processedResults") / "summaryTable.csv",
            "w",
            encoding="utf-8",
        ) as file:
            table = csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\n")
            table.writerow([*header, "MultiModalVote", "MultiModalLevel"])
            for k, (name, (voice, both)) in enumerate(votes.items(), 1):
                table.writerow([k, name, voice, "69.1", "N", "92.22", both, "64.78"])
    if sentences is not None:
        lines = ['"Stimulus_Number","Filename"']
        lines += [f'{k},"{name}"' for k, name in enumerate(sentences, 1)]
        (folder / "SentenceFilenames.csv").write_text(
            "\n".join(lines) + "\n", encoding="utf-8"
        )
    return folder


def msp_podcast(folder, rows, labels="labels_consensus.csv", nested="", seconds=0.5):
    """Rows are tuples in the order of MSP_HEADER."""
    for seed, row in enumerate(rows):
        write(folder / "Audios" / nested / row[0], seconds, seed=seed)
    path = _made_folder(folder / "Labels") / labels
    if path.suffix == ".json":
        names = MSP_HEADER.split(",")[1:]
        entries = {row[0]: dict(zip(names, map(_number, row[1:]))) for row in rows}
        path.write_text(json.dumps(entries), encoding="utf-8")
    else:
        path.write_text(
            "\n".join([MSP_HEADER, *(",".join(row) for row in rows)]) + "\n",
            encoding="utf-8",
        )
    return folder


def _made_folder(folder):
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _number(text):
    try:
        return float(text) if "." in text else text
    except ValueError:
        return text


def linked(audio, paths):
    """Every path leads to one file, for corpora of full size."""
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(audio)


def as_sets(folds, manifest):
    """The folds as names -> parts -> sets of IDs."""
    return {
        name: [frozenset(ids(manifest, rows)) for rows in parts]
        for name, *parts in folds
    }


def shuffled(manifest, seed):
    """The same rows in another order."""
    return manifest.subset(np.random.default_rng(seed).permutation(len(manifest)))
