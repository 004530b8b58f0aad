"""Scored trial lists calibrated on one of them, and systems fused."""

import logging
from pathlib import Path

from speechbrain_dino.data.trials import check_both_kinds, read_scores, write_scores
from speechbrain_dino.scoring.calibration import fit_calibration, read_systems
from speechbrain_dino.scoring.lists import leave_out, score_folders

logger = logging.getLogger(__name__)

FUSION = "fusion"
_SUFFIX = "_calibrated"


class CalibrationPlan:
    """What a run calibrates and fuses, checked before anything is computed.

    Raises ValueError if the list is missing or has no labels, no list is left to be
    scored, or ``fuse`` names anything but ways and folders with the lists' files.

    Arguments
    ---------
    calibration_list : str or path, optional
        The list to learn from: one of ``lists``, or the first way's score file of
        another list, those of the other ways lying in folders ``<way>`` beside it.
    fuse : sequence of str or path
        Ways, and folders of other systems' files ``<list>.txt``; empty: no fusion.
    lists : dict
        Name -> Trials.
    ways : sequence of str
        The first has its scores in ``scores``, the others in ``scores/<way>``.
    output_folder : str or path
        The run's folder, for ``scores`` and ``calibration``.
    """

    def __init__(self, calibration_list, fuse, lists, ways, output_folder):
        self.lists = lists
        self.scores = Path(output_folder) / "scores"
        self.calibration = Path(output_folder) / "calibration"
        self.ways = list(ways)
        if isinstance(fuse, str):
            raise ValueError(f"fuse: expected a list, [{fuse}, ...], not {fuse!r}")
        self.fuse = [str(name) for name in fuse or ()]
        if calibration_list is None:
            if self.fuse:
                raise ValueError(
                    f"fuse: {', '.join(self.fuse)} needs calibration_list, the list on "
                    "which the weights of the systems are learned"
                )
            self.name = None
            return
        self._set_training(str(calibration_list))
        self.evaluated = [name for name in lists if name != self.name]
        if not self.evaluated:
            raise ValueError(
                f"calibration_list: {self.name} is the only trial list, so none is "
                "left to be scored with what is learned on it: add one"
            )
        taken = {FUSION, *(way + _SUFFIX for way in ways)} & set(ways)
        if taken:
            raise ValueError(
                f"scorings: {', '.join(sorted(taken))} is the name of what is "
                "calibrated or fused: call the way otherwise"
            )
        if self.fuse:
            self._check_fuse()
        self.shared = {name: self._count_shared(name) for name in self.evaluated}

    def _set_training(self, wanted):
        path = Path(wanted)
        if wanted in self.lists:
            self.name, self.folder = wanted, None
            self.trials = self.lists[wanted]
        elif path.is_file():
            self._refuse_own("calibration_list", path)
            self.name, self.folder = path.stem, path.parent
            self.trials = read_scores(path)[0]
        else:
            raise ValueError(
                f"calibration_list: {wanted} is neither one of the trial lists "
                f"({', '.join(self.lists)}) nor a score file"
            )
        _check_labels(self.trials)

    def _refuse_own(self, key, path):
        if self.scores.resolve() in (path.resolve(), *path.resolve().parents):
            raise ValueError(
                f"{key}: {path} lies among the scores of this run, which are "
                "recomputed: copy it elsewhere, or name another --output_folder"
            )

    def _check_fuse(self):
        if len(set(self.fuse)) < max(2, len(self.fuse)):
            raise ValueError(
                "fuse: expected at least two systems, each once, not "
                f"{', '.join(self.fuse)}"
            )
        for system in self.fuse:
            if system in self.ways:
                continue
            folder = Path(system)
            if not folder.is_dir():
                raise ValueError(
                    f"fuse: {system} is neither a way to score "
                    f"({', '.join(self.ways)}) nor a folder of score files"
                )
            self._refuse_own("fuse", folder)
            for name in (self.name, *self.evaluated):
                if not (folder / f"{name}.txt").is_file():
                    raise ValueError(
                        f"fuse: {folder} has no {name}.txt; it needs scores of "
                        f"{', '.join((self.name, *self.evaluated))}"
                    )

    def _count_shared(self, name):
        """Number of trials of a list that the calibration list has as well."""
        learned = set(zip(self.trials.enrol, self.trials.test))
        trials = self.lists[name]
        shared = sum(pair in learned for pair in zip(trials.enrol, trials.test))
        if shared:
            logger.warning(
                "%d of %d trials of %s are in the calibration list %s as well: "
                "calibrated and fused scores would know them",
                shared,
                len(trials.enrol),
                name,
                self.name,
            )
        return shared

    def run(self, scored, metrics_of, left_out=None, scores=None, calibration=None):
        """Calibrates and fuses what ``lists.score_lists`` returned and wrote.

        ``scores`` and ``calibration`` are the folders to read and write, where they are
        not yet in the output folder.

        Returns ``<way>_calibrated`` and ``fusion`` in the form of ``scored``, of all
        lists but the one learned from, with ``calibration_list``, ``known_trials``
        (number of its trials per list), ``systems``, ``weights``, ``offset``.
        What cannot be calibrated or fused is left out alone, with a warning; the dict
        ``left_out`` takes why.
        """
        if self.name is None:
            return {}
        further, left_out = {}, {} if left_out is None else left_out
        self.scores = scores or self.scores
        self.calibration = calibration or self.calibration
        learned = self.folder or self.scores
        folders = score_folders(learned, scored), score_folders(self.scores, scored)
        for way, about in scored.items():
            title = way + _SUFFIX
            file = folders[0][way] / f"{self.name}.txt"
            try:
                if not file.is_file():
                    raise ValueError(f"{file} is not there: {way} is not calibrated")
                calibrated = self._calibrate(title, [way], folders, metrics_of)
            except ValueError as error:
                leave_out(title, error, left_out)
                continue
            # A rising map changes no error rate: the conditions are those of the way.
            calibrated["conditions"] = {}
            further[title] = _cohort_of(about) | calibrated
        if self.fuse:
            try:
                further[FUSION] = self._fused(scored, folders, metrics_of)
            except ValueError as error:
                leave_out(FUSION, error, left_out)
        return further

    def _fused(self, scored, folders, metrics_of):
        skipped = set(self.fuse) & (set(self.ways) - scored.keys())
        if skipped:
            raise ValueError(f"fuse: {', '.join(sorted(skipped))} was not scored")
        cohorts = [_cohort_of(scored[way]) for way in self.fuse if way in scored]
        cohorts = [about for about in cohorts if about]
        fused = self._calibrate(FUSION, self.fuse, folders, metrics_of)
        # Named where the ways that depend on one share it.
        shared = all(about == cohorts[0] for about in cohorts)
        return (cohorts[0] if cohorts and shared else {}) | fused

    def _calibrate(self, title, systems, folders, metrics_of):
        learned, own = folders
        trials, scores = _read(learned, systems, self.name)
        _check_labels(trials)
        try:
            calibration = fit_calibration(scores, trials.labels)
        except ValueError as error:
            raise ValueError(f"{self.trials.path}, {title}: {error}") from error
        calibration.save(self.calibration / f"{title}.json")
        metrics, conditions = {}, {}
        for name in self.evaluated:
            trials, scores = _read(own, systems, name)
            ratios = calibration(scores)
            write_scores(self.scores / title / f"{name}.txt", trials, ratios)
            if self.lists[name].labels is not None:
                metrics[name], conditions[name] = metrics_of(name, ratios, True)
        return {
            "lists": metrics,
            "conditions": conditions,
            "calibration_list": self.name,
            "known_trials": self.shared,
            "systems": systems,
            "weights": calibration.weights,
            "offset": calibration.offset,
        }


def _read(folders, systems, name):
    """Trials of a list, in the order of a way's file, and scores (M, systems)."""
    # Files of other systems may be in another order than the list.
    first = next((s for s in systems if s in folders), next(iter(folders)))
    paths = [
        folders.get(system, Path(system)) / f"{name}.txt"
        for system in (first, *systems)
    ]
    files = list(dict.fromkeys(paths))
    trials, scores = read_systems(files)
    return trials, scores[:, [files.index(path) for path in paths[1:]]]


def _check_labels(trials):
    if trials.labels is None:
        raise ValueError(
            f"calibration_list: {trials.path} has no labels to learn from, take "
            "another list"
        )
    try:
        check_both_kinds(trials)
    except ValueError as error:
        raise ValueError(f"calibration_list: {error}") from None


def _cohort_of(about):
    return {key: about[key] for key in about if key.startswith("cohort")}
