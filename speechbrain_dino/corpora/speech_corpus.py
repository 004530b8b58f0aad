"""From the files of a speech corpus to its manifests and trial lists."""

import csv
import hashlib
import logging
import os
from collections import Counter, defaultdict
from itertools import groupby
from pathlib import Path

from speechbrain_dino.corpora.preparation import Preparation, remarks_on, usable_audio
from speechbrain_dino.corpora.trial_lists import find_list, resolve_all, skip
from speechbrain_dino.data.checks import (
    REMEDIES,
    LeftOut,
    problem_of,
    reads_samples,
    report,
)
from speechbrain_dino.data.manifest import Manifest
from speechbrain_dino.data.trials import write_trials

LEFT_OUT = "left_out.csv"
"""Files whose audio is bad, and why."""

logger = logging.getLogger(__name__)

# A trial is not left out of a list unasked, so these stop the preparation.
_FATAL_IN_TRIALS = ("missing", "denied", "special", "name")
_FATAL_IN_TRIALS += ("empty", "unreadable", "non_finite", "silent")


def prepare_speech(
    sources,
    find,
    folders,
    save_folder,
    left_out,
    hold_out_speakers,
    arguments,
    only_listed=(),
    skip_missing=False,
):
    """Writes train.csv, test.csv, trials/ and prepare.json, which is returned.

    Arguments
    ---------
    sources : list of Source
        All files of the corpus.
    find : callable
        Name in a trial list -> row of ``[*sources, *only_listed]`` or None, see
        ``listed_files.ListedFiles``.
    folders : sequence of str or Path
        Where trial lists are looked for.
    save_folder : str or Path
    left_out : LeftOut
        What was left out so far.
    hold_out_speakers : bool
        Whether all files of the speakers in the trial lists stay out of training,
        or only the files in the lists.
    arguments : dict
        sample_rate, min_duration, vad, check, trial_lists, num_workers and whatever
        else the result depends on.
    only_listed : list of Source
        Files that trial lists may name and that are no training files.
    skip_missing : bool
        Whether trials whose files are absent or unusable are left out; else they are
        an error.
    """
    save_folder = Path(os.path.abspath(save_folder))
    full = reads_samples(arguments["check"])
    names = arguments["trial_lists"]
    names = [names] if isinstance(names, str | os.PathLike) else names
    arguments = arguments | {"trial_lists": [str(name) for name in names]}
    arguments |= {"skip_missing": skip_missing}
    lists = _find_lists(arguments["trial_lists"], folders, save_folder)
    files = [*sources, *only_listed]
    job = _job(files, lists, save_folder, arguments)
    done = job.previous()
    if done is not None:
        return done

    trials = resolve_all(lists, find, skip_missing)
    rows = dict.fromkeys(i for listed in trials.values() for i in listed.files.values())
    test = [files[i] for i in rows]
    train = _training(sources, test, hold_out_speakers, left_out)
    options = (
        arguments["sample_rate"], full, arguments["vad"], arguments["num_workers"]
    )  # fmt: skip
    audio = dict(
        zip(
            [s.path for s in test + train],
            usable_audio(test + train, save_folder, *options, arguments.get("channel")),
        )
    )
    unusable = _check_trials(test, audio, skip_missing)
    trials = {
        name: skip(listed, {n for n, i in listed.files.items() if files[i] in unusable})
        if unusable
        else listed
        for name, listed in trials.items()
    }
    named = {}
    for listed in trials.values():
        named |= listed.files
    kept = _keep(train, test, audio, arguments, left_out)
    left_out.write(save_folder / LEFT_OUT)
    if kept or arguments.get("require_training", True):
        report(len(kept), left_out)
    manifest = Manifest.from_rows(
        _row(source.id, source, audio, arguments["vad"]) for source in kept
    )
    manifest.to_csv(save_folder / "train.csv")
    evaluation = Manifest.from_rows(
        _row(name, files[i], audio, arguments["vad"]) for name, i in named.items()
    )
    evaluation.to_csv(save_folder / "test.csv")
    for name, listed in trials.items():
        write_trials(save_folder / "trials" / f"{name}.txt", listed.trials)
    seconds = int(manifest.lengths.sum()) / arguments["sample_rate"]
    summary = {
        "kept": len(kept),
        "hours": seconds / 3600,
        "left_out": left_out.as_dict(),
        "remarks": remarks_on(audio.items()).as_dict(),
        "converted": sum(audio[s.path][0] != s.path for s in kept),
        "test": len(named),
        "trials": {name: len(listed.trials.enrol) for name, listed in trials.items()},
        "skipped": {n: one.skipped() for n, one in trials.items() if one.skipped()},
        "trained_on": _by_split(kept),
        "tested_on": {
            name: sorted(_by_split(files[i] for i in set(listed.files.values())))
            for name, listed in trials.items()
        },
    }
    return job.finish(summary)


