"""From the files of a speech corpus to its manifests and trial lists."""

import csv
import hashlib
import os
from itertools import groupby
from pathlib import Path

from speechbrain_dino.corpora.preparation import Preparation, remarks_on, usable_audio
from speechbrain_dino.corpora.trial_lists import find_list, resolve
from speechbrain_dino.data.checks import LeftOut, problem_of, reads_samples, report
from speechbrain_dino.data.manifest import Manifest
from speechbrain_dino.data.trials import write_trials

LEFT_OUT = "left_out.csv"
"""Files whose audio is bad, and why."""

# A trial cannot be left out of a list, so these stop the preparation.
_FATAL_IN_TRIALS = ("missing", "denied", "special", "name")
_FATAL_IN_TRIALS += ("empty", "unreadable", "non_finite", "silent")


def prepare_speech(
    sources,
    index_of,
    folders,
    save_folder,
    left_out,
    hold_out_speakers,
    arguments,
):
    """Writes train.csv, test.csv, trials/ and prepare.json, which is returned.

    Arguments
    ---------
    sources : list of Source
        All files of the corpus.
    index_of : callable
        Name in a trial list -> row of ``sources`` or None.
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
    """
    save_folder = Path(os.path.abspath(save_folder))
    full = reads_samples(arguments["check"])
    names = arguments["trial_lists"]
    names = [names] if isinstance(names, str | os.PathLike) else names
    arguments = arguments | {"trial_lists": [str(name) for name in names]}
    lists = _find_lists(arguments["trial_lists"], folders, save_folder)
    job = _job(sources, lists, save_folder, arguments)
    done = job.previous()
    if done is not None:
        return done

    trials = {name: resolve(path, index_of) for name, path in lists.items()}
    named = {}
    for _, files in trials.values():
        named |= files
    train = _training(sources, set(named.values()), hold_out_speakers, left_out)
    test = [sources[i] for i in dict.fromkeys(named.values())]
    options = (
        arguments["sample_rate"], full, arguments["vad"], arguments["num_workers"]
    )  # fmt: skip
    audio = dict(
        zip(
            [s.path for s in test + train],
            usable_audio(test + train, save_folder, *options, arguments.get("channel")),
        )
    )
    _check_trials(test, audio)
    kept = _keep(train, test, audio, arguments, left_out)
    left_out.write(save_folder / LEFT_OUT)
    if kept or arguments.get("require_training", True):
        report(len(kept), left_out)
    manifest = Manifest.from_rows(
        _row(source.id, source, audio, arguments["vad"]) for source in kept
    )
    manifest.to_csv(save_folder / "train.csv")
    evaluation = Manifest.from_rows(
        _row(name, sources[i], audio, arguments["vad"]) for name, i in named.items()
    )
    evaluation.to_csv(save_folder / "test.csv")
    for name, (listed, _) in trials.items():
        write_trials(save_folder / "trials" / f"{name}.txt", listed)
    seconds = int(manifest.lengths.sum()) / arguments["sample_rate"]
    summary = {
        "kept": len(kept),
        "hours": seconds / 3600,
        "left_out": left_out.as_dict(),
        "remarks": remarks_on(audio.items()).as_dict(),
        "converted": sum(audio[s.path][0] != s.path for s in kept),
        "test": len(named),
        "trials": {name: len(listed.enrol) for name, (listed, _) in trials.items()},
    }
    return job.finish(summary)


def read_left_out(save_folder):
    """What a preparation left out for its audio: list of (file, kind)."""
    path = Path(save_folder) / LEFT_OUT
    if not path.is_file():  # prepared by an earlier version
        return []
    with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
        return [(row["wav"], row["status"]) for row in csv.DictReader(file)]


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


def _training(sources, tested, hold_out_speakers, left_out):
    """The files that no trial list keeps out of training."""
    speakers = {sources[i].spk_id for i in tested} if hold_out_speakers else set()
    train = []
    for i, source in enumerate(sources):
        if i in tested:
            left_out.add("test_file", source.path)
        elif source.spk_id in speakers:
            left_out.add("test_speaker", source.path)
        else:
            train.append(source)
    return train


def _check_trials(test, audio):
    """Stops if a file that trials need cannot be scored."""
    bad, fatal = LeftOut(), 0
    for source in test:
        problem = audio[source.path][1].problem
        if problem in _FATAL_IN_TRIALS:
            bad.add(problem, source.path)
            fatal += 1
    if fatal:
        raise ValueError(
            f"{fatal} files of the trial lists cannot be scored:\n{bad}\n"
            "Or take their trials out of the lists."
        )


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
