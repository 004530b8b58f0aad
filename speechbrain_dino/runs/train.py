"""The stages of a training run, for the recipes' ``train.py``."""

import contextlib
import json
import logging
import time

from speechbrain.utils.distributed import (
    ddp_barrier,
    if_main_process,
    main_process_only,
)

from speechbrain_dino.embeddings.export import export_inference_folder, mean_embedding
from speechbrain_dino.embeddings.extract import embed
from speechbrain_dino.embeddings.model_card import training_data
from speechbrain_dino.reports.report import write_report
from speechbrain_dino.runs.command_line import start_run
from speechbrain_dino.runs.prepare import crops_of, prepare
from speechbrain_dino.training.checkpoints import WholeCheckpointer, average_checkpoints
from speechbrain_dino.training.curves import Curves
from speechbrain_dino.training.validation import Validator
from speechbrain_dino.utils.checked_json import (
    DamagedFileError,
    read_checked,
    read_json,
)
from speechbrain_dino.utils.ending import together
from speechbrain_dino.utils.errors import plain_errors
from speechbrain_dino.utils.files import replacing
from speechbrain_dino.utils.one_run import only_run
from speechbrain_dino.utils.provenance import provenance
from speechbrain_dino.utils.refusals import accept
from speechbrain_dino.utils.results import update_results

__all__ = [
    "evaluate",
    "export",
    "finish_run",
    "fit",
    "make_brain",
    "prepare",
    "run_training",
    "start_run",
]

logger = logging.getLogger(__name__)


@together
def run_training(launch, hparams):
    """All stages, one after the other: for a YAML's key ``run``.

    Arguments
    ---------
    launch : speechbrain_dino.runs.command_line.Launch
        For the run options.
    hparams : dict
        What the YAML describes.
    """
    run = prepare(hparams, launch.run_opts)
    brain = make_brain(run)
    fit(brain, run)
    finish_run(brain, run)


def fit(brain, run):
    """Trains, and keeps other trainings out of the run's folder meanwhile."""
    with contextlib.ExitStack() as stack:
        if if_main_process():
            with plain_errors(ValueError):
                stack.enter_context(only_run(run.folder))
        brain.fit(run.hparams["epoch_counter"], run.loader)


def make_brain(run):
    """Builds the YAML's brain with its checkpoints, curves and validation.

    Arguments
    ---------
    run : Run
        After :func:`prepare`.

    Returns
    -------
    TrainingBrain
        Ready to ``fit``.
    """
    hparams, crops = run.hparams, run.crops
    recoverables = {"counter": hparams["epoch_counter"]}
    if crops.counts[0] < 2:
        # Neighbors are looked for among two crops of the same length.
        crops = crops_of(crops.manifest, hparams, global_crops=2, local_crops=0)
    validator = run.validator or Validator(crops, run.test_manifest, run.lists, hparams)
    classes = {}
    if run.labels is not None:
        classes = {"labels": run.labels, "num_classes": run.num_classes}
    with plain_errors(ValueError, OSError):
        checkpointer = WholeCheckpointer(hparams["save_folder"], recoverables)
        checkpointer.check()
        if if_main_process() and (run.folder / "results.json").exists():
            read_checked(run.folder / "results.json")
        brain = hparams["brain"](
            curves=Curves(run.folder, hparams["tensorboard"]),
            on_epoch_end=validator,
            modules=hparams["modules"],
            opt_class=hparams["opt_class"],
            hparams=hparams,
            run_opts=run.run_opts,
            checkpointer=checkpointer,
            **classes,
        )
    untrained = brain.checkpointer.find_checkpoint() is None
    with plain_errors(ValueError):
        _check_epochs(brain.checkpointer, run)
        if untrained and run.run_opts.test_only:
            raise ValueError(
                f"--test_only: {run.folder} holds no trained network: leave it out, or "
                "give the --output_folder of a run"
            )
        accept()
    if untrained and if_main_process():
        update_results(
            run.folder / "results.json",
            {
                "verification_before": validator.verify(brain),
                "precision": brain.precision,
            },
        )
    ddp_barrier()
    return brain


def _check_epochs(checkpointer, run):
    """Refuses to call a run of many epochs one of fewer."""
    checkpoints = checkpointer.find_checkpoints()
    trained = max((c.meta.get("epoch") or 0 for c in checkpoints), default=0)
    limit = run.hparams["epoch_counter"].limit
    if trained > limit:
        raise ValueError(
            f"{run.folder} has trained {trained} epochs, and number_of_epochs is "
            f"{limit}: give {trained} or more, or another --output_folder"
        )


