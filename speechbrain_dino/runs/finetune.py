"""Fine-tuning on emotions, fold by fold: the stages of such a run."""

import logging
import time
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from speechbrain.utils.distributed import ddp_barrier, if_main_process

from speechbrain_dino.data.folds import read_folds
from speechbrain_dino.data.manifest import Manifest
from speechbrain_dino.embeddings.export import mean_embedding
from speechbrain_dino.embeddings.export_classifier import export_classifier_folder
from speechbrain_dino.embeddings.pretrained import PARTS, load_pretrained
from speechbrain_dino.metrics.classification import classification_metrics, log_metrics
from speechbrain_dino.reports.report import write_report
from speechbrain_dino.runs.output_folder import RUN_FILES, write_settings
from speechbrain_dino.runs.prepare import prepare
from speechbrain_dino.runs.resume import check_conditions, folds_digest
from speechbrain_dino.runs.train import fit, make_brain
from speechbrain_dino.training.checkpoints import best_checkpoint
from speechbrain_dino.training.class_validator import ClassValidator, class_logits
from speechbrain_dino.training.classifier_setup import set_up_classifier
from speechbrain_dino.utils.checked_json import (
    DamagedFileError,
    bytes_digest,
    file_digest,
    read_checked,
)
from speechbrain_dino.utils.distributed import alone_on_main
from speechbrain_dino.utils.ending import together
from speechbrain_dino.utils.errors import plain_errors
from speechbrain_dino.utils.files import replacing
from speechbrain_dino.utils.ownership import MARK, claim, replacing_folder
from speechbrain_dino.utils.provenance import provenance
from speechbrain_dino.utils.refusals import accept, when_accepted
from speechbrain_dino.utils.results import update_results

logger = logging.getLogger(__name__)


@together
def run_finetune(launch, hparams):
    """Fine-tunes a pretrained model on every fold, and sums the folds up.

    Each fold has a folder ``folds/<name>`` of its own; what is finished there is not
    done again. The model of the fold that was best in validation becomes the
    inference folder, with output layer and names of classes.

    Arguments
    ---------
    launch : speechbrain_dino.runs.command_line.Launch
        Builds the YAML's objects again for every fold.
    hparams : dict
        What the YAML describes, see ``recipes/CREMA-D/hparams/finetune.yaml``.

    Returns
    -------
    dict
        Content of results.json; {} on other processes than the first.
    """
    started = time.time()
    output = Path(hparams["output_folder"])
    with plain_errors(ValueError, OSError, ImportError):
        alone_on_main(hparams["prepare"])
        alone_on_main(hparams["prepare_noise"])
        data = Path(hparams["data_save_folder"])
        manifest = Manifest.from_csv(data / "utterances.csv")
        folds = read_folds(data / "folds.json", manifest)
        names = [fold.name for fold in folds]
        check_conditions(hparams, {"data": folds_digest(manifest, folds)})
        for number, name in enumerate(names, 1):
            logger.info("Fold %s, %d of %d", name, number, len(names))
            _run_fold(launch, hparams, name, output / "folds" / name)
        if not if_main_process():
            return {}
        return _sum_up(output, hparams, manifest, names, started)


def _run_fold(launch, hparams, name, folder):
    if (folder / "predictions.csv").exists():
        logger.info("Fold %s is finished already", name)
        return
    changed = launch.changed(
        output_folder=str(folder),
        data_save_folder=str(hparams["data_save_folder"]),
        fold=name,
    )
    of_fold = changed.build()
    if if_main_process():
        claim(folder, "finetune", RUN_FILES)
        when_accepted(partial(write_settings, folder, changed.resolved()))
    ddp_barrier()
    run = prepare(of_fold, launch.run_opts, data_ready=True)
    brain = make_brain(run)
    run.validator.end_where_stopped(brain)
    fit(brain, run)
    if if_main_process():
        _finish_fold(brain, run, name)
    ddp_barrier()


