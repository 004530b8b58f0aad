"""Noises and room impulse responses: MUSAN, RIRS_NOISES, or any folder.

MUSAN: https://www.openslr.org/17/ ; RIRS_NOISES: https://www.openslr.org/28/
"""

import csv
import os
from fnmatch import fnmatch
from pathlib import Path

from speechbrain_dino.corpora.preparation import (
    Preparation,
    Source,
    list_files,
    usable_audio,
)
from speechbrain_dino.data.checks import LeftOut, problem_of, reads_samples, report
from speechbrain_dino.utils.files import replacing
from speechbrain_dino.utils.ownership import read_mark

KINDS = ("noise", "music", "speech")
ROOMS = {name: name for name in ("smallroom", "mediumroom", "largeroom")}
ROOMS["real_rirs_isotropic_noises"] = "real"
# SpeechBrain's augmentations want columns in threes: value, format, options.
_TRIPLES = ("wav", "wav_format", "wav_opts", "kind", "kind_format", "kind_opts")
COLUMNS = ("ID", "duration", *_TRIPLES)
_MIN_NOISE_SECONDS = 0.5


def prepare_noise_rir(
    save_folder,
    noise_folder=None,
    rir_folder=None,
    exclude=(),
    sample_rate=16000,
    check="full",
    num_workers=None,
):
    """Writes noise.csv and rir.csv in the form of SpeechBrain's augmentations.

    Converted noises are mixed down; of impulse responses the first channel is taken.

    Arguments
    ---------
    save_folder : str
        Where noise.csv, rir.csv, noise.json and rir.json are written.
    noise_folder : str, optional
        MUSAN, RIRS_NOISES (its noises are taken), or any folder. Files below a folder
        named music or speech are of that kind, others are noise. None: no noise.csv.
    rir_folder : str, optional
        RIRS_NOISES (its impulse responses are taken), or any folder. None: no rir.csv.
        The kind is smallroom, mediumroom or largeroom of the simulated ones, real of
        the recorded ones, room in other folders.
    exclude : sequence of str
        Patterns of paths, relative to their folder, to leave alone, such as
        ``"speech/*"`` or ``"simulated_rirs/largeroom/*"``.
    sample_rate, check, num_workers
        See ``corpora.preparation``.

    Returns
    -------
    dict
        "noise" and "rir" (where asked for) -> {"kept", "hours", "left_out", ...}

    Raises
    ------
    ValueError
        If a folder has no usable file.
    FileNotFoundError
        If a folder does not exist.

    Example
    -------
    >>> import numpy as np, soundfile as sf
    >>> folder = getfixture("tmp_path")
    >>> (folder / "music").mkdir()
    >>> noise = np.random.default_rng(0).uniform(-0.5, 0.5, 16000)
    >>> sf.write(folder / "music" / "a.wav", noise, 16000)
    >>> prepare_noise_rir(folder / "save", noise_folder=folder)["noise"]["kept"]
    1
    >>> (folder / "save" / "noise.csv").read_text().splitlines()[1][-13:]
    'music,string,'
    """
    options = {
        "exclude": list(exclude),
        "sample_rate": sample_rate,
        "check": check,
    }
    result = {}
    for what, folder in (("noise", noise_folder), ("rir", rir_folder)):
        if folder is not None:
            result[what] = _prepare(what, folder, save_folder, options, num_workers)
            continue
        # What an earlier preparation left would be used without having been asked for.
        for ending in ("csv", "json") if read_mark(save_folder) else ():
            (Path(save_folder) / f"{what}.{ending}").unlink(missing_ok=True)
    return result


def _prepare(what, folder, save_folder, options, num_workers):
    save_folder = Path(os.path.abspath(save_folder))
    left_out = LeftOut()
    sources = [
        Source(name, f"{what}/{name}", path, size, changed, order=(name,))
        for name, path, size, changed in list_files(folder, left_out, [save_folder])
        if _wanted(what, name) and not any(fnmatch(name, p) for p in options["exclude"])
    ]
    job = Preparation(
        save_folder,
        {"folder": os.path.abspath(folder), **options, "kinds": [*KINDS, *ROOMS]},
        [(s.path, s.size, s.changed) for s in sources],
        outputs=[f"{what}.csv"],
        summary=f"{what}.json",
    )
    done = job.previous()
    if done is not None:
        return done
    rate, full = options["sample_rate"], reads_samples(options["check"])
    # The mean over an array's microphones would be a comb filter, not a room.
    channel = 0 if what == "rir" else None
    audio = usable_audio(sources, save_folder, rate, full, False, num_workers, channel)
    rows, seconds = [], 0.0
    shortest = _MIN_NOISE_SECONDS if what == "noise" else 0.0
    for source, (path, facts) in zip(sources, audio):
        problem = problem_of(facts, rate, shortest)
        if problem:
            left_out.add(problem, source.path)
            continue
        duration = facts.frames / rate
        seconds += duration
        kind = _kind(folder, source.id) if what == "noise" else _room(folder, source.id)
        triples = (path, os.path.splitext(path)[1].strip("."), "", kind, "string", "")
        rows.append((source.id, round(duration, 6), *triples))
    report(len(rows), left_out, f"{what} to augment with in {folder}")
    with (
        replacing(save_folder / f"{what}.csv") as draft,
        open(draft, "w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(rows)
    summary = {"kept": len(rows), "hours": seconds / 3600}
    return job.finish(summary | {"left_out": left_out.as_dict()})


def _wanted(what, name):
    """Whether a file is of the kind that its place in RIRS_NOISES means, if any."""
    folders, file = os.path.split(name.lower())
    if "simulated_rirs" in folders:
        return what == "rir"
    if "pointsource_noises" in folders:
        return what == "noise"
    if "real_rirs_isotropic_noises" in folders:
        return ("noise" in file) == (what == "noise")
    return True


def _kind(folder, name):
    """The kind that the given folder or the nearest one below it names."""
    kinds = [part for part in _folders(folder, name) if part in KINDS]
    return kinds[-1] if kinds else "noise"


def _room(folder, name):
    """The kind of room that a place in RIRS_NOISES means."""
    kinds = [ROOMS[part] for part in _folders(folder, name) if part in ROOMS]
    return kinds[-1] if kinds else "room"


def _folders(folder, name):
    """The given folder's own name and those of the ones below it, in lower case."""
    parts = [os.path.basename(os.path.abspath(folder)), *name.split("/")[:-1]]
    return [part.lower() for part in parts]