def finish_run(brain, run):
    """Evaluates the embedding, then writes inference folder and report.

    Arguments
    ---------
    brain : TrainingBrain
        The trained brain.
    run : Run
        The run that it was trained in.
    """
    with plain_errors(DamagedFileError):
        export(brain, run, evaluate(brain, run))


@main_process_only
def evaluate(brain, run):
    """Averages the last checkpoints, verifies their embedding and writes results.

    Arguments
    ---------
    brain : TrainingBrain
        The trained brain.
    run : Run
        The run that it was trained in.

    Returns
    -------
    dict
        Content of results.json; None on other processes than the first.
    """
    hparams = run.hparams
    averaged = _load_average(brain, hparams["average_last"])
    train_table = None
    if hparams["subtract_mean"]:
        logger.info("Embedding the training utterances for their mean")
        train_table = embed(
            run.crops.manifest,
            brain.embedder(),
            device=brain.device,
            batch_seconds=hparams["batch_seconds"],
        )
        train_table.save(run.folder / "embeddings" / "train")
    verification = brain.on_epoch_end.verify(brain, run.folder, train_table)
    epochs = [row for row in brain.curves.read() if row["kind"] == "epoch"]
    results = update_results(
        run.folder / "results.json",
        {
            **provenance(hparams["seed"]),
            "precision": brain.precision,
            "verification": verification,
            "data": {**run.prepared, **_started_on(hparams.get("start_model"))},
            "seconds": _seconds(run.folder, run.started),
            # With --test_only the counter has not been loaded.
            "epochs": max([hparams["epoch_counter"].current, *filter(None, averaged)]),
            "averaged_epochs": averaged,
            "health": epochs[-1] if epochs else {},
        },
    )
    eers = {f"eer/{name}": metrics["eer"] for name, metrics in verification.items()}
    hparams["train_logger"].log_stats({"averaged epochs": averaged}, test_stats=eers)
    for name, metrics in verification.items():
        logger.info(
            "%s: EER %.2f %%, minDCF(0.01) %.3f, minDCF(0.05) %.3f (%d trials)",
            name,
            100 * metrics["eer"],
            metrics["min_dcf_0.01"],
            metrics["min_dcf_0.05"],
            metrics["trials"],
        )
    return results


@main_process_only
def export(brain, run, results):
    """Writes inference folder and report.

    Arguments
    ---------
    brain : TrainingBrain
        The trained brain.
    run : Run
        The run that it was trained in.
    results : dict
        What :func:`evaluate` returned.
    """
    settings, embedder = run.folder / "hyperparams.yaml", brain.embedder()
    options = {"device": brain.device, "batch_seconds": run.hparams["batch_seconds"]}
    mean = mean_embedding(run.crops.manifest, embedder, **options)
    export_inference_folder(run.folder, settings, embedder, results, mean)
    write_report(run.folder)
    logger.info("Inference folder: %s", run.folder / "inference")
    logger.info("Report: %s", run.folder / "report" / "index.html")


def _started_on(model):
    """What the model was trained on with which the training began."""
    said = training_data(model) if model else None
    if not (said and said.splits):
        return {}
    held_out = list(said.held_out)
    return {"started_on": sorted(said.splits), "start_held_out": held_out}


def _load_average(brain, number):
    """Puts the mean of the last networks in place; returns their epochs."""
    last = brain.checkpointer.find_checkpoints(
        max_num_checkpoints=number, ckpt_predicate=lambda c: c.meta["end-of-epoch"]
    )
    if last:
        state = average_checkpoints(last, brain.evaluated)
        brain.bare[brain.evaluated].load_state_dict(state)
    return [checkpoint.meta.get("epoch") for checkpoint in last]


def _seconds(output, started):
    """Time of all sessions of the run so far."""
    clock, before = output / "seconds.json", 0.0
    try:
        before = float(read_json(clock))
    except FileNotFoundError:
        pass
    except (ValueError, TypeError, OverflowError) as error:
        logger.warning(
            "%s is damaged (%s): earlier sessions do not count", clock, error
        )
    total = before + time.time() - started
    with replacing(clock) as draft:
        draft.write_text(json.dumps(total), encoding="utf-8")
    return round(total, 1)


if __name__ == "__main__":
    raise SystemExit("start it by recipes/VoxCeleb/train.py, whose --help says how")
