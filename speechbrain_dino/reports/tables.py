"""Tables of verification results in a report."""

from typing import NamedTuple

from speechbrain_dino.reports.page import render


class Metric(NamedTuple):
    """A column of the table of results; ``before``: also shown before training."""

    title: str
    key: str
    form: object = "{:.4f}".format
    before: bool = False


def _percent(rate):
    return f"{100 * rate:.2f} %"


_METRICS = (
    Metric("EER", "eer", _percent),
    Metric("minDCF (0.01)", "min_dcf_0.01"),
    Metric("minDCF (0.05)", "min_dcf_0.05"),
    Metric("actDCF (0.01)", "act_dcf_0.01"),
    Metric("actDCF (0.05)", "act_dcf_0.05"),
    Metric("Cllr", "cllr"),
    Metric("minCllr", "min_cllr"),
)
# Every run has it, but it is there to be compared with Cllr.
_SHOWN_WITH = {"min_cllr": "cllr"}


def results_table(runs):
    """HTML of EER and costs of every list, run and way to score; "" without results.

    Arguments
    ---------
    runs : list of speechbrain_dino.reports.run_folder.RunFolder
        The runs, the first one first.
    """
    entries = [
        (run, way, scoring)
        for run in runs
        for way, scoring in _scorings(run.results).items()
    ]
    scorings = [scoring for _, _, scoring in entries]
    lists = dict.fromkeys(name for scoring in scorings for name in scoring["lists"])
    if not lists:
        return ""
    after = _keys(scoring["lists"] for scoring in scorings)
    before = _keys(run.results.get("verification_before", {}) for run in runs)
    return render(
        "results.html",
        metrics=[
            metric._replace(before=metric.key in before)
            for metric in _METRICS
            if _SHOWN_WITH.get(metric.key, metric.key) in after
        ],
        rows=[
            (name, *entry)
            for name in lists
            for entry in entries
            if name in entry[-1]["lists"]
        ],
        several_runs=len(runs) > 1,
        several_ways=any(way for _, way, _ in entries),
        with_cohort=any("cohort" in scoring for scoring in scorings),
        notes=[*_notes(scorings), *_warnings(runs)],
    )


def _keys(results):
    """Names of all metrics in dicts of trial list -> metrics."""
    return {key for lists in results for metrics in lists.values() for key in metrics}


def _notes(scorings):
    """Where cohorts, intervals and calibrations come from."""
    notes = []
    cohorts = dict.fromkeys(s["cohort"] for s in scorings if "cohort" in s)
    if cohorts:
        notes.append(f"Cohort: {'; '.join(cohorts)}.")
    if "intervals" in _keys(scoring["lists"] for scoring in scorings):
        notes.append("Below a figure: its 95 % interval over draws of speakers.")
    learned = dict.fromkeys(
        s["calibration_list"] for s in scorings if "calibration_list" in s
    )
    if learned:
        notes.append(
            f"Calibration and fusion were learned on {'; '.join(learned)}, which is "
            "left out there."
        )
    notes += dict.fromkeys(
        f"{number:,} trials of {name} are also in the list learned on."
        for scoring in scorings
        for name, number in scoring.get("known_trials", {}).items()
        if number
    )
    notes += dict.fromkeys(
        f"Fusion of {', '.join(scoring['systems'])}."
        for scoring in scorings
        if len(scoring.get("systems", ())) > 1
    )
    return notes


def _warnings(runs):
    """What a table lacks: ways to score, and trials."""
    for run in runs:
        of = f" ({run.name})" if len(runs) > 1 else ""
        for way, why in run.results.get("ways_left_out", {}).items():
            yield f"Warning{of}: {way} is left out: {why}"
        for name, about in run.results.get("skipped_trials", {}).items():
            yield (
                f"Warning{of}: {about['trials']:,} of {about['of']:,} trials of {name} "
                f"are left out: {about['names']:,} of its names have no usable file, "
                f"such as {about['examples'][0]}."
            )
        for name, splits in run.results.get("seen_speakers", {}).items():
            yield (
                f"Warning{of}: {name} has speakers of {', '.join(splits)}, on which "
                "the model was trained."
            )


def _scorings(results):
    """Way to score -> its results; "" where there is but one."""
    if results.get("scorings"):
        return results["scorings"]
    return {"": {"lists": results.get("verification", {})}}


def conditions_table(results):
    """HTML of the EER by condition, a column per way to score; "" without conditions.

    Arguments
    ---------
    results : dict
        Content of results.json.
    """
    ways = {
        way: scoring["conditions"]
        for way, scoring in _scorings(results).items()
        if any(scoring.get("conditions", {}).values())
    }
    if not ways:
        return ""
    rows = [
        # Fusion leaves out the list on which it was learned.
        (name, line, [way[name][k] if name in way else {} for way in ways.values()])
        for name, lines in next(iter(ways.values())).items()
        for k, line in enumerate(lines)
    ]
    return render("conditions.html", ways=list(ways), rows=rows, percent=_percent)
