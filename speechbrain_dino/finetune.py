"""Fine-tuning on emotions, fold by fold: the stations of such a run."""

import json
import logging
import time
from pathlib import Path

import pandas as pd
import torch
from speechbrain.utils.distributed import ddp_barrier, if_main_process, run_on_main

from speechbrain_dino.checkpoints import best_checkpoint
from speechbrain_dino.class_metrics import classification_figures, log_figures
from speechbrain_dino.classifier_export import export_classifier_folder
from speechbrain_dino.command_line import plain_errors
from speechbrain_dino.ending import together
from speechbrain_dino.files import replacing
from speechbrain_dino.finetune_fold import class_logits
from speechbrain_dino.folds import read_folds
from speechbrain_dino.manifest import Manifest
from speechbrain_dino.report import write_report
from speechbrain_dino.results import provenance, update_results
from speechbrain_dino.teacher import unwrap
from speechbrain_dino.training_run import make_brain, prepare

logger = logging.getLogger(__name__)


@together
def run_finetune(launch, hparams):
    """Fine-tunes a pretrained model on every fold, and sums the folds up.

    Each fold has a folder ``folds/<name>`` of its own; what is finished there is not
    done again. The model of the fold that was best in validation becomes the
    inference folder, with output layer and names of classes.

    Arguments
    ---------
    launch : speechbrain_dino.command_line.Launch
        Builds the YAML's objects anew for every fold.
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
        run_on_main(hparams["prepare"])
        data = Path(hparams["data_save_folder"])
        manifest = Manifest.from_csv(data / "utterances.csv")
        names = [fold.name for fold in read_folds(data / "folds.json", manifest)]
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
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "hyperparams.yaml").write_text(changed.resolved(), encoding="utf-8")
    ddp_barrier()
    loader = prepare(of_fold, launch.run_opts)
    brain = make_brain(of_fold, launch.run_opts)
    of_fold["validator"].end_where_stopped(brain)
    brain.fit(of_fold["epoch_counter"], loader)
    if if_main_process():
        _finish_fold(brain, of_fold, name, folder)
    ddp_barrier()


def _finish_fold(brain, hparams, name, folder):
    """Tests the best epoch; predictions.csv last, as it says that all is done."""
    best = best_checkpoint(brain.checkpointer.find_checkpoints())
    state = torch.load(best.paramfiles["student"], map_location="cpu")
    unwrap(brain.trained).load_state_dict(state)
    manifest, labels = hparams["tested"]
    logits = class_logits(brain, manifest)
    scale = getattr(brain.modules.loss, "scale", 1.0)
    probs = torch.softmax(scale * torch.from_numpy(logits), dim=1).numpy()
    classes = hparams["classes"]
    results = update_results(
        folder / "results.json",
        {
            "fold": name,
            "epoch": best.meta["epoch"],
            "precision": brain.precision,
            "uar_valid": best.meta.get("uar/valid"),
            "data": hparams["data"],
            "classes": classes,
        },
    )
    export_classifier_folder(folder, brain, hparams, results)
    table = pd.DataFrame(probs, columns=[f"p_{name}" for name in classes])
    table.insert(0, "predicted", [classes[k] for k in probs.argmax(1)])
    table.insert(0, "label", [classes[k] for k in labels])
    table.insert(0, "spk_id", [str(name) for name in manifest.column("spk_id")])
    table.insert(0, "ID", list(manifest.ids))
    with replacing(folder / "predictions.csv") as draft:
        table.to_csv(draft, index=False)


def _sum_up(output, hparams, manifest, names, started):
    tables = {
        name: pd.read_csv(output / "folds" / name / "predictions.csv", dtype=str)
        for name in names
    }
    of_folds = [
        json.loads((output / "folds" / name / "results.json").read_text("utf-8"))
        for name in names
    ]
    classes = sorted({name for fold in of_folds for name in fold["classes"]})
    figures = classification_figures(
        [(t["label"].to_numpy(), t["predicted"].to_numpy()) for t in tables.values()],
        classes,
        [t["spk_id"].to_numpy() for t in tables.values()],
        seed=hparams["seed"],
    )
    best = max(of_folds, key=lambda fold: fold["uar_valid"] or 0.0)
    _copy_model(output, output / "folds" / best["fold"] / "inference")
    results = update_results(
        output / "results.json",
        {
            **provenance(hparams["seed"]),
            "model": str(hparams["start_model"]),
            "precision": hparams["precision"],
            "finetune": {
                **figures,
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
    log_figures({"fine-tuned": figures}, classes)
    logger.info("Inference folder (fold %s): %s", best["fold"], output / "inference")
    logger.info("Report: %s", write_report(output))
    return results


def _copy_model(output, inference):
    """A copy, not a link: the folder can be moved."""
    with replacing(output / "inference") as draft:
        draft.mkdir()
        for file in inference.iterdir():
            (draft / file.name).write_bytes(file.read_bytes())
