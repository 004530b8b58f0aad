"""Scored trial lists calibrated on one of them, and systems fused."""

import logging
from pathlib import Path

from speechbrain_dino.data.trials import read_scores, write_scores
from speechbrain_dino.scoring.calibration import fit_calibration, read_systems

logger = logging.getLogger(__name__)

FUSION = "fusion"
_SUFFIX = "_calibrated"


class CalibrationPlan:
    """What a run calibrates and fuses, checked before anything is computed.

    Scores are taken from files: those of the first way lie in ``scores``, those of
    the others in ``scores/<way>``, those of another system in a folder of its own.

    Arguments
    ---------
    calibration_list : str or path, optional
        The list on which the logistic regressions learn: one of ``lists``, or the
        first way's score file of some other list, with files of that name for the
        other ways in folders ``<way>`` beside it. None: nothing is calibrated.
    fuse : sequence of str or path
        Ways, and folders of other systems' score files ``<list>.txt``; empty: nothing
        is fused.
    lists : dict
        Name -> Trials.
    ways : sequence of str
        The ways to score, the first one first.
    output_folder : str or path
        The run's folder, for ``scores`` and ``calibration``.

    Raises
    ------
    ValueError
        If the list is not there or has no labels, no list is left to be scored, or
        ``fuse`` names something else than ways and folders with the lists' files.
    """

    def __init__(self, calibration_list, fuse, lists, ways, output_folder):
        self.lists, self.output = lists, Path(output_folder)
        self.scores = self.output / "scores"
        self.ways = list(ways)
        if isinstance(fuse, str):
            raise ValueError(f"fuse: expected a list, [{fuse}, ...], found {fuse!r}")
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
        self.known = {name: self._count_known(name) for name in self.evaluated}

    def _set_training(self, wanted):
        path = Path(wanted)
        if wanted in self.lists:
            self.name, self.folder = wanted, self.scores
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
                f"{key}: {path} lies among the scores of this run, which are made "
                "anew: copy it elsewhere, or name another --output_folder"
            )

    def _check_fuse(self):
        if len(set(self.fuse)) < max(2, len(self.fuse)):
            raise ValueError(
                f"fuse: expected at least two systems, each once, found "
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

    def _count_known(self, name):
        """Number of trials of a list that the calibration list has as well."""
        known = set(zip(self.trials.enrol, self.trials.test))
        trials = self.lists[name]
        shared = sum(pair in known for pair in zip(trials.enrol, trials.test))
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

    def run(self, scored, figures_of):
        """Calibrates the ways that were scored, and fuses.

        Arguments
        ---------
        scored : dict
            What ``speechbrain_dino.scoring.lists.score_lists`` gave, with its files.
        figures_of : speechbrain_dino.scoring.lists.ListFigures
            For the figures.

        Returns
        -------
        dict
            Further ways in the form of ``scored``: ``<way>_calibrated`` and
            ``fusion``, of all lists but the one learned on; beside their figures
            ``calibration_list``, ``known_trials`` (number by list of those that are in
            it as well), ``systems``, ``weights`` and ``offset``.

        Raises
        ------
        ValueError
            If a way to fuse was left out, files differ in their trials, or scores
            cannot be calibrated; names the list.
        """
        if self.name is None:
            return {}
        further = {}
        folders = _folders(self.folder, scored), _folders(self.scores, scored)
        for way, about in scored.items():
            file = folders[0][way] / f"{self.name}.txt"
            if not file.is_file():
                logger.warning("%s is not there: %s is not calibrated", file, way)
                continue
            made = self._calibrate(way + _SUFFIX, [way], folders, figures_of)
            # A rising map changes no error rate: the conditions are those of the way.
            further[way + _SUFFIX] = _cohort_of(about) | made | {"conditions": {}}
        if self.fuse:
            lost = set(self.fuse) & (set(self.ways) - scored.keys())
            if lost:
                raise ValueError(
                    f"fuse: {', '.join(sorted(lost))} was not scored, see above: leave "
                    "it out of fuse, or give what it needs"
                )
            cohorts = [_cohort_of(scored[way]) for way in self.fuse if way in scored]
            cohorts = [about for about in cohorts if about]
            made = self._calibrate(FUSION, self.fuse, folders, figures_of)
            # Named where the ways that depend on one share it.
            shared = all(about == cohorts[0] for about in cohorts)
            further[FUSION] = (cohorts[0] if cohorts and shared else {}) | made
        return further

    def _calibrate(self, title, systems, folders, figures_of):
        learned, own = folders
        trials, scores = _read(learned, systems, self.name)
        _check_labels(trials)
        try:
            calibration = fit_calibration(scores, trials.labels)
        except ValueError as error:
            raise ValueError(f"{trials.path}, {title}: {error}") from error
        calibration.save(self.output / "calibration" / f"{title}.json")
        figures, conditions = {}, {}
        for name in self.evaluated:
            found, scores = _read(own, systems, name)
            ratios = calibration(scores)
            write_scores(self.scores / title / f"{name}.txt", found, ratios)
            if self.lists[name].labels is not None:
                figures[name], conditions[name] = figures_of(name, ratios, True)
        return {
            "lists": figures,
            "conditions": conditions,
            "calibration_list": self.name,
            "known_trials": self.known,
            "systems": systems,
            "weights": calibration.weights,
            "offset": calibration.offset,
        }


def _folders(scores, ways):
    """Way -> where its files lie: ``scores`` for the first."""
    return {way: scores / (way if number else "") for number, way in enumerate(ways)}


def _read(folders, systems, name):
    """Trials of a list, in the order of a way's file, and a column a system."""
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


def _cohort_of(about):
    return {key: about[key] for key in about if key.startswith("cohort")}
