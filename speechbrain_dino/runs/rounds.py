"""Iterative pseudo-labeling: embed, cluster, train, evaluate, and again."""

import logging
import time
from functools import partial
from pathlib import Path

import numpy as np
from speechbrain.utils.distributed import ddp_barrier, if_main_process

from speechbrain_dino.clustering.labels import load_labels, save_labels
from speechbrain_dino.corpora.preparation import read_summary
from speechbrain_dino.data.manifest import Manifest
from speechbrain_dino.embeddings.cache import embed_to_folder
from speechbrain_dino.embeddings.pretrained import load_pretrained
from speechbrain_dino.reports.rounds import log_table, write_rounds_report
from speechbrain_dino.runs.output_folder import RUN_FILES, write_settings
from speechbrain_dino.runs.prepare import prepare
from speechbrain_dino.runs.resume import check_conditions, manifest_digest
from speechbrain_dino.runs.train import finish_run, fit, make_brain
from speechbrain_dino.scoring.verify import verify_lists
from speechbrain_dino.training.pseudo_labels import label_change, true_speakers
from speechbrain_dino.utils.checked_json import (
    DamagedFileError,
    file_digest,
    read_checked,
    write_checked,
)
from speechbrain_dino.utils.distributed import alone_on_main, join_processes
from speechbrain_dino.utils.ending import together
from speechbrain_dino.utils.errors import plain_errors
from speechbrain_dino.utils.ownership import claim
from speechbrain_dino.utils.provenance import provenance
from speechbrain_dino.utils.refusals import accept, when_accepted
from speechbrain_dino.utils.results import update_results

logger = logging.getLogger(__name__)

STARTS = ("fresh", "first", "previous")
LABELS, MODEL = "labels of round {}", "model of round {}"
REMEDY = """restore it, or move it away and run the command again: stages that \
are whole in the folders of the rounds are taken up there"""


@together
def run_rounds(launch, hparams):
    """Runs the rounds that the YAML asks for; goes on where it was stopped.

    Every stage leaves its result in ``round<n>/`` and a note in ``rounds.json``; what
    is noted there is not done again, and a stage that was killed goes on by itself.

    Arguments
    ---------
    launch : speechbrain_dino.runs.command_line.Launch
        Builds the YAML's objects again for every round.
    hparams : dict
        What the YAML describes, see ``recipes/VoxCeleb/hparams/pseudo_labels.yaml``.

    Returns
    -------
    list of dict
        The table: a line a round, the first of the model at the start.
    """
    started = time.time()
    output = Path(hparams["output_folder"])
    with plain_errors(ValueError, OSError, ImportError):
        _check(hparams)
        state = RoundsState(output / "rounds.json")
        _check_rounds(state, hparams["rounds"])
        alone_on_main(hparams["prepare"])
        manifest = Manifest.from_csv(Path(hparams["data_save_folder"]) / "train.csv")
        check_conditions(hparams, {"data": manifest_digest(manifest)})
        truth = true_speakers(manifest, hparams["truth"])
        _start_line(hparams, launch, state)
        for number in range(1, hparams["rounds"] + 1):
            changed = _round(number, launch, hparams, state, manifest, truth)
            _write(output, state, hparams, started)
            if changed is not None and changed < hparams["stop_below"]:
                logger.info(
                    "Round %d moved %.2f %% of the utterances, less than stop_below: "
                    "the labels have settled",
                    number,
                    100 * changed,
                )
                break
    return state.lines()


def _check(hparams):
    if hparams["first_model"] is None:
        raise ValueError(
            "first_model is missing: give --first_model FOLDER, the inference folder "
            "of a pretrained model (train.py hparams/dino.yaml makes one)"
        )
    if hparams["start_from"] not in STARTS:
        raise ValueError(
            f"start_from is {hparams['start_from']!r}; expected one of {STARTS}"
        )
    if hparams["rounds"] < 1:
        raise ValueError(f"rounds is {hparams['rounds']}; at least 1 is needed")