def read_left_out(save_folder):
    """What a preparation left out for its audio: list of (file, kind)."""
    path = Path(save_folder) / LEFT_OUT
    if not path.is_file():  # prepared by an earlier version
        return []
    with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
        rows = [(row.get("wav"), row.get("status")) for row in csv.DictReader(file)]
    if not all(wav and status in REMEDIES for wav, status in rows):
        raise ValueError(f"{path} is damaged: remove its folder, and run this again")
    return rows


def _find_lists(names, folders, save_folder):
    lists = {}
    for name in names:
        path = find_list(name, folders, save_folder / "downloads")
        if path.stem in lists:
            raise ValueError(
                f"two trial lists have the name {path.stem!r}: {lists[path.stem]} and "
                f"{path}; rename one of them"
            )
        lists[path.stem] = path
    return lists


def _job(sources, lists, save_folder, arguments):
    # How many processes work does not change the result.
    stable = {name: v for name, v in arguments.items() if name != "num_workers"}
    stats = [(str(path), path.stat()) for path in lists.values()]
    files = [(s.path, s.size, s.changed) for s in sources]
    files += [(path, stat.st_size, stat.st_mtime_ns) for path, stat in stats]
    outputs = ["train.csv", "test.csv", *(f"trials/{name}.txt" for name in lists)]
    return Preparation(save_folder, stable, files, outputs)


def _by_split(sources):
    """Split, "other" where none is known -> numbers of utterances and speakers."""
    utterances, speakers = Counter(), defaultdict(set)
    for source in sources:
        split = source.split or "other"
        utterances[split] += 1
        speakers[split] |= {source.spk_id} - {None}
    return {
        split: {"utterances": utterances[split], "speakers": len(speakers[split])}
        for split in sorted(utterances)
    }


def _training(sources, test, hold_out_speakers, left_out):
    """The files that no trial list keeps out of training."""
    speakers = {source.spk_id for source in test} if hold_out_speakers else set()
    tested = {source.path for source in test}
    train = []
    for source in sources:
        if source.path in tested:
            left_out.add("test_file", source.path)
        elif source.spk_id in speakers:
            left_out.add("test_speaker", source.path)
        else:
            train.append(source)
    return train


def _check_trials(test, audio, skip_missing):
    """Stops at files that trials need and that cannot be scored, or returns them."""
    bad, unusable = LeftOut(), set()
    for source in test:
        problem = audio[source.path][1].problem
        if problem in _FATAL_IN_TRIALS:
            bad.add(problem, source.path)
            unusable.add(source)
    if unusable and not skip_missing:
        raise ValueError(
            f"{len(unusable)} files of the trial lists cannot be scored:\n{bad}\n"
            "Or take their trials out of the lists (verify.py --skip_missing True)."
        )
    if unusable:
        logger.warning("%d files of the trial lists:\n%s", len(unusable), bad)
    return unusable


def _keep(train, test, audio, arguments, left_out):
    """Good training files, without copies, in an order blind to the speaker."""
    digests = {audio[source.path][1].digest for source in test} - {""}
    kept = []
    for source in _sorted(train, audio):
        facts = audio[source.path][1]
        problem = problem_of(facts, arguments["sample_rate"], arguments["min_duration"])
        if not problem and facts.digest in digests:
            problem = "duplicate"
        if problem:
            left_out.add(problem, source.path)
        else:
            digests |= {facts.digest} - {""}
            kept.append(source)
    return kept


def _sorted(sources, audio):
    """Sorts by place in the corpus, then content: speakers' names decide no crop."""

    def place(source):
        return (source.order, source.size)

    def content(source):
        path, facts = audio[source.path]
        return facts.digest or _file_digest(path)

    result = []
    for _, group in groupby(sorted(sources, key=place), key=place):
        group = list(group)
        result += sorted(group, key=content) if len(group) > 1 else group
    return result


def _file_digest(path):
    digest = hashlib.blake2b(digest_size=8)
    if os.path.isfile(path):
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def _row(name, source, audio, vad):
    path, facts = audio[source.path]
    row = {
        "ID": name,
        "duration": round(facts.frames / facts.rate, 6),
        "wav": path,
        "start": 0,
        "stop": facts.frames,
    }
    if source.spk_id is not None:
        row["spk_id"] = source.spk_id
    if vad:
        row["speech"] = facts.speech
    return row
