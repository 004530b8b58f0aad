"""From the labeled files of an emotion corpus to its manifest and folds."""

import logging
import os
from collections import Counter
from pathlib import Path

from speechbrain_dino.corpora.emotion_labels import NO_AGREEMENT
from speechbrain_dino.corpora.preparation import Preparation, remarks_on, usable_audio
from speechbrain_dino.data.checks import problem_of, reads_samples, report
from speechbrain_dino.data.folds import PARTS, count_folds, table_of, write_folds
from speechbrain_dino.data.manifest import Manifest

logger = logging.getLogger(__name__)

_NOT_A_CLASS = "none needed: not one of the classes; name it in classes to keep it"
_REMEDIES = {
    "conflicting_copies": "none needed: the same audio has two labels or two speakers",
    f"emotion_{NO_AGREEMENT}": "none needed: the raters did not agree on an emotion",
}


def prepare_emotion(items, tables, make_folds, save_folder, left_out, arguments):
    """Writes utterances.csv, folds.json and prepare.json.

    Arguments
    ---------
    items : list of Labeled
        All labeled utterances.
    tables : iterable of str or Path
        The files that labels come from.
    make_folds : callable
        Manifest -> (list of Fold, how they were made in words).
    save_folder : str or Path
    left_out : LabelsLeftOut
        What was left out so far.
    arguments : dict
        classes, allow_missing, sample_rate, min_duration, check, num_workers and
        whatever else the result depends on.

    Returns
    -------
    dict
        prepare.json: kept, hours, left_out, "classes" ({class: utterances}), "folds"
        ({fold: {part: {class: n}}}), "speakers", "how" the folds were made ...

    Raises
    ------
    ValueError
        If audio is missing, nothing is left, or a fold does not pass
        :func:`~speechbrain_dino.data.folds.check_folds`.
    """
    save_folder = Path(os.path.abspath(save_folder))
    rate, full = arguments["sample_rate"], reads_samples(arguments["check"])
    items = sorted(items, key=lambda item: item.source.id)
    job = _job(items, tables, save_folder, arguments)
    done = job.previous()
    if done is not None:
        return done
    items = _wanted(items, arguments["classes"], left_out)
    items = _with_audio(items, arguments["allow_missing"], left_out)
    sources = [item.source for item in items]
    options = (rate, full, False, arguments["num_workers"])
    audio = usable_audio(sources, save_folder, *options)
    paths = [source.path for source in sources]
    kept = _keep(list(zip(items, audio)), rate, arguments["min_duration"], left_out)
    report(len(kept), left_out, "labeled utterance")
    manifest = Manifest.from_rows(_row(item, *audio) for item, audio in kept)
    folds, how = make_folds(manifest)
    manifest.to_csv(save_folder / "utterances.csv")
    labels = arguments["classes"]
    write_folds(save_folder / "folds.json", folds, manifest, labels)
    counts = count_folds(folds, manifest, labels)
    unknown = sum(not item.source.spk_id for item, _ in kept)
    if unknown:
        logger.info("%d utterances of unknown speakers, each by itself", unknown)
    logger.info("%s\n%s", how, table_of(counts, labels))
    return job.finish(
        {
            "kept": len(kept),
            "hours": int(manifest.lengths.sum()) / rate / 3600,
            "left_out": left_out.as_dict(),
            "remarks": remarks_on(zip(paths, audio)).as_dict(),
            "converted": sum(item.source.path != path for item, (path, _) in kept),
            "classes": dict.fromkeys(labels, 0) | Counter(manifest.column("emotion")),
            "speakers": len(set(manifest.column("spk_id")) - {""}),
            "unknown_speaker": unknown,
            "how": how,
            "folds": counts,
            "in_no_fold": len(manifest) - _in_folds(folds),
        }
    )


def _in_folds(folds):
    return len(
        {int(i) for fold in folds for part in PARTS for i in getattr(fold, part)}
    )


def _job(items, tables, save_folder, arguments):
    # How many processes work does not change the result.
    stable = {name: v for name, v in arguments.items() if name != "num_workers"}
    files = [(i.source.path, i.source.size, i.source.changed) for i in items]
    stats = [(str(path), os.stat(path)) for path in tables]
    files += [(path, stat.st_size, stat.st_mtime_ns) for path, stat in stats]
    return Preparation(save_folder, stable, files, ["utterances.csv", "folds.json"])


def _wanted(items, classes, left_out):
    wanted = []
    for item in items:
        if item.emotion in classes:
            wanted.append(item)
        else:
            kind = f"emotion_{item.emotion}"
            left_out.add(kind, item.source.path, _REMEDIES.get(kind, _NOT_A_CLASS))
    return wanted


def _with_audio(items, allow_missing, left_out):
    missing = [item.source.path for item in items if item.source.size < 0]
    if missing and not allow_missing:
        more = f"\n  and {len(missing) - 5} more" if len(missing) > 5 else ""
        raise ValueError(
            f"{len(missing)} labeled utterances have no audio:\n  "
            + "\n  ".join(missing[:5])
            + f"{more}\nExtract the corpus again, or leave them out with "
            "allow_missing: True"
        )
    for path in missing:
        left_out.add("missing", path)
    return [item for item in items if item.source.size >= 0]


def _keep(pairs, sample_rate, min_duration, left_out):
    """Good audio, once; copies that contradict each other not at all."""
    good, emotions, speakers = [], {}, {}
    for item, (path, facts) in pairs:
        problem = problem_of(facts, sample_rate, min_duration)
        if problem:
            left_out.add(problem, item.source.path)
            continue
        good.append((item, (path, facts)))
        content = facts.digest or path
        emotions.setdefault(content, set()).add(item.emotion)
        speakers.setdefault(content, set()).update({item.source.spk_id} - {""})
    kept, contents = [], set()
    # Of two copies the one whose speaker is known is kept.
    for item, (path, facts) in sorted(good, key=lambda pair: not pair[0].source.spk_id):
        content = facts.digest or path
        if len(emotions[content]) > 1 or len(speakers[content]) > 1:
            kind = "conflicting_copies"
            left_out.add(kind, item.source.path, _REMEDIES[kind])
        elif content in contents:
            left_out.add("duplicate", item.source.path)
        else:
            contents.add(content)
            kept.append((item, (path, facts)))
    return sorted(kept, key=lambda pair: pair[0].source.id)


def _row(item, path, facts):
    return {
        "ID": item.source.id,
        "duration": round(facts.frames / facts.rate, 6),
        "wav": path,
        "start": 0,
        "stop": facts.frames,
        "spk_id": item.source.spk_id,
        "emotion": item.emotion,
        **item.columns,
    }
