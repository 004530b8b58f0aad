"""The stages of a verification run, for the recipes' ``verify.py``."""

import logging
import time
from pathlib import Path

import numpy as np
from speechbrain.utils.distributed import ddp_barrier, if_main_process

from speechbrain_dino.corpora.preparation import read_summary
from speechbrain_dino.corpora.utterances import find_utterances
from speechbrain_dino.data.manifest import Manifest
from speechbrain_dino.data.trials import check_both_kinds, leave_out, read_lists
from speechbrain_dino.embeddings.cache import embed_to_folder
from speechbrain_dino.embeddings.pretrained import load_pretrained, weights_digest
from speechbrain_dino.embeddings.speech_features import SpeechFeatures, with_vad
from speechbrain_dino.reports.report import write_report
from speechbrain_dino.runs.seen_speakers import check_unseen
from speechbrain_dino.scoring.backends import Cohort
from speechbrain_dino.scoring.calibrated_lists import CalibrationPlan
from speechbrain_dino.scoring.conditions import describe, read_metadata
from speechbrain_dino.scoring.lists import ListMetrics, results_frame, score_lists
from speechbrain_dino.utils.distributed import (
    alone_on_main,
    join_processes,
    on_main_first,
)
from speechbrain_dino.utils.ending import together
from speechbrain_dino.utils.errors import plain_errors
from speechbrain_dino.utils.ownership import replacing_folder
from speechbrain_dino.utils.provenance import provenance
from speechbrain_dino.utils.refusals import accept
from speechbrain_dino.utils.results import update_results

logger = logging.getLogger(__name__)


@together
def run_verification(hparams, run_opts):
    """Embeds, scores every list in every way, and writes results and report.

    Arguments
    ---------
    hparams : dict
        The YAML's objects, see ``recipes/VoxCeleb/hparams/verify.yaml``.
    run_opts : speechbrain.utils.run_opts.RunOptions
        SpeechBrain's run options, for the device.

    Returns
    -------
    dict
        Content of results.json; {} on other processes than the first.
    """
    started = time.time()
    output = Path(hparams["output_folder"])
    with plain_errors(ValueError, OSError, ImportError):
        model = _loaded(hparams)
        manifest, lists, prepared = _prepared(hparams)
        seen = check_unseen(model.source, prepared, hparams["allow_seen_speakers"])
        # Before the embedding, so that what is wrong costs no time.
        plan = _plan(hparams, lists, output)
        about = _described(manifest, hparams)
        metrics_of = ListMetrics(lists, manifest, about, hparams["bootstrap"])
        options = {
            "device": join_processes(run_opts.device),
            **{name: hparams[name] for name in _EMBED},
        }
        folder = Path(hparams["embedding_folder"])
        parts = (model.embedder, model.digest)
        cohort = _cohort(hparams, folder / "cohort", parts, options, manifest)
        table = embed_to_folder(folder / "test", manifest, *parts, **options)
        lists, bad_trials, lists_left_out = _scorable(lists, table)
        if any(bad_trials.values()):
            about = about[np.isin(manifest.ids, table.ids)].reset_index(drop=True)
            plan = _plan(hparams, lists, output)
            metrics_of = ListMetrics(lists, table, about, hparams["bootstrap"])
        if not if_main_process():
            ddp_barrier()
            return {}
        accept()
        about.to_csv(folder / "test" / "metadata.csv", index=False)
        to_score = lists, table, hparams["scorings"], cohort
        scored, left_out = _scored(to_score, plan, metrics_of, output)
        _note_skipped(scored, prepared.get("skipped", {}))
        ddp_barrier()
    (output / "results.json").unlink(missing_ok=True)
    results = update_results(
        output / "results.json",
        {
            **provenance(hparams["seed"]),
            "model": model.source,
            "precision": hparams["precision"],
            "vad": isinstance(model.embedder.compute_features, SpeechFeatures),
            "verification": next(iter(scored.values()))["lists"],
            "scorings": scored,
            "ways_left_out": left_out,
            "skipped_trials": prepared.get("skipped", {}),
            "bad_audio": table.status,
            "trials_left_out": bad_trials,
            "lists_left_out": lists_left_out,
            "seen_speakers": seen,
            "seconds": round(time.time() - started, 1),
        },
    )
    page = write_report(output)
    logger.info("%s", results_frame(scored, left_out).to_string(index=False))
    for way, why in left_out.items():
        logger.info("%s is left out: %s", way, why)
    logger.info("Report: %s", page)
    return results


def _plan(hparams, lists, output):
    """What is calibrated and fused."""
    calibration_list = _name_of_list(hparams["calibration_list"], lists)
    ways = list(hparams["scorings"])
    return CalibrationPlan(calibration_list, hparams["fuse"], lists, ways, output)


