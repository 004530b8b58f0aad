"""Whether a run goes on as it began: its values, its data, its processes.

The values of a run stand in its ``hyperparams.yaml``, its data and processes in
``conditions.json``. What differs from them is refused, but for :data:`MAY_CHANGE` and
what ``--allow_changed`` names; both are logged and kept in results.json.
"""

import csv
import hashlib
import json
import logging
import os
import time
from pathlib import Path

import torch
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from speechbrain.utils.distributed import if_main_process, run_on_main

from speechbrain_dino.runs.rules import is_object, tag_of
from speechbrain_dino.utils.checked_json import read_json
from speechbrain_dino.utils.files import replacing
from speechbrain_dino.utils.refusals import when_accepted
from speechbrain_dino.utils.results import update_results

logger = logging.getLogger(__name__)

_GROUPS = {
    "how long it trains": "number_of_epochs main_epochs large_margin_epochs patience "
    "rounds stop_below",
    "how fast it computes": "num_workers workers batch_seconds compile device",
    "what is looked at, logged and kept": "log_every tensorboard validate_every "
    "validate_lists valid_utterances trial_lists truth bootstrap keep_checkpoints "
    "ckpt_interval_minutes ckpt_interval_steps average_last subtract_mean train_logger",
    # What they hold is compared, see data_conditions.
    "where things are": "output_folder save_folder data_save_folder data_folder "
    "noise_folder rir_folder check_audio download metadata",
}
MAY_CHANGE = {key: why for why, keys in _GROUPS.items() for key in keys.split()}
"""Keys that a run may be continued with other values of, and of what kind they are."""
_OF_STAGES = {"rounds", "stop_below"}
"""Of how long it trains, what concerns no fold or round that is finished."""
CONDITIONS = {
    "data": "the training utterances",
    "labels": "the labels of the training utterances",
    "noise": "the noises",
    "rir": "the impulse responses",
    "processes": "the number of processes",
    "grad_accumulation_factor": "the number of accumulated batches",
}
"""What a run depends on beside its keys; names for ``--allow_changed``."""


def begun(folder, save_folder=None):
    """Whether a training has left something to go on from.

    Arguments
    ---------
    folder : path
        ``output_folder``.
    save_folder : path, optional
        Where the checkpoints are, ``<output_folder>/save`` if not given.
    """
    folder = Path(folder)
    if (folder / "rounds.json").exists():
        return True
    places = [(Path(save_folder or folder / "save"), "CKPT+*")]
    places += [(folder / "folds", "*/save/CKPT+*"), (folder / "folds", "*/*.csv")]
    return any(any(place.glob(pattern)) for place, pattern in places)


def forget_notes(folder):
    """Lets a run with ``--debug`` start over, in the folder that is for such runs.

    Arguments
    ---------
    folder : path
        ``<output_folder>/debug``.
    """
    folder = Path(folder)
    for path in (folder / "rounds.json", *folder.glob("folds/*/predictions.csv")):
        path.unlink(missing_ok=True)


def check_unchanged(launch, folder, also=()):
    """Compares a run's values with those it began with.

    Arguments
    ---------
    launch : speechbrain_dino.runs.command_line.Launch
        What it is to resume with.
    folder : pathlib.Path
        Its output folder.
    also : sequence of str
        Keys that may differ beside ``launch.allow_changed`` and :data:`MAY_CHANGE`.

    Returns
    -------
    dict
        Key -> (old value, new value) of what differs and may; {} for a new run.

    Raises
    ------
    ValueError
        At a value that may not differ; if the stored values cannot be read.
    """
    stored = Path(folder) / "hyperparams.yaml"
    now = YAML(typ="rt").load(launch.resolved())
    if not begun(folder, now.get("save_folder")):
        return {}
    if not stored.exists():
        logger.warning("%s is gone: the values of before are not known", stored)
        return {}
    before = _read(stored)
    free = {*_may_change(Path(folder)), *launch.allow_changed, *also}
    kept = {key: before[key] for key in before if key in free and key in now}
    # What follows from them, such as a schedule's length, differs with them alone.
    as_before = YAML(typ="rt").load(launch.changed(**kept).resolved())
    both = [key for key in {**before, **as_before} if key not in free]
    other = [key for key in both if _value(before, key) != _value(as_before, key)]
    other = [key for key in other if not key.startswith("__")]
    if other:
        # Objects follow from keys in most cases, and are long.
        key = next((k for k in other if not is_object(before.get(k))), other[0])
        raise ValueError(
            f"{folder} holds a run with {key} {_shown(before, key)}, and now {key} is "
            f"{_shown(now, key)}: give the old value back, another --output_folder, or "
            f"--allow_changed {','.join(other)} to go on all the same"
            f"{' with what is left to do' if _finished_stages(Path(folder)) else ''}"
        )
    return {
        key: (_shown(before, key), _shown(now, key))
        for key in (k for k in {**before, **now} if k in free)
        # Loggers follow from folders.
        if _value(before, key) != _value(now, key) and key != "train_logger"
    }


def _finished_stages(folder):
    """Whether a fold, or a round, is finished: it is not trained again."""
    stages = (folder.glob("folds/*/predictions.csv"), folder.glob("round*/inference"))
    return any(any(paths) for paths in stages)


def _may_change(folder):
    """Keys that may differ; epochs only where no stage has had all of its own."""
    epochs = set(_GROUPS["how long it trains"].split()) - _OF_STAGES
    return set(MAY_CHANGE) - (epochs if _finished_stages(folder) else set())


