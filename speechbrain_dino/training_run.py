"""The stations of a training run, for the recipes' ``train.py``."""

import json
import logging
import os
import time
from functools import partial
from pathlib import Path

import torch
from speechbrain.utils.distributed import (
    ddp_barrier,
    get_rank,
    if_main_process,
    main_process_only,
    run_on_main,
)

from speechbrain_dino.checkpoints import WholeCheckpointer, average_checkpoints
from speechbrain_dino.command_line import plain_errors, start_run
from speechbrain_dino.crops import MultiCropDataset, crop_loader
from speechbrain_dino.curves import Curves
from speechbrain_dino.embeddings import embed
from speechbrain_dino.ending import together
from speechbrain_dino.inference import export_inference_folder
from speechbrain_dino.manifest import Manifest
from speechbrain_dino.report import write_report
from speechbrain_dino.results import provenance, update_results
from speechbrain_dino.teacher import unwrap
from speechbrain_dino.validation import Validator

__all__ = ["finish_run", "make_brain", "prepare", "run_training", "start_run"]

logger = logging.getLogger(__name__)


@together
def run_training(launch, hparams):
    """All stations, one after the other: for a YAML's key ``run``.

    Arguments
    ---------
    launch : speechbrain_dino.command_line.Launch
        For the run options.
    hparams : dict
        What the YAML describes.
    """
    train_loader = prepare(hparams, launch.run_opts)
    brain = make_brain(hparams, launch.run_opts)
    brain.fit(hparams["epoch_counter"], train_loader)
    finish_run(brain)


def prepare(hparams, run_opts):
    """Prepares the data and makes the training loader.

    A key ``set_up`` of the YAML, called with (hparams, manifest), may take part of
    the utterances and build what depends on the data, such as the output layer.

    Arguments
    ---------
    hparams : dict
        The YAML's objects; gets ``crops``, ``test_manifest``, ``lists`` and ``data``.
    run_opts : speechbrain.utils.run_opts.RunOptions
        SpeechBrain's run options.

    Returns
    -------
    torch.utils.data.DataLoader
        Batches of crops.
    """
    hparams["started"] = time.time()
    with plain_errors(ValueError, OSError, ImportError):
        run_on_main(hparams["prepare"])
        run_on_main(hparams["prepare_noise"])
    folder = Path(hparams["data_save_folder"])
    hparams["data"] = json.loads((folder / "prepare.json").read_text(encoding="utf-8"))
    # Not what lies in the folder: lists of an earlier run may lie there as well.
    names = hparams["data"].get("trials", {})
    hparams["lists"] = [folder / "trials" / f"{name}.txt" for name in names]
    hparams["test_manifest"] = None
    if hparams["lists"]:
        hparams["test_manifest"] = Manifest.from_csv(folder / "test.csv")
    augment = hparams["augment"]
    if hasattr(augment, "load"):
        augment.load()
    manifest = Manifest.from_csv(folder / hparams.get("manifest_file", "train.csv"))
    with plain_errors(ValueError, OSError):
        if hparams.get("set_up") is not None:
            manifest = hparams["set_up"](hparams, manifest)
        hparams["crops"] = _training_crops(manifest, hparams)
        return crop_loader(
            hparams["crops"],
            _batch_per_process(hparams, run_opts),
            hparams["num_workers"],
            rank=get_rank() or 0,
            world_size=_world_size(),
            pin=torch.cuda.is_available(),
        )


def crops_of(manifest, hparams, **changed):
    """The crops of a manifest's utterances as the YAML describes them.

    Arguments
    ---------
    manifest : speechbrain_dino.manifest.Manifest
        The utterances.
    hparams : dict
        The YAML's objects.
    **changed
        Arguments of ``MultiCropDataset`` that shall be others than the YAML's.

    Returns
    -------
    speechbrain_dino.crops.MultiCropDataset
    """
    keys = ("global_crops", "global_seconds", "local_crops", "local_seconds")
    keys += ("sample_rate", "placement", "seed")
    arguments = {key: hparams[key] for key in keys}
    arguments["num_draws"] = getattr(hparams["augment"], "num_draws", 0)
    return MultiCropDataset(manifest, **{**arguments, **changed})


def _training_crops(manifest, hparams):
    """Crops with what changes of speed and CopyPaste need, where they are on."""
    speeds, paste = hparams.get("speed_classes"), hparams.get("copy_paste")
    changed = {"num_draws": getattr(hparams["augment"], "num_draws", 0)}
    if speeds is not None:
        longer = partial(_longer, hparams["global_seconds"], speeds.longest)
        changed["global_seconds"] = longer
        changed["num_draws"] += 1
    if paste is not None:
        changed["num_draws"] += paste.num_draws
    return crops_of(manifest, hparams, **changed)


def _longer(seconds, factor, t):
    return factor * (seconds(t) if callable(seconds) else seconds)


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
        # Neighbours are looked for among two crops of the same length.
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
        unwrap(brain.modules[brain.evaluated]).load_state_dict(state)
    return [checkpoint.meta.get("epoch") for checkpoint in last]


def _seconds(output, started):
    """Time of all sessions of the run so far."""
    clock = output / "seconds.json"
    before = json.loads(clock.read_text(encoding="utf-8")) if clock.exists() else 0.0
    total = before + time.time() - started
    clock.write_text(json.dumps(total), encoding="utf-8")
    return round(total, 1)


def _world_size():
    return int(os.environ.get("WORLD_SIZE", 1))


def _batch_per_process(hparams, run_opts):
    parts = _world_size() * run_opts.grad_accumulation_factor
    total = hparams["batch_size"]
    if total % parts:
        raise ValueError(
            f"batch_size {total} does not divide into {_world_size()} process(es) x "
            f"{run_opts.grad_accumulation_factor} accumulated batches."
        )
    return total // parts
