"""The stations of a run that probes frozen embeddings."""

import logging
import time
from pathlib import Path

import numpy as np
from speechbrain.utils.distributed import ddp_barrier, if_main_process

from speechbrain_dino.class_metrics import classification_figures, log_figures
from speechbrain_dino.command_line import plain_errors
from speechbrain_dino.embed_command import join_processes
from speechbrain_dino.embedding_folder import embed_to_folder
from speechbrain_dino.folds import PARTS
from speechbrain_dino.probe_data import prepared_data, read_target
from speechbrain_dino.probe_inputs import normalise_speakers
from speechbrain_dino.probe_report import write_probe_report
from speechbrain_dino.results import provenance, update_results

logger = logging.getLogger(__name__)

_EMBED = ("precision", "batch_seconds", "window_seconds", "workers", "sample_rate")


def run_probe(launch, hparams):
    """Embeds a labelled corpus and learns linear models of the frozen embeddings.

    Arguments
    ---------
    launch : speechbrain_dino.command_line.Launch
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
        data = prepared_data(hparams["prepare"], hparams["data_save_folder"])
        # Labels before the embedding, so that what is wrong costs no time.
        target = read_target(data, hparams["column"], "classes")
        options = {name: hparams[name] for name in _EMBED}
        options["device"] = join_processes(launch.run_opts.device)
        tables = _embedded(hparams, data.manifest, options)
        if not if_main_process():
            ddp_barrier()
            return {}
        systems = _probed(hparams, data, target, tables)
        ddp_barrier()
    best, best_layers = _best(systems)
    path = output / "results.json"
    path.unlink(missing_ok=True)
    results = update_results(
        path,
        {
            **provenance(hparams["seed"]),
            "model": str(hparams["model"]),
            "probe": {
                "label": target.label,
                "classes": target.classes,
                "how": data.how,
                "best_in_validation": best,
                "best_layers": best_layers,
                "systems": systems,
                "folds": _counts(target, data.groups),
            },
            "seconds": round(time.time() - started, 1),
        },
    )
    log_figures(systems, target.classes)
    logger.info("Best in validation: %s", best)
    for source, layer in best_layers.items():
        logger.info("Best layer of %s in validation: %s", source, layer)
    logger.info("Report: %s", write_probe_report(output, results))
    return results


def _embedded(hparams, manifest, options):
    """System -> vectors and what they are; audio passes each source once."""
    tables = {}
    for name, source in hparams["systems"].items():
        loaded = source.load(manifest, hparams["sample_rate"])
        logger.info("Embedding with %s: %s", name, loaded.about)
        folder = Path(hparams["embedding_folder"]) / name
        parts = loaded.embedder, loaded.digest
        table = embed_to_folder(folder, manifest, *parts, **options)
        for layer, columns in loaded.columns.items():
            system = name if len(loaded.columns) == 1 else f"{name}, {layer}"
            about = {"source": name, "layer": layer, "about": loaded.about}
            tables[system] = table.vectors[:, columns], about
    return tables


def _probed(hparams, data, target, tables):
    """System -> figures, floors first."""
    systems = {
        name: _figures(hparams, data, target, guesses)
        for name, guesses in floors(target, hparams["seed"]).items()
    }
    probe = hparams["probe"]
    for name, (vectors, about) in tables.items():
        if hparams["speaker_norm"]:
            vectors = normalise_speakers(vectors, data.groups)
        outcomes = probe.run(vectors, target.values, target.folds, data.groups)
        predicted = [(fold.rows, fold.predicted) for fold in outcomes]
        systems[name] = _figures(hparams, data, target, predicted) | {
            **about,
            "dimensions": vectors.shape[1],
            "validation": float(np.mean([fold.validation for fold in outcomes])),
            "chosen": [fold.chosen for fold in outcomes],
        }
        uar = systems[name]["pooled"]["uar"]
        logger.info("%s: UAR %.1f %%", name, 100 * uar)
    return systems


def _figures(hparams, data, target, outcomes):
    names = np.array(target.classes, dtype=object)
    folds = [(names[target.values[rows]], names[found]) for rows, found in outcomes]
    groups = data.groups
    speakers = groups if groups is None else [groups[rows] for rows, _ in outcomes]
    draws, seed = hparams["bootstrap"], hparams["seed"]
    return classification_figures(folds, target.classes, speakers, draws, seed)


def _best(systems):
    """The system that is best in validation, and the best layer of each source."""
    best, best_layers = None, {}
    for name, found in systems.items():
        if "source" not in found:
            continue
        other = best_layers.get(found["source"])
        if other is None or found["validation"] > systems[other]["validation"]:
            best_layers[found["source"]] = name
        if best is None or found["validation"] > systems[best]["validation"]:
            best = name
    return best, {source: systems[n]["layer"] for source, n in best_layers.items()}


def _counts(target, speakers):
    """Fold -> part -> class -> utterances; also "all" and "speakers"."""
    counts = {}
    for fold in target.folds:
        for part in PARTS:
            rows = getattr(fold, part)
            found = np.bincount(target.values[rows], minlength=len(target.classes))
            about = dict(zip(target.classes, found.tolist())) | {"all": len(rows)}
            if speakers is not None:
                about["speakers"] = len(set(speakers[rows]))
            counts.setdefault(fold.name, {})[part] = about
    return counts


def floors(target, seed=0):
    """What is reached without looking at the audio.

    Arguments
    ---------
    target : speechbrain_dino.probe_data.Target
        Labels and folds.
    seed : int
        Of the guesses.

    Returns
    -------
    dict
        ``chance``, classes drawn with equal probability, and ``majority``, the most
        frequent class of the training part: tested rows and predictions of each fold.

    Example
    -------
    >>> from speechbrain_dino.folds import Fold
    >>> from speechbrain_dino.probe_data import Target
    >>> fold = Fold("a", np.array([0, 1, 2]), np.array([]), np.array([3, 4]))
    >>> target = Target("x", np.array([1, 1, 0, 0, 1]), ["a", "b"], [fold], 0)
    >>> [(rows, found)] = floors(target)["majority"]
    >>> found.tolist()
    [1, 1]
    """
    rng = np.random.default_rng(seed)
    number = len(target.classes)
    found = {"chance": [], "majority": []}
    for fold in target.folds:
        guesses = rng.integers(0, number, len(fold.test))
        common = np.bincount(target.values[fold.train], minlength=number).argmax()
        found["chance"].append((fold.test, guesses))
        found["majority"].append((fold.test, np.full(len(fold.test), common)))
    return found
