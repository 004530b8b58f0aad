"""The stations of a clustering run, for the recipes' ``cluster.py``."""

import logging
import time
from pathlib import Path

import numpy as np
from speechbrain.utils.distributed import if_main_process

from speechbrain_dino.clustering import save_labels
from speechbrain_dino.command_line import plain_errors
from speechbrain_dino.embed_command import join_processes, on_main_first
from speechbrain_dino.embedding_folder import embed_to_folder
from speechbrain_dino.embedding_table import EmbeddingTable
from speechbrain_dino.manifest import Manifest
from speechbrain_dino.pretrained import load_pretrained
from speechbrain_dino.pseudo_labels import true_speakers
from speechbrain_dino.results import provenance, update_results
from speechbrain_dino.utterances import find_utterances

logger = logging.getLogger(__name__)


def run_clustering(hparams, run_opts):
    """Clusters embeddings and writes ``labels.csv`` and the figures.

    Arguments
    ---------
    hparams : dict
        The YAML's objects, see ``recipes/VoxCeleb/hparams/cluster.yaml``.
    run_opts : speechbrain.utils.run_opts.RunOptions
        SpeechBrain's run options, for the device.

    Returns
    -------
    dict
        Content of results.json; {} on other processes than the first.
    """
    started = time.time()
    output = Path(hparams["output_folder"])
    with plain_errors(ValueError, OSError, ImportError, KeyError):
        table = _table(hparams, run_opts, output)
        if not if_main_process():
            return {}
        clustering = hparams["clusterer"](np.asarray(table.vectors))
        save_labels(output, table.ids, clustering)
        figures = dict(clustering.figures)
        if hparams["truth"] is not None:
            figures["against_truth"] = clustering.against(_truth(hparams, table))
    results = update_results(
        output / "results.json",
        {
            **provenance(hparams["seed"]),
            "clustering": figures,
            "seconds": round(time.time() - started, 1),
        },
    )
    logger.info(
        "%d clusters of %d utterances: %s",
        figures["clusters"],
        figures["kept"],
        output / "labels.csv",
    )
    for name, value in figures.get("against_truth", {}).items():
        logger.info("against the truth, %s: %.4g", name, value)
    return results


def _table(hparams, run_opts, output):
    """The embeddings that the YAML names, or those of its model and data."""
    if hparams["embedding_folder"] is not None:
        folder = Path(hparams["embedding_folder"])
        if not (folder / "vectors.npy").is_file():
            raise FileNotFoundError(
                f"{folder} holds no vectors.npy: give a folder that embed.py wrote"
            )
        return EmbeddingTable.load(folder)
    if hparams["model"] is None or hparams["utterances"] is None:
        raise ValueError(
            "nothing to cluster was given: --embedding_folder F, or --model M "
            "--utterances D"
        )
    pretrained = load_pretrained(hparams["model"])
    rate = hparams["sample_rate"]
    manifest = on_main_first(
        lambda: find_utterances(hparams["utterances"], output / "data", rate)
    )
    return embed_to_folder(
        output / "embeddings",
        manifest,
        pretrained.embedder,
        pretrained.digest,
        device=join_processes(run_opts.device),
        batch_seconds=hparams["batch_seconds"],
        max_seconds=hparams["embed_seconds"],
        sample_rate=rate,
    )


def _truth(hparams, table):
    """True speakers of the table's utterances."""
    manifest = Manifest.from_csv(hparams["truth"])
    names = true_speakers(manifest, hparams["truth_column"])
    known = dict(zip(manifest.ids, names))
    return [known.get(name, "") for name in table.ids]