def _check_rounds(state, rounds):
    """Refuses to call a run of many rounds one of fewer."""
    done = [line for line in state.lines()[1:] if line.get("verification") is not None]
    if len(done) > rounds:
        raise ValueError(
            f"{state.path} has {len(done)} rounds, and rounds is {rounds}: give "
            f"{len(done)} or more, or another --output_folder"
        )


def _start_line(hparams, launch, state):
    """Figures of the first model on the trial lists, for comparison."""
    if state.get(0, "verification") is not None:
        return
    folder = Path(hparams["data_save_folder"])
    names = read_summary(folder)["trials"]
    lists = [folder / "trials" / f"{name}.txt" for name in names]
    metrics = {}
    if lists and if_main_process():
        metrics = verify_lists(
            Manifest.from_csv(folder / "test.csv"),
            lists,
            load_pretrained(hparams["first_model"]).embedder,
            device=join_processes(launch.run_opts.device),
            batch_seconds=hparams["batch_seconds"],
        )
    state.note(0, verification=metrics, model=str(hparams["first_model"]))
    state.note_digest(MODEL.format(0), load_pretrained(hparams["first_model"]).digest)
    ddp_barrier()


def _round(number, launch, hparams, state, manifest, truth):
    """One round; returns how much the labels changed, None in the first."""
    folder = Path(hparams["output_folder"]) / f"round{number}"
    # Not as noted: the folder of the run may have been moved or copied.
    earlier = folder.with_name(f"round{number - 1}") / "inference"
    previous = str(earlier) if number > 1 else state.get(0, "model")
    logger.info("Round %d of %d, from %s", number, hparams["rounds"], previous)
    if state.get(number, "verification") is None:
        model = load_pretrained(previous)
        state.check_digest(MODEL.format(number - 1), model.digest, previous)
    if state.get(number, "cluster") is None:
        accept()
        table = _embed(folder / "embeddings", model, launch, hparams, manifest)
        about = number, folder, launch, hparams, state, table, truth
        alone_on_main(partial(_cluster, *about))
        state.reload()
    _check_labels(state, number, folder)
    if state.get(number, "verification") is None:
        _train(number, folder, launch, hparams, state, previous)
    return state.get(number, "cluster").get("label_change")


def _check_labels(state, number, folder):
    """Labels are read again by the training, when it is resumed, and the next round."""
    labels = folder / "clusters" / "labels.csv"
    state.check_digest(LABELS.format(number), file_digest(labels), labels)


def _embed(folder, model, launch, hparams, manifest):
    """Embeds the training utterances: no trial list is among them."""
    return embed_to_folder(
        folder / "train",
        manifest,
        model.embedder,
        model.digest,
        device=join_processes(launch.run_opts.device),
        batch_seconds=hparams["batch_seconds"],
        max_seconds=hparams["embed_seconds"],
        sample_rate=hparams["sample_rate"],
    )


def _cluster(number, folder, launch, hparams, state, table, truth):
    keys = {key: values[number - 1] for key, values in _by_round(hparams, number)}
    clusterer = launch.changed(**keys).build()["clusterer"] if keys else None
    clustering = (clusterer or hparams["clusterer"])(np.asarray(table.vectors))
    save_labels(folder / "clusters", table.ids, clustering)
    summary = dict(clustering.summary)
    if number > 1:
        before = load_labels(folder.parent / f"round{number - 1}/clusters/labels.csv")
        summary["label_change"] = label_change(before, clustering.labels)
    if truth is not None:
        summary["against_truth"] = clustering.against(truth)
    labels = file_digest(folder / "clusters" / "labels.csv")
    state.note_digest(LABELS.format(number), labels)
    state.note(number, cluster=summary)


def _by_round(hparams, number):
    """Keys of the YAML that differ from round to round."""
    for key, values in (hparams.get("by_round") or {}).items():
        if len(values) < number:
            raise ValueError(
                f"by_round gives {len(values)} values of {key}, and this is round "
                f"{number}: give one for each of the {hparams['rounds']} rounds"
            )
        yield key, values


