"""EER of methods over the time of training."""

import numpy as np

from speechbrain_dino.reports.plots.style import (
    COLORS,
    DASHES,
    MARKERS,
    caption,
    new_figure,
)


def comparison_figure(runs):
    """A panel per trial list, a line per method: mean over seeds, and their range.

    Lines begin at the untrained encoder, at 0.

    Arguments
    ---------
    runs : list of speechbrain_dino.runs.compare.results.ComparedRun
        All runs; those without a curve are passed over.

    Returns
    -------
    matplotlib.figure.Figure
    """
    lists = sorted({name for run in runs for name in run.curve})
    methods = list(dict.fromkeys(run.method for run in runs if run.curve))
    figure, axes = new_figure(5.4, 1, len(lists))
    for axis, name in zip(axes[0], lists):
        caption(axis, name, "EER, %", "minutes of training")
        for number, method in enumerate(methods):
            own = [run for run in runs if run.method == method and name in run.curve]
            if own:
                _line(axis, own, name, method, number)
        axis.set_xlim(left=0)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    options = {"loc": "outside lower center", "ncols": min(len(labels), 5)}
    figure.legend(handles, labels, frameon=False, fontsize=9, **options)
    return figure


def _line(axis, runs, name, method, number):
    """The mean over seeds, at the mean time of each validation."""
    curves = [_from_untrained(run, name) for run in runs]
    points = min(len(minutes) for minutes, _ in curves)
    minutes = np.mean([minutes[:points] for minutes, _ in curves], axis=0)
    eers = 100 * np.array([eers[:points] for _, eers in curves])
    color = COLORS[number % len(COLORS)]
    axis.plot(
        minutes,
        eers.mean(0),
        label=method,
        color=color,
        linestyle=DASHES[number // len(COLORS) % len(DASHES)],
        marker=MARKERS[number % len(MARKERS)],
        markersize=4,
        linewidth=1.6,
        clip_on=False,
        zorder=3,
    )
    if len(runs) > 1:
        low, high = eers.min(0), eers.max(0)
        axis.fill_between(minutes, low, high, color=color, alpha=0.1, linewidth=0)


def _from_untrained(run, name):
    minutes, eers = run.curve[name]
    start = run.figures.get(f"untrained/{name}")
    if start is None:
        return minutes, eers
    return np.concatenate([[0.0], minutes]), np.concatenate([[start], eers])
