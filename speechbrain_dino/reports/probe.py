"""The page of a probe's run: tables, confusions, folds."""

from speechbrain_dino.metrics.classification import metrics_frame, shown
from speechbrain_dino.reports.page import write_page
from speechbrain_dino.reports.plots.confusion import confusion_figure

_ORIGIN = ("seed", "git", "seconds", "hardware", "versions")


def write_probe_report(output_folder, results):
    """Writes ``report/index.html`` and its pictures; returns the path of the page.

    Arguments
    ---------
    output_folder : str or path
        Folder of the run.
    results : dict
        Content of its results.json.
    """
    probes = results["probe"]
    return write_page(
        output_folder,
        "probe.html",
        _confusions(probes),
        title=f"Linear probe of {results['model']}",
        summary=f"{', '.join(probes)}, from frozen embeddings",
        probes={label: _tables(probe) for label, probe in probes.items()},
        origin={name: results[name] for name in _ORIGIN if results[name]},
        command=results["command"],
    )


def _confusions(probes):
    """For each label of at most 50 classes: the first source's best layer."""
    pictures = {}
    for label, probe in probes.items():
        best = next(iter(probe["best_layers"].items()))
        name, system = next(
            (name, system)
            for name, system in probe["systems"].items()
            if (system.get("source"), system.get("layer")) == best
        )
        if system.get("confusion"):
            pictures[f"confusion_{label}"] = confusion_figure(
                system["confusion"], probe["classes"], f"{label}: {name}"
            )
    return pictures


def _tables(probe):
    return {
        "notes": _notes(probe),
        "systems": _systems(probe),
        "recalls": _recalls(probe),
        "folds": _folds(probe),
    }


def _notes(probe):
    best = probe["best_in_validation"]
    of_best = probe["systems"][best]
    parameter, values = next(iter(probe["regularization"].items()))
    listed = ", ".join(f"{value:g}" for value in values)
    notes = [
        f"{probe['how']}.",
        f"Features standardized, {parameter} out of {listed} chosen "
        f"in validation by {probe['criterion'].replace('_', ' ')}.",
        f"Best in validation: {best}; best layers: "
        + ", ".join(f"{s}: {layer}" for s, layer in probe["best_layers"].items())
        + ".",
    ]
    if probe["left_out"]:
        notes.append(f"{probe['left_out']} utterances without this label left out.")
    if probe["speaker_norm"]:
        notes.append(
            "*: mean and deviation of each speaker taken off, which uses the identity "
            "of the test speakers."
        )
    if "intervals_over" in of_best:
        over = of_best["intervals_over"]
        notes.append(f"In brackets: 95 % intervals over draws of {over}.")
    if "deviation" in of_best:
        notes.append("Over folds: mean and standard deviation.")
    return notes


def _systems(probe):
    systems = probe["systems"]
    frame = metrics_frame(systems)
    frame.insert(0, "dimensions", [s.get("dimensions", "-") for s in systems.values()])
    form = shown("uar" if probe["classes"] else "ccc")
    unit = " (%)" if probe["classes"] else ""
    frame[f"in validation{unit}"] = [
        form(s["validation"]) if "validation" in s else "-" for s in systems.values()
    ]
    return [("system", *frame.columns), *frame.itertuples(name=None)]


def _recalls(probe):
    if any("recalls" not in metrics for metrics in probe["systems"].values()):
        return []
    form, rows = shown("uar"), [("recall (%)", *probe["classes"])]
    for name, metrics in probe["systems"].items():
        rows.append((name, *(form(metrics["recalls"][c]) for c in probe["classes"])))
    return rows


def _folds(probe):
    best = probe["systems"][probe["best_in_validation"]]
    metrics = [metrics_frame({"": {"pooled": fold}}).iloc[0] for fold in best["folds"]]
    few = len(probe["classes"]) <= 10
    rows = []
    for of_test, (name, parts) in zip(metrics, probe["folds"].items()):
        for part, counts in parts.items():
            counts = counts if few else {k: counts[k] for k in list(counts)[:2]}
            if not rows:
                titles = [f"{title}, best" for title in of_test.index]
                rows.append(("fold", "part", *counts, *titles))
            of_part = of_test if part == "test" else [""] * len(of_test)
            rows.append((name, part, *counts.values(), *of_part))
    return rows
