"""The stages of a verification run, for the recipes' ``verify.py``."""

import logging
import shutil
import time
from pathlib import Path

import numpy as np
from speechbrain.utils.distributed import (
    ddp_barrier,
    if_main_process,
    run_on_main,
)

from speechbrain_dino.corpora.preparation import read_summary
from speechbrain_dino.corpora.utterances import find_utterances
from speechbrain_dino.data.manifest import Manifest
from speechbrain_dino.embeddings.cache import embed_to_folder
from speechbrain_dino.embeddings.pretrained import load_pretrained
from speechbrain_dino.reports.report import write_report
from speechbrain_dino.runs.seen_speakers import check_unseen
from speechbrain_dino.scoring.backends import Cohort
from speechbrain_dino.scoring.calibrated_lists import CalibrationPlan
from speechbrain_dino.scoring.conditions import describe, read_metadata
from speechbrain_dino.scoring.lists import ListMetrics, results_frame, score_lists
from speechbrain_dino.scoring.verify import read_lists
from speechbrain_dino.utils.distributed import join_processes, on_main_first
from speechbrain_dino.utils.ending import together
from speechbrain_dino.utils.errors import plain_errors
from speechbrain_dino.utils.provenance import provenance
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
        model = load_pretrained(hparams["model"])
        manifest, lists, prepared = _prepared(hparams)
        seen = check_unseen(model.source, prepared, hparams["allow_seen_speakers"])
        # Before the embedding, so that what is wrong costs no time.
        calibration_list = _name_of_list(hparams["calibration_list"], lists)
        wanted = calibration_list, hparams["fuse"]
        plan = CalibrationPlan(*wanted, lists, list(hparams["scorings"]), output)
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
        if not if_main_process():
            ddp_barrier()
            return {}
        about.to_csv(folder / "test" / "metadata.csv", index=False)
        for replaced in ("scores", "calibration"):
            shutil.rmtree(output / replaced, ignore_errors=True)
        scorings = hparams["scorings"]
        left_out = {}
        scored = score_lists(
            lists, table, scorings, cohort, output, metrics_of, left_out
        )
        first = next(iter(scored))
        scored |= plan.run(scored, metrics_of, left_out)
        skipped = prepared.get("skipped", {})
        _note_skipped(scored, skipped)
        ddp_barrier()
    (output / "results.json").unlink(missing_ok=True)
    results = update_results(
        output / "results.json",
        {
            **provenance(hparams["seed"]),
            "model": model.source,
            "precision": hparams["precision"],
            "verification": scored[first]["lists"],
            "scorings": scored,
            "ways_left_out": left_out,
            "skipped_trials": skipped,
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


_EMBED = (
    "precision",
    "batch_seconds",
    "window_seconds",
    "workers",
    "sample_rate",
)


def _name_of_list(given, lists):
    """A trial list's name, also where it is given with the ending of its file."""
    bare = str(given).removesuffix(".txt")
    return bare if bare in lists and not Path(str(given)).is_file() else given


def _prepared(hparams):
    """The manifest of the lists' utterances, the lists, and prepare.json."""
    run_on_main(hparams["prepare"])
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
    table = embed_to_folder(folder, manifest, *parts, **options)
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