def _finish_fold(brain, run, name):
    """Tests the best epoch; predictions.csv last, as it says that all is done."""
    best = best_checkpoint(brain.checkpointer.find_checkpoints())
    # With --debug and the like the end may come before the first validation.
    best = best or brain.checkpointer.find_checkpoint()
    state = torch.load(best.paramfiles["student"], map_location="cpu")
    brain.bare["student"].load_state_dict(state)
    manifest, labels = run.tested
    logits = class_logits(brain, manifest)
    scale = getattr(brain.modules.loss, "scale", 1.0)
    probs = torch.softmax(scale * torch.from_numpy(logits), dim=1).numpy()
    classes = run.class_names
    table = pd.DataFrame(probs, columns=[f"p_{name}" for name in classes])
    table.insert(0, "predicted", [classes[k] for k in probs.argmax(1)])
    table.insert(0, "label", [classes[k] for k in labels])
    table.insert(0, "spk_id", [str(name) for name in manifest.column("spk_id")])
    table.insert(0, "ID", list(manifest.ids))
    text = table.to_csv(index=False, lineterminator="\n").encode()
    results = update_results(
        run.folder / "results.json",
        {
            "fold": name,
            "epoch": best.meta["epoch"],
            "precision": brain.precision,
            "uar_valid": best.meta.get("uar/valid"),
            "data": run.prepared,
            "classes": classes,
            "predictions": bytes_digest(text),
        },
    )
    options = {"device": brain.device, "batch_seconds": run.hparams["batch_seconds"]}
    mean = mean_embedding(run.crops.manifest, brain.embedder(), **options)
    export_classifier_folder(run.folder, brain, run, results, mean)
    with replacing(run.folder / "predictions.csv") as draft:
        draft.write_bytes(text)


def _sum_up(output, hparams, manifest, names, started):
    of_folds = [_results_of(output / "folds" / name) for name in names]
    tables = {
        name: _predictions(output / "folds" / name / "predictions.csv", fold)
        for name, fold in zip(names, of_folds)
    }
    classes = sorted({name for fold in of_folds for name in fold["classes"]})
    metrics = classification_metrics(
        [(t["label"].to_numpy(), t["predicted"].to_numpy()) for t in tables.values()],
        classes,
        [t["spk_id"].to_numpy() for t in tables.values()],
        seed=hparams["seed"],
    )
    accept()
    best = max(of_folds, key=lambda fold: fold["uar_valid"] or 0.0)
    _copy_model(output, output / "folds" / best["fold"] / "inference")
    results = update_results(
        output / "results.json",
        {
            **provenance(hparams["seed"]),
            "model": str(hparams["start_model"]),
            "precision": hparams["precision"],
            "finetune": {
                **metrics,
                "classes": classes,
                "fold_names": names,
                "epochs": [fold["epoch"] for fold in of_folds],
                "uar_valid": [fold["uar_valid"] for fold in of_folds],
                "exported_fold": best["fold"],
            },
            "data": of_folds[0]["data"],
            "seconds": round(time.time() - started, 1),
        },
    )
    log_metrics({"fine-tuned": metrics}, classes)
    logger.info("Inference folder (fold %s): %s", best["fold"], output / "inference")
    logger.info("Report: %s", write_report(output))
    return results


OF_A_FOLD = "remove the folder of this fold, which is then computed again"


_TYPES = {"fold": str, "epoch": int, "classes": list, "data": dict}


def _results_of(folder):
    """results.json of a fold, with all that is read of it."""
    path = folder / "results.json"
    results = read_checked(path, OF_A_FOLD)
    odd = [k for k, kind in _TYPES.items() if not isinstance(results.get(k), kind)]
    if not isinstance(results.get("uar_valid"), int | float | None):
        odd.append("uar_valid")
    if odd:
        raise DamagedFileError(f"{path} is damaged, as to {odd[0]}: {OF_A_FOLD}")
    return results


def _predictions(path, results):
    if results.get("predictions", digest := file_digest(path)) != digest:
        raise ValueError(f"{path} is damaged or was changed: {OF_A_FOLD}")
    return pd.read_csv(path, dtype=str)


def _copy_model(output, inference):
    """A copy, not a link: the folder can be moved."""
    with replacing_folder(output / "inference", "export") as draft:
        for file in inference.iterdir():
            if file.is_file() and file.name != MARK:
                (draft / file.name).write_bytes(file.read_bytes())


