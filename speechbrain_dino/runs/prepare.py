"""From a recipe to a loader: preparation, manifests, crops."""

import logging
import os
from functools import partial

import torch
from speechbrain.utils.distributed import get_rank, if_main_process

from speechbrain_dino.corpora.preparation import read_summary
from speechbrain_dino.data.crops import MultiCropDataset, crop_loader
from speechbrain_dino.data.manifest import Manifest
from speechbrain_dino.data.trials import read_lists
from speechbrain_dino.runs.resume import check_conditions, run_conditions
from speechbrain_dino.training.log import hours
from speechbrain_dino.training.run import Run
from speechbrain_dino.utils.distributed import alone_on_main
from speechbrain_dino.utils.errors import plain_errors

logger = logging.getLogger(__name__)


def prepare(hparams, run_opts, data_ready=False):
    """Prepares the data and makes the training loader.

    A key ``set_up`` of the YAML, called with (run, manifest), may take part of the
    utterances and build what depends on the data, such as the output layer.

    Arguments
    ---------
    hparams : dict
        The YAML's objects.
    run_opts : speechbrain.utils.run_opts.RunOptions
        SpeechBrain's run options.
    data_ready : bool
        Whether ``data_save_folder`` is prepared already, as it is for a fold.

    Returns
    -------
    Run
        With crops and loader.
    """
    run = Run(hparams, run_opts)
    if not data_ready:
        with plain_errors(ValueError, OSError, ImportError):
            alone_on_main(hparams["prepare"])
            alone_on_main(hparams["prepare_noise"])
    folder = run.data_folder
    run.prepared = read_summary(folder)
    # Not what lies in the folder: lists of an earlier run may lie there as well.
    names = run.prepared.get("trials", {})
    run.lists = [folder / "trials" / f"{name}.txt" for name in names]
    if run.lists:
        with plain_errors(ValueError):
            read_lists(run.lists)  # before the training, so that errors cost no time
        run.test_manifest = Manifest.from_csv(folder / "test.csv")
    augment = hparams["augment"]
    if hasattr(augment, "load"):
        augment.load()
    manifest = Manifest.from_csv(folder / hparams.get("manifest_file", "train.csv"))
    with plain_errors(ValueError, OSError):
        if hparams.get("set_up") is not None:
            manifest = hparams["set_up"](run, manifest)
        run.crops = _training_crops(manifest, hparams)
        run.loader = crop_loader(
            run.crops,
            _batch_per_process(hparams, run_opts),
            hparams["num_workers"],
            rank=get_rank() or 0,
            world_size=_world_size(),
            pin=torch.cuda.is_available(),
        )
        check_conditions(hparams, run_conditions(run))
    if if_main_process():
        logger.info("%s", _training_line(run))
    return run


def _training_line(run):
    """What is trained on how much."""
    hparams, data = run.hparams, run.crops.manifest
    encoder = hparams["embedding_model"]
    size = sum(parameter.numel() for parameter in encoder.parameters())
    speech = hours(data.lengths.sum() / hparams["sample_rate"])
    return (
        f"training {type(encoder).__name__} ({size:,} parameters) on {len(data):,} "
        f"utterances, {speech} of speech: {hparams['number_of_epochs']} epochs, "
        f"batches of {hparams['batch_size']}"
    )


def crops_of(manifest, hparams, **changed):
    """The crops of a manifest's utterances as the YAML describes them.

    Arguments
    ---------
    manifest : speechbrain_dino.data.manifest.Manifest
        The utterances.
    hparams : dict
        The YAML's objects.
    **changed
        Arguments of ``MultiCropDataset`` that shall be others than the YAML's.

    Returns
    -------
    speechbrain_dino.data.crops.MultiCropDataset
    """
    keys = ("global_crops", "global_seconds", "local_crops", "local_seconds")
    keys += ("sample_rate", "placement", "seed")
    arguments = {key: hparams[key] for key in keys}
    arguments["num_draws"] = draws_of(hparams)
    return MultiCropDataset(manifest, **{**arguments, **changed})


def _training_crops(manifest, hparams):
    """Crops with what changes of speed and CopyPaste need, where they are on."""
    speeds, paste = hparams.get("speed_classes"), hparams.get("copy_paste")
    changed = {"num_draws": draws_of(hparams)}
    if speeds is not None:
        for key in ("global_seconds", "local_seconds"):
            changed[key] = partial(_longer, hparams[key], speeds.longest)
        changed["num_draws"] += 1
    if paste is not None:
        changed["num_draws"] += paste.num_draws
    return crops_of(manifest, hparams, **changed)


def draws_of(hparams):
    """Random numbers that the augmentation of one crop takes."""
    used = (hparams["augment"], hparams.get("feature_augment"))
    return sum(getattr(part, "num_draws", 0) for part in used)


def _longer(seconds, factor, t):
    return factor * (seconds(t) if callable(seconds) else seconds)


def _batch_per_process(hparams, run_opts):
    parts = _world_size() * run_opts.grad_accumulation_factor
    total = hparams["batch_size"]
    if total % parts:
        raise ValueError(
            f"batch_size {total} does not divide into {_world_size()} process(es) x "
            f"{run_opts.grad_accumulation_factor} accumulated batches."
        )
    return total // parts


def _world_size():
    return int(os.environ.get("WORLD_SIZE", 1))
