"""The stages of a run that probes frozen embeddings."""

import logging
import re
import time
from pathlib import Path

import numpy as np
import pandas as pd
from speechbrain.utils.distributed import ddp_barrier, if_main_process

from speechbrain_dino.embeddings.cache import embed_to_folder
from speechbrain_dino.metrics.classification import MOST_CLASSES, log_metrics
from speechbrain_dino.probing.data import (
    SPEAKER,
    labels_of,
    read_target,
    restricted,
    speakers_of,
)
from speechbrain_dino.probing.inputs import normalize_speakers
from speechbrain_dino.probing.scorer import Scorer, best_systems
from speechbrain_dino.probing.sources import compared
from speechbrain_dino.reports.probe import write_probe_report
from speechbrain_dino.utils.distributed import join_processes
from speechbrain_dino.utils.ending import together
from speechbrain_dino.utils.errors import plain_errors
from speechbrain_dino.utils.files import replacing
from speechbrain_dino.utils.progress import progress
from speechbrain_dino.utils.provenance import provenance
from speechbrain_dino.utils.refusals import accept
from speechbrain_dino.utils.results import update_results

logger = logging.getLogger(__name__)

_EMBED = ("precision", "batch_seconds", "window_seconds", "workers", "sample_rate")
_EMBED += ("on_bad", "channel")


@together
def run_probe(launch, hparams):
    """Embeds labeled utterances and learns linear models of the frozen embeddings.

    Arguments
    ---------
    launch : speechbrain_dino.runs.command_line.Launch
        For the run options, such as the device.
    hparams : dict
        What the YAML describes, see ``recipes/CREMA-D/hparams/probe.yaml``.

    Returns
    -------
    dict
        Content of results.json; {} on other processes than the first.
    """
    started = time.time()
    output = Path(hparams["output_folder"])
    with plain_errors(ValueError, OSError, ImportError):
        device = join_processes(launch.run_opts.device)
        data = hparams["probe_data"]()
        # Before the embedding, so that what is wrong costs no time.
        targets = _targets(hparams, data)
        options = {name: hparams[name] for name in _EMBED} | {"device": device}
        tables = _embedded(hparams, data, options)
        if not if_main_process():
            ddp_barrier()
            return {}
        kept = _with_embedding(tables, len(data.manifest))
        if not kept.all():
            data, tables = restricted(data, kept), _rows(tables, kept)
            targets = _targets(hparams, data)
        probes = {}
        for target in targets:
            probes[target.label] = _probed(hparams, data, target, tables)
            _log(probes[target.label])
        accept()
        ddp_barrier()
    (output / "results.json").unlink(missing_ok=True)
    results = update_results(
        output / "results.json",
        {
            **provenance(hparams["seed"]),
            "model": str(hparams["model"]),
            "precision": hparams["precision"],
            "probe": probes,
            "seconds": round(time.time() - started, 1),
        },
    )
    logger.info("Report: %s", write_probe_report(output, results))
    return results


def _targets(hparams, data):
    columns = labels_of(hparams["column"])
    if hparams["speaker_norm"]:
        if SPEAKER in columns:
            raise ValueError(
                f"speaker_norm takes off what tells {SPEAKER} apart: set it to False"
            )
        if speakers_of(data.manifest) is None:
            raise ValueError(
                f"speaker_norm wants the column {SPEAKER}, which the manifest lacks: "
                "complete it, or set speaker_norm: False"
            )
    options = hparams["kind"], hparams["leave_out_unlabeled"]
    targets = [read_target(data, column, *options) for column in columns]
    for target in targets:
        number = len(target.classes)
        what = f"{number} classes" if number else "numbers"
        logger.info("%s: %s, %d without label", target.label, what, target.left_out)
    return targets


def _embedded(hparams, data, options):
    """System -> vectors of each fold and what they are; audio passes a source once."""
    tables = {}
    further = hparams["compare"], hparams["layers"]
    for name, source in compared(hparams["systems"], *further).items():
        if not source.by_fold:
            embedded = _embedded_source(hparams, data, name, source, options)
            for system, (vectors, about) in embedded.items():
                tables[system] = dict.fromkeys(_names(data), vectors), about
            continue
        for fold in _names(data):
            one = source.of_fold(fold), options, fold
            embedded = _embedded_source(hparams, data, name, *one)
            for system, (vectors, about) in embedded.items():
                of_folds, _ = tables.setdefault(system, ({}, about))
                of_folds[fold] = vectors
                about["about"] = source.source
    return tables


def _names(data):
    return [fold.name for fold in data.folds]