def _train(number, folder, launch, hparams, state, previous):
    starts = {"fresh": None, "first": hparams["first_model"], "previous": previous}
    changed = launch.changed(
        **{key: values[number - 1] for key, values in _by_round(hparams, number)},
        output_folder=str(folder),
        data_save_folder=str(hparams["data_save_folder"]),
        labels_file=str(folder / "clusters" / "labels.csv"),
        start_model=starts[hparams["start_from"]],
    )
    of_round = changed.build()
    if if_main_process():
        claim(folder, "rounds", RUN_FILES)
        when_accepted(partial(write_settings, folder, changed.resolved()))
    ddp_barrier()
    run = prepare(of_round, launch.run_opts)
    brain = make_brain(run)
    fit(brain, run)
    finish_run(brain, run)
    ddp_barrier()
    results = read_checked(folder / "results.json")
    model = folder / "inference"
    state.note_digest(MODEL.format(number), load_pretrained(model).digest)
    state.note(
        number,
        verification=results["verification"],
        health=results["health"],
        seconds=results["seconds"],
        model=str(model),
    )


def _write(output, state, hparams, started):
    """The table so far: results.json, report and log."""
    accept()
    if not if_main_process():
        return
    update_results(
        output / "results.json",
        {
            **provenance(hparams["seed"]),
            "precision": hparams["precision"],
            "rounds": state.lines(),
            "verification": state.lines()[-1].get("verification", {}),
            "seconds": round(time.time() - started, 1),
        },
    )
    log_table(state.lines())
    logger.info("Report: %s", write_rounds_report(output, state.lines()))


def _is_table(lines):
    """Whether notes are lines of what stages leave, in their types."""
    kinds = {"cluster": dict, "verification": dict, "health": dict, "model": str}
    return isinstance(lines, list) and all(
        isinstance(line, dict)
        and all(isinstance(line.get(k, kind()), kind) for k, kind in kinds.items())
        and all(type(m) is dict for m in line.get("verification", {}).values())
        for line in lines
    )


class RoundsState:
    """Notes of finished stages, by round; round 0 is the model at the start.

    Arguments
    ---------
    path : str or path
        The JSON.
    """

    def __init__(self, path):
        self.path = Path(path)
        self.reload()

    def reload(self):
        """Reads what another process may have noted."""
        self.state = {"rounds": [], "digests": {}}
        if not self.path.exists():
            return
        self.state |= read_checked(self.path, REMEDY)
        whole = _is_table(self.state["rounds"])
        if not whole or not isinstance(self.state["digests"], dict):
            raise DamagedFileError(f"{self.path} holds no rounds: {REMEDY}")

    def get(self, number, stage):
        """What was noted of a stage, None if it is not finished."""
        if number >= len(self.state["rounds"]):
            return None
        return self.state["rounds"][number].get(stage)

    def note(self, number, **stages):
        """Notes finished stages, on disk at once.

        Arguments
        ---------
        number : int
            The round.
        **stages
            What is known of each.
        """
        lines = self.state["rounds"]
        while len(lines) <= number:
            lines.append({"round": len(lines)})
        lines[number] |= stages
        self._write()

    def note_digest(self, name, digest):
        """Notes the digest of a file or model that a later stage reads."""
        self.state["digests"][name] = digest
        self._write()

    def check_digest(self, name, digest, path):
        """Raises ValueError if what is read now is not what an earlier stage wrote."""
        if self.state["digests"].get(name, digest) != digest:
            raise ValueError(
                f"{path} was changed since an earlier stage of this run wrote or used "
                f"it ({name}): restore it, or move {self.path} away to do all stages "
                "again"
            )

    def _write(self):
        if if_main_process():
            write_checked(self.path, self.state)

    def lines(self):
        """All rounds, a dict each."""
        return self.state["rounds"]


if __name__ == "__main__":
    raise SystemExit("start it by recipes/VoxCeleb/rounds.py, whose --help says how")
