"""The stations of a training run, for the recipes' ``train.py``."""

import json
import logging
import time
from pathlib import Path

from speechbrain.utils.distributed import (
    ddp_barrier,
    if_main_process,
    main_process_only,
)

from speechbrain_dino.embeddings.export import export_inference_folder
from speechbrain_dino.embeddings.extract import embed
from speechbrain_dino.models.modes import unwrapped
from speechbrain_dino.reports.report import write_report
from speechbrain_dino.runs.command_line import start_run
from speechbrain_dino.runs.prepare import crops_of, prepare
from speechbrain_dino.training.checkpoints import WholeCheckpointer, average_checkpoints
from speechbrain_dino.training.curves import Curves
from speechbrain_dino.training.validation import Validator
from speechbrain_dino.utils.ending import together
from speechbrain_dino.utils.errors import plain_errors
from speechbrain_dino.utils.provenance import provenance
from speechbrain_dino.utils.results import update_results

__all__ = ["finish_run", "make_brain", "prepare", "run_training", "start_run"]

logger = logging.getLogger(__name__)


@together
def run_training(launch, hparams):
    """All stations, one after the other: for a YAML's key ``run``.

    Arguments
    ---------
    launch : speechbrain_dino.runs.command_line.Launch
        For the run options.
    hparams : dict
        What the YAML describes.
    """
    train_loader = prepare(hparams, launch.run_opts)
    brain = make_brain(hparams, launch.run_opts)
    brain.fit(hparams["epoch_counter"], train_loader)
    finish_run(brain)


def make_brain(hparams, run_opts):
    """Builds the YAML's brain with its checkpoints, curves and validation.

    Arguments
    ---------
    hparams : dict
        The YAML's objects, after :func:`prepare`.
    run_opts : speechbrain.utils.run_opts.RunOptions
        SpeechBrain's run options.

    Returns
    -------
    TrainingBrain
        Ready to ``fit``.
    """
    recoverables = {"counter": hparams["epoch_counter"]}
    crops = hparams["crops"]
    if crops.counts[0] < 2:
        # Neighbors are looked for among two crops of the same length.
        crops = crops_of(crops.manifest, hparams, global_crops=2, local_crops=0)
    validator = hparams.get("validator") or Validator(
        crops, hparams["test_manifest"], hparams["lists"], hparams
    )
    with plain_errors(ValueError):
        brain = hparams["brain"](
            curves=Curves(hparams["output_folder"], hparams["tensorboard"]),
            on_epoch_end=validator,
            modules=hparams["modules"],
            opt_class=hparams["opt_class"],
            hparams=hparams,
            run_opts=run_opts,
            checkpointer=WholeCheckpointer(hparams["save_folder"], recoverables),
        )
    untrained = brain.checkpointer.find_checkpoint() is None
    if untrained and if_main_process():
        update_results(
            Path(hparams["output_folder"]) / "results.json",
            {
                "verification_before": validator.verify(brain),
                "precision": brain.precision,
            },
        )
    ddp_barrier()
    return brain


@main_process_only
def finish_run(brain):
    """Evaluates the embedding, writes results, inference folder and report.

    Arguments
    ---------
    brain : TrainingBrain
        The trained brain.
    """
    hparams = vars(brain.hparams)
    output = Path(hparams["output_folder"])
    averaged = _load_average(brain, hparams["average_last"])
    embedder = brain.embedder()
    options = {
        "device": brain.device,
        "batch_seconds": hparams["batch_seconds"],
    }
    train_table = None
    if hparams["subtract_mean"]:
        logger.info("Embedding the training utterances for their mean")
        train_table = embed(hparams["crops"].manifest, embedder, **options)
        train_table.save(output / "embeddings" / "train")
    verification = brain.on_epoch_end.verify(brain, output, train_table)
    epochs = [row for row in brain.curves.read() if row["kind"] == "epoch"]
    results = update_results(
        output / "results.json",
        {
            **provenance(hparams["seed"]),
            "precision": brain.precision,
            "verification": verification,
            "data": hparams["data"],
            "seconds": _seconds(output, hparams["started"]),
            "epochs": hparams["epoch_counter"].current,
            "averaged_epochs": averaged,
            "health": epochs[-1] if epochs else {},
        },
    )
    export_inference_folder(output, output / "hyperparams.yaml", embedder, results)
    write_report(output)
    eers = {f"eer/{name}": figures["eer"] for name, figures in verification.items()}
    hparams["train_logger"].log_stats({"averaged epochs": averaged}, test_stats=eers)
    for name, figures in verification.items():
        logger.info(
            "%s: EER %.2f %%, minDCF(0.01) %.3f, minDCF(0.05) %.3f (%d trials)",
            name,
            100 * figures["eer"],
            figures["min_dcf_0.01"],
            figures["min_dcf_0.05"],
            figures["trials"],
        )
    logger.info("Inference folder: %s", output / "inference")
    logger.info("Report: %s", output / "report" / "index.html")


def _load_average(brain, number):
    """Puts the mean of the last networks in place; returns their epochs."""
    last = brain.checkpointer.find_checkpoints(
        max_num_checkpoints=number, ckpt_predicate=lambda c: c.meta["end-of-epoch"]
    )
    if last:
        state = average_checkpoints(last, brain.evaluated)
        unwrapped(brain.modules[brain.evaluated]).load_state_dict(state)
    return [checkpoint.meta.get("epoch") for checkpoint in last]


def _seconds(output, started):
    """Time of all sessions of the run so far."""
    clock = output / "seconds.json"
    before = json.loads(clock.read_text(encoding="utf-8")) if clock.exists() else 0.0
    total = before + time.time() - started
    clock.write_text(json.dumps(total), encoding="utf-8")
    return round(total, 1)