def note_changes(folder, changes):
    """Keeps what differs from before in results.json and in the log.

    Arguments
    ---------
    folder : path
        The output folder.
    changes : dict
        From :func:`check_unchanged`.
    """
    if not changes or not if_main_process():
        return
    for key, (old, new) in changes.items():
        logger.info("The run resumes with another %s: %s, before %s", key, new, old)
    path = Path(folder) / "results.json"
    history = update_results(path, {}).get("changes")
    history = history if isinstance(history, list) else []
    entry = {key: list(values) for key, values in changes.items()}
    date = time.strftime("%Y-%m-%d %H:%M:%S")
    update_results(path, {"changes": [*history, {"date": date, "keys": entry}]})


def check_conditions(hparams, conditions):
    """Compares data and processes of a run with those it began with.

    They are noted when the run is accepted, see ``utils.refusals``.

    Arguments
    ---------
    hparams : dict
        The YAML's objects: output folder, ``allow_changed``.
    conditions : dict
        Name in :data:`CONDITIONS` -> value, of this session.

    Raises
    ------
    ValueError
        At one that differs.
    """
    run_on_main(_check_conditions, args=[hparams, conditions])


def _check_conditions(hparams, conditions):
    folder, allowed = Path(hparams["output_folder"]), hparams.get("allow_changed", ())
    path, before = folder / "conditions.json", {}
    if begun(folder, hparams.get("save_folder")) and path.exists():
        try:
            before = read_json(path)
            if not isinstance(before, dict):
                raise TypeError("it is no object")
        except (ValueError, TypeError, IsADirectoryError) as error:
            raise ValueError(
                f"{path} is damaged ({error}): whether the data are those of before "
                "cannot be told; remove it to go on all the same"
            ) from error
    names = [name for name in CONDITIONS if name in before and name in conditions]
    changes = {
        name: (before[name], conditions[name])
        for name in names
        if before[name] != conditions[name]
    }
    for name in changes:
        if name not in allowed:
            raise ValueError(_condition_changed(folder, name, *changes[name]))

    def write():
        note_changes(folder, changes)
        with replacing(path) as draft:
            draft.write_text(json.dumps(conditions, indent=2) + "\n", encoding="utf-8")

    when_accepted(write)


def _condition_changed(folder, name, old, new):
    values = f": {old} before, {new} now" if isinstance(old, int) else ""
    return (
        f"{folder} holds a run, and {CONDITIONS[name]} changed since it began{values}; "
        "go on as it began, give another --output_folder, or "
        f"--allow_changed {name} to go on all the same"
    )


def run_conditions(run):
    """What a training depends on beside its keys.

    Arguments
    ---------
    run : speechbrain_dino.training.run.Run
        With its crops.

    Returns
    -------
    dict
        See :data:`CONDITIONS`.
    """
    conditions = {
        "data": manifest_digest(run.crops.manifest),
        "noise": _list_digest(run.data_folder / "noise.csv"),
        "rir": _list_digest(run.data_folder / "rir.csv"),
        "processes": int(os.environ.get("WORLD_SIZE", 1)),
        "grad_accumulation_factor": run.run_opts.grad_accumulation_factor,
    }
    if run.labels is not None:
        labels = torch.as_tensor(run.labels).cpu().numpy().astype("<i8")
        conditions["labels"] = _digest(labels.tobytes())
    return conditions


def manifest_digest(manifest):
    """A short text that differs where a manifest's utterances do; paths do not count.

    Arguments
    ---------
    manifest : speechbrain_dino.data.manifest.Manifest
        The utterances.
    """
    ids = "\n".join(map(str, manifest.ids)).encode()
    samples = (manifest.column("start"), manifest.lengths)
    return _digest(ids + b"".join(part.astype("<i8").tobytes() for part in samples))


def folds_digest(manifest, folds):
    """A short text that differs where utterances or folds do.

    Arguments
    ---------
    manifest : speechbrain_dino.data.manifest.Manifest
        The utterances.
    folds : list of speechbrain_dino.data.folds.Fold
        Rows of the manifest.
    """
    rows = [part for fold in folds for part in (fold.train, fold.valid, fold.test)]
    content = [manifest_digest(manifest), *(_digest(r.astype("<i8")) for r in rows)]
    return _digest("".join(content).encode())


def _list_digest(path):
    if not path.exists():
        return None
    with open(path, newline="", encoding="utf-8") as file:
        rows = csv.DictReader(file, skipinitialspace=True)
        text = "\n".join(f"{row.get('ID')} {row.get('duration')}" for row in rows)
    return _digest(text.encode())


def _digest(content):
    return hashlib.sha256(content).hexdigest()[:16]


def _read(path):
    try:
        tree = YAML(typ="rt").load(path.read_text(encoding="utf-8"))
    except (YAMLError, ValueError, RecursionError, IsADirectoryError) as error:
        tree = " ".join(str(error).split())
    if not isinstance(tree, dict):
        raise ValueError(
            f"{path} is damaged, so that the run cannot be compared with what it began "
            f"with ({tree}): give another --output_folder"
        )
    return tree


def _value(tree, key):
    return _plain(tree[key]) if key in tree else "nothing"


def _plain(node):
    """Tags and values of a tree, without comments and styles."""
    content = getattr(node, "value", node)
    if isinstance(node, dict):
        content = {str(key): _plain(value) for key, value in node.items()}
    elif isinstance(node, list):
        content = [_plain(value) for value in node]
    tag = tag_of(node)
    return content if tag is None else [tag, content]


def _shown(tree, key):
    value = _value(tree, key)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    text = " ".join(str(value).split())
    return text if len(text) <= 200 else text[:200] + " ..."