def _scored(to_score, plan, metrics_of, output):
    """Metrics of all ways to score, the first one raw; and why others are left out."""
    left_out = {}
    with (
        replacing_folder(output / "scores", "scoring") as scores,
        replacing_folder(output / "calibration", "calibration") as calibration,
    ):
        # score_lists adds "scores".
        scored = score_lists(*to_score, scores.parent, metrics_of, left_out)
        scored |= plan.run(scored, metrics_of, left_out, scores, calibration)
    return scored, left_out


_EMBED = (
    "precision",
    "batch_seconds",
    "window_seconds",
    "workers",
    "sample_rate",
    "on_bad",
    "channel",
)


def _scorable(lists, table):
    """The lists without trials of audio that gave no embedding; what was left out.

    Numbers of trials by list, and lists that cannot be scored without them, with why.
    """
    absent = table.status.keys() - set(table.ids)
    usable, skipped, unusable = {}, {}, {}
    for name, trials in lists.items():
        rest, kept = leave_out(trials, absent)
        skipped[name] = int((~kept).sum())
        if not skipped[name]:
            usable[name] = trials
            continue
        what = f"{skipped[name]} of {len(kept)} trials are left out: their audio is bad"
        logger.warning("%s: %s", name, what)
        try:
            if not kept.any():
                raise ValueError(f"{trials.path}: no trial is left")
            check_both_kinds(rest)
            usable[name] = rest
        except ValueError as error:
            unusable[name] = f"{what}. Without them, {error}"
            logger.warning("%s cannot be scored. Without them, %s", name, error)
    if not usable:
        raise ValueError("no list can be scored: " + "; ".join(unusable.values()))
    return usable, skipped, unusable


def _loaded(hparams):
    """The model, with or without the VAD where the YAML says so."""
    model = load_pretrained(hparams["model"])
    embedder = with_vad(model.embedder, hparams["vad"], hparams["sample_rate"])
    if embedder is model.embedder:
        return model
    return model._replace(embedder=embedder, digest=weights_digest(embedder))


def _name_of_list(given, lists):
    """A trial list's name, also where it is given with the ending of its file."""
    bare = str(given).removesuffix(".txt")
    return bare if bare in lists and not Path(str(given)).is_file() else given


def _prepared(hparams):
    """The manifest of the lists' utterances, the lists, and prepare.json."""
    alone_on_main(hparams["prepare"])
    folder = Path(hparams["data_save_folder"])
    # Not what lies in the folder: lists of an earlier run may lie there as well.
    prepared = read_summary(folder)
    paths = [folder / "trials" / f"{name}.txt" for name in prepared["trials"]]
    return Manifest.from_csv(folder / "test.csv"), read_lists(paths), prepared


def _note_skipped(scored, skipped):
    """Adds to the metrics of a list how many of its trials have no files."""
    for about in scored.values():
        for name in skipped.keys() & about["lists"].keys():
            about["lists"][name]["skipped"] = skipped[name]["trials"]


def _described(manifest, hparams):
    """What is known of the utterances of the lists."""
    metadata = hparams["metadata"] and read_metadata(hparams["metadata"])
    about = describe(manifest.ids, _speakers(manifest), metadata)
    about["seconds"] = manifest.lengths / hparams["sample_rate"]
    return about


def _speakers(manifest):
    try:
        return [str(name) for name in manifest.column("spk_id")]
    except KeyError:
        return None


def _cohort(hparams, folder, parts, options, tested):
    """The embedded cohort, None where the YAML names none."""
    wanted = hparams["cohort"]
    if wanted is None:
        return None
    data = Path(hparams["data_save_folder"])
    source = data / "train.csv" if wanted == "train" else wanted
    rate = hparams["sample_rate"]
    try:
        manifest = on_main_first(lambda: find_utterances(source, folder / "data", rate))
    except ValueError as error:
        raise ValueError(f"cohort: {source}: {error}") from error
    if not len(manifest):
        logger.warning(
            "The lists name every speaker in data_folder, so there is no cohort: name "
            "other utterances with --cohort (manifest or folder)"
        )
        return None
    label = hparams["cohort_label"]
    try:
        labels = np.array([str(value) for value in manifest.column(label)])
    except KeyError:
        labels = None
    _warn_of_overlap(labels, _speakers(tested), source)
    if options["on_bad"] == "fail":  # it is trials that cannot go without an utterance
        options = options | {"on_bad": "skip"}
    table = embed_to_folder(folder, manifest, *parts, **options)
    if labels is not None and len(table) < len(labels):
        labels = labels[np.isin(manifest.ids, table.ids)]
    name = "speakers outside the lists" if wanted == "train" else str(wanted)
    return Cohort(table.vectors, labels, name)


def _warn_of_overlap(labels, speakers, source):
    shared = set(() if labels is None else labels) & set(speakers or ()) - {""}
    if shared:
        logger.warning(
            "%d speakers of the trial lists are in the cohort %s as well, such as %s: "
            "normalized scores would know them",
            len(shared),
            source,
            min(shared),
        )


if __name__ == "__main__":
    raise SystemExit("start it by recipes/VoxCeleb/verify.py, whose --help says how")
