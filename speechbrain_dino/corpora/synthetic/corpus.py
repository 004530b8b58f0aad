"""Puts the corpus together: who speaks, what, in which list."""

import csv
import itertools
import json
import multiprocessing
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import soundfile

from speechbrain_dino.corpora.synthetic import rooms
from speechbrain_dino.corpora.synthetic.espeak import (
    ACCENTS,
    RATE,
    draw_voice,
    library,
    write_voices,
)
from speechbrain_dino.corpora.synthetic.sentences import sentences
from speechbrain_dino.corpora.synthetic.speaker import (
    SESSIONS,
    Task,
    make_speaker,
    write_wav,
)
from speechbrain_dino.utils.checked_json import read_checked
from speechbrain_dino.utils.files import replacing
from speechbrain_dino.utils.progress import progress

MARKER = "synthetic.json"
_BABBLERS, _NOISES, _ROOMS = 6, 24, 24
_FIRST = 90001
"""Number of the first speaker; VoxCeleb's own end at id11251."""


def make_synthetic_corpus(
    folder,
    train_speakers=80,
    test_speakers=24,
    train_utterances=10,
    test_utterances=8,
    seed=1986,
    workers=None,
):
    """Makes the corpus in a folder, which it returns; resumes an interrupted one.

    Arguments
    ---------
    folder : path
        Where to write; a complete corpus there is kept.
    train_speakers, test_speakers : int
        Speakers to train on, and other speakers to verify.
    train_utterances, test_utterances : int
        Utterances of a speaker, spread over two sessions; an even number.
    seed : int
        The same seed gives the same bytes.
    workers : int, optional
        Processes, one per core if None.

    Raises
    ------
    ImportError
        If espeakng-loader is not installed.
    ValueError
        If a number makes no corpus, or the folder holds something else.
    """
    library()
    settings = {
        "train_speakers": train_speakers,
        "test_speakers": test_speakers,
        "train_utterances": train_utterances,
        "test_utterances": test_utterances,
        "seed": seed,
    }
    _check_sizes(settings)
    folder = Path(folder)
    if _is_complete(folder, settings):
        return folder
    _write_marker(folder, settings, done=False)
    tasks = _tasks(folder, settings)
    with tempfile.TemporaryDirectory(prefix="voices") as voices:
        write_voices(voices, [task.voice for task in tasks])
        _speak_all([task._replace(voices=voices) for task in tasks], workers)
    _write_noises(folder, seed)
    _write_rooms(folder, seed)
    _write_lists(folder, tasks, seed)
    shutil.rmtree(folder / ".babble")
    _write_marker(folder, settings, done=True)
    return folder


def _check_sizes(settings):
    for name, value in settings.items():
        if name.endswith("utterances") and (value < SESSIONS or value % SESSIONS):
            raise ValueError(f"{name} is {value}; it must be even and at least 2")
    if settings["train_speakers"] < 1 or settings["test_speakers"] < 4:
        raise ValueError(
            f"{settings['train_speakers']} training and {settings['test_speakers']} "
            "test speakers; at least 1 and 4 are needed (impostors of the same sex)"
        )


def _is_complete(folder, settings):
    marker = folder / MARKER
    if not marker.is_file():
        if folder.is_dir() and any(folder.iterdir()):
            raise ValueError(
                f"{folder} exists and is no synthetic corpus: name another folder"
            )
        return False
    state = read_checked(marker, "delete that folder, or name another one")
    if "settings" not in state or "done" not in state:
        raise ValueError(f"{marker} is damaged: delete that folder or name another one")
    if state["settings"] != settings:
        raise ValueError(
            f"{folder} holds a synthetic corpus of {state['settings']}, asked for was "
            f"{settings}: delete that folder or name another one"
        )
    return state["done"]


def _write_marker(folder, settings, done):
    text = json.dumps({"settings": settings, "done": done}, indent=2) + "\n"
    with replacing(folder / MARKER) as draft:
        draft.write_text(text, encoding="utf-8")