def set_up_fold(run, manifest, column="emotion"):
    """Takes a fold's training part; for the YAML's ``set_up``.

    Features and encoder are those of ``start_model``, whatever they are.

    Arguments
    ---------
    run : Run
        Its ``hparams`` hold ``data_save_folder`` (with folds.json), ``fold`` (its
        name), ``start_model``, ``from_scratch``, and those of ``set_up_classifier``.
    manifest : speechbrain_dino.data.manifest.Manifest
        All utterances.
    column : str
        Column of the labels.

    Returns
    -------
    speechbrain_dino.data.manifest.Manifest
        The training part.
    """
    hparams = run.hparams
    fold = fold_named(hparams, manifest)
    classes = classes_of(hparams, manifest, fold, column)
    number = {name: label for label, name in enumerate(classes)}
    names = manifest.column(column)
    take_encoder(hparams)
    labels = {
        part: np.array([number[str(names[row])] for row in getattr(fold, part)])
        for part in ("train", "valid", "test")
    }
    weigh_classes(hparams, labels["train"], len(classes))
    if hparams.get("copy_paste") is not None:
        hparams["copy_paste"].set_up(classes)
    set_up_classifier(run, labels["train"], has_weights=True)
    run.class_names = classes
    valid = manifest.subset(fold.valid)
    run.validator = ClassValidator(valid, labels["valid"], hparams)
    run.tested = (manifest.subset(fold.test), labels["test"])
    return manifest.subset(fold.train)


def fold_named(hparams, manifest):
    """The fold that the YAML names."""
    path = Path(hparams["data_save_folder"]) / "folds.json"
    folds = {fold.name: fold for fold in read_folds(path, manifest)}
    if hparams["fold"] not in folds:
        raise ValueError(
            f"fold is {hparams['fold']!r}; {path} has {list(folds)}: give one of these"
        )
    return folds[hparams["fold"]]


def classes_of(hparams, manifest, fold, column):
    """Names of the classes in a fold's training part, sorted."""
    names = manifest.column(column)
    classes = sorted({str(names[row]) for row in fold.train})
    for part in ("valid", "test"):
        unknown = {str(names[row]) for row in getattr(fold, part)} - set(classes)
        if unknown:
            raise ValueError(
                f"fold {fold.name} has the {column} {min(unknown)!r} in its {part} "
                "part and not in training: make other folds, or leave the class out"
            )
    return classes


def take_encoder(hparams):
    """Puts the parts of ``start_model`` in the place of the YAML's."""
    if hparams["start_model"] is None:
        raise ValueError(
            "start_model is missing: give --start_model FOLDER, the inference folder "
            "of a pretrained model, or a name on the Hugging Face hub"
        )
    embedder = load_pretrained(hparams["start_model"]).embedder
    for part in PARTS:
        module = getattr(embedder, part)
        hparams[part] = module.train()
        if part != "embedding_model":
            hparams["modules"][part] = module
    encoder = hparams["embedding_model"].requires_grad_(True)
    if hparams["from_scratch"]:
        for module in encoder.modules():
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()
    wave = torch.zeros(1, hparams["sample_rate"])
    wave[0, 0] = 1.0
    with torch.no_grad():
        size = embedder.eval()(wave).shape[1]
    embedder.train()
    hparams["classifier"] = partial(hparams["classifier"], in_dim=size)


def weigh_classes(hparams, labels, classes):
    """Gives the loss weights by which every class counts the same, where asked to."""
    if hparams["class_weight"] is None:
        return
    if hparams["class_weight"] != "balanced":
        raise ValueError(
            f"class_weight is {hparams['class_weight']!r}; expected balanced or null"
        )
    counts = np.bincount(labels, minlength=classes)
    weights = len(labels) / (classes * np.maximum(counts, 1))
    hparams["modules"]["loss"].class_weights = torch.from_numpy(weights).float()


if __name__ == "__main__":
    raise SystemExit("start it by recipes/CREMA-D/train.py, whose --help says how")