def _embedded_source(hparams, data, name, source, options, fold=""):
    loaded = source.load(data.manifest, hparams["sample_rate"])
    logger.info("Embedding with %s: %s", name, loaded.about)
    folder = Path(hparams["embedding_folder"]) / name / fold
    parts = loaded.embedder, loaded.digest
    table = embed_to_folder(folder, data.manifest, *parts, **options)
    vectors = table.of(data.manifest.ids)
    systems = {}
    for layer, columns in loaded.columns.items():
        system = name if len(loaded.columns) == 1 else f"{name}, {layer}"
        about = {"source": name, "layer": layer, "about": loaded.about}
        systems[system] = vectors[:, columns], about
    return systems


def _with_embedding(tables, number):
    """Which utterances have an embedding of every system, bool (N,)."""
    kept = np.ones(number, dtype=bool)
    for of_folds, _ in tables.values():
        for vectors in of_folds.values():
            kept &= ~np.isnan(vectors[:, 0])
    if not kept.all():
        logger.warning("%d of %d utterances are left out", (~kept).sum(), number)
    return kept


def _rows(tables, kept):
    return {
        system: ({fold: vectors[kept] for fold, vectors in of_folds.items()}, about)
        for system, (of_folds, about) in tables.items()
    }


def _probed(hparams, data, target, tables):
    """What is found of one label."""
    speakers = speakers_of(data.manifest)
    scorer = Scorer(target, speakers, hparams["bootstrap"], hparams["seed"])
    probe = hparams["probe" if target.classes else "number_probe"]
    systems, predictions = scorer.floors(), {}
    # A group that is the label divides nothing: each must be learnt from.
    groups = None if target.label == SPEAKER else data.groups
    for name, (of_folds, about) in progress(tables.items(), desc=target.label):
        outcomes = []
        for fold in target.folds:
            vectors = of_folds[fold.name]
            if hparams["speaker_norm"]:
                vectors = normalize_speakers(vectors, speakers)
            outcomes += probe.run(vectors, target.values, [fold], groups)
        name = f"{name}{MARK}" if hparams["speaker_norm"] else name
        systems[name] = scorer.of_outcomes(outcomes) | {
            **about,
            "dimensions": vectors.shape[1],
        }
        predictions[name] = outcomes
        _warn_of_edges(name, probe, outcomes)
    _write(hparams["output_folder"], data.manifest, scorer, predictions)
    best, layers = best_systems(systems)
    return {
        "label": target.label,
        "classes": target.classes,
        "left_out": target.left_out,
        "how": data.how,
        "criterion": probe.criterion_name,
        "regularization": {probe.parameter: probe.values},
        "speaker_norm": bool(hparams["speaker_norm"]),
        "best_in_validation": best,
        "best_layers": {source: systems[n]["layer"] for source, n in layers.items()},
        "systems": systems,
        "folds": scorer.counts(),
    }


MARK = " *"
"""What marks systems that use the identity of the test speakers."""


def _warn_of_edges(name, probe, outcomes):
    edges = {probe.values[0], probe.values[-1]} if len(probe.values) > 1 else ()
    at_edges = [outcome.fold for outcome in outcomes if outcome.chosen in edges]
    if at_edges:
        logger.info(
            "%s: the best %s is the first or last value in %d of %d folds; with "
            "others beyond it might do better",
            name,
            probe.parameter,
            len(at_edges),
            len(outcomes),
        )


def _write(output, manifest, scorer, predictions):
    """One CSV a system: ID, fold, label, predicted."""
    folder = Path(output) / "predictions" / scorer.target.label
    for name, outcomes in predictions.items():
        parts = [
            pd.DataFrame(
                {
                    "ID": [manifest.ids[int(row)] for row in outcome.rows],
                    "fold": outcome.fold,
                    "label": scorer.shown(scorer.target.values[outcome.rows]),
                    "predicted": scorer.shown(outcome.predicted),
                }
            )
            for outcome in outcomes
        ]
        file = re.sub(r"[^\w.-]+", "_", name).strip("_")
        with replacing(folder / f"{file}.csv") as draft:
            pd.concat(parts).to_csv(draft, index=False)


def _log(probed):
    logger.info("%s (%s)", probed["label"], probed["how"])
    few = probed["classes"] if len(probed["classes"]) <= MOST_CLASSES else ()
    log_metrics(probed["systems"], few)
    if probed["speaker_norm"]:
        logger.info("%s: normalized by speaker, tested ones too", MARK.strip())
    for source, layer in probed["best_layers"].items():
        logger.info("Best layer of %s in validation: %s", source, layer)
    logger.info("Best in validation: %s", probed["best_in_validation"])


if __name__ == "__main__":
    raise SystemExit("start it by recipes/VoxCeleb/probe.py, whose --help says how")