def _tasks(folder, settings):
    """A task per training speaker, test speaker, then voice for babble."""
    seed = settings["seed"]
    train, test = settings["train_speakers"], settings["test_speakers"]
    counts = [settings["train_utterances"]] * train
    counts += [settings["test_utterances"]] * test + [SESSIONS] * _BABBLERS
    texts = iter(sentences(sum(counts), np.random.default_rng((seed, 0))))
    tasks = []
    for number, count in enumerate(counts):
        rng = np.random.default_rng((seed, 1, number))
        voice = draw_voice(f"id{_FIRST + number}", "fm"[number % 2], rng)
        part = "wav" if number < train + test else ".babble"
        tasks.append(
            Task(
                voice=voice,
                texts=list(itertools.islice(texts, count)),
                seed=(seed, 2, number),
                degraded=train <= number < train + test,
                voices="",
                target=str(folder / part / voice.name),
            )
        )
    return tasks


def _speak_all(tasks, workers):
    """Every speaker in a process of its own, which eSpeak NG needs to be repeatable."""
    left = [task for task in tasks if not Path(task.target).is_dir()]
    methods = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context(
        "forkserver" if "forkserver" in methods else "spawn"
    )
    if context.get_start_method() == "forkserver":
        context.set_forkserver_preload([make_speaker.__module__])
    workers = workers or os.cpu_count() or 1
    with context.Pool(workers, maxtasksperchild=1) as pool:
        done = pool.imap_unordered(make_speaker, left, chunksize=1)
        for _ in progress(done, len(left), "synthetic speakers", "speakers"):
            pass


def _write_noises(folder, seed):
    """Hiss and hum; every fourth is a babble of voices that occur nowhere else."""
    voices = sorted((folder / ".babble").glob("*/*/*.wav"))
    voices = [soundfile.read(path)[0] for path in voices]
    length = int(5.0 * RATE)
    for number in range(_NOISES):
        rng = np.random.default_rng((seed, 3, number))
        babble = number % 4 == 3
        if babble:
            talkers = [voices[i] for i in rng.permutation(len(voices))[:5]]
            noise = sum(np.resize(v / np.std(v), length) for v in talkers)
        else:
            noise = rooms.colored_noise(rng, length)
        kind = "babble" if babble else "colored"
        path = folder / "noise" / f"{kind}{number:02d}.wav"
        write_wav(path, rooms.to_int16(noise, rng))


def _write_rooms(folder, seed):
    for number in range(_ROOMS):
        response = rooms.room(np.random.default_rng((seed, 4, number)))
        samples = np.round(response * 29000).astype(np.int16)
        write_wav(folder / "rir" / f"room{number:02d}.wav", samples)


def _write_lists(folder, tasks, seed):
    """Trial lists, metadata and texts."""
    people = [task for task in tasks if Path(task.target).parent.name == "wav"]
    testers = [task for task in people if task.degraded]
    for name, session in (("", "session2"), ("_degraded", "session2-degraded")):
        lines = _trials(testers, session, np.random.default_rng((seed, 5)))
        path = folder / f"veri_test{name}.txt"
        path.write_text("".join(lines), encoding="utf-8")
    with open(folder / "vox1_meta.csv", "w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, delimiter="\t", lineterminator="\n")
        table.writerow(["VoxCeleb1 ID", "VGGFace1 ID", "Gender", "Nationality", "Set"])
        for task in people:
            name, sex, accent = task.voice[:3]
            part = "test" if task.degraded else "dev"
            table.writerow([name, f"synthetic_{name}", sex, ACCENTS[accent], part])
    with open(folder / "texts.csv", "w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["ID", "text"])
        for task in people:
            names = _names(task, "session1") + _names(task, "session2")
            table.writerows(zip(names, task.texts))


def _names(task, session):
    count = len(task.texts) // SESSIONS
    return [f"{task.voice.name}/{session}/{n:05d}.wav" for n in range(1, count + 1)]


def _trials(testers, session, rng):
    """As many impostors as targets, all of the same sex; enrollment is session 1."""
    lines = []
    for task in testers:
        others = [
            other
            for other in testers
            if other.voice.sex == task.voice.sex and other is not task
        ]
        for enrol, test in itertools.product(
            _names(task, "session1"), _names(task, session)
        ):
            other = _names(others[rng.integers(len(others))], session)
            lines.append(f"1 {enrol} {test}\n")
            lines.append(f"0 {enrol} {other[rng.integers(len(other))]}\n")
    return lines
