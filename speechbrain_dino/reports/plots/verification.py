"""DET curves and score histograms."""

import math

import numpy as np
from scipy.stats import norm

from speechbrain_dino.metrics.verification import eer, operating_points
from speechbrain_dino.reports.plots.style import (
    COLORS,
    DASHES,
    INK,
    MARKERS,
    MUTED,
    caption,
    legend,
    new_figure,
)

_TICKS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5)
_MOST = 0.56  # where the axes of the DET curve end


def det_points(labels, scores):
    """Misses and false alarms at all thresholds.

    Arguments
    ---------
    labels : numpy.ndarray
        1 for trials of one speaker, 0 for trials of two; (M,).
    scores : numpy.ndarray
        Scores (M,).

    Returns
    -------
    false_alarm, miss : numpy.ndarray
        Shares in 0..1, at rising thresholds; at most a few thousand points.

    Example
    -------
    >>> det_points(np.array([0, 1]), np.array([0.1, 0.9]))
    (array([1., 0., 0.]), array([0., 0., 1.]))
    """
    _, miss, false_alarm = operating_points(scores[labels == 1], scores[labels == 0])
    if len(miss) > 4000:  # thin out to what a picture can show
        along = norm.cdf(np.linspace(-4.5, 4.5, 2000))
        keep = np.union1d(
            np.searchsorted(miss, along), np.searchsorted(-false_alarm, -along)
        )
        keep = np.append(0, keep[keep < len(miss)])
        miss, false_alarm = miss[keep], false_alarm[keep]
    return false_alarm, miss


def det_figure(systems):
    """DET curves on probit axes, the equal error rate marked.

    Arguments
    ---------
    systems : dict
        Name of the run or way to score -> {trial list -> (labels, scores)}: a color per
        list, a dash and a mark per system.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure, axes = new_figure(7.6, 1, 2, width_ratios=(2.1, 1))
    axis, side = axes[0]
    lists = list(dict.fromkeys(name for lists in systems.values() for name in lists))
    low = 0.5
    curves = sum(len(scores) for scores in systems.values())
    separator, spacing = ("\n", 1.1) if curves <= 8 else (", ", 0.6)
    for number, name in enumerate(lists):
        for run_number, (run, scores) in enumerate(systems.items()):
            if name not in scores:
                continue
            labels, values = scores[name]
            rate = eer(values[labels == 1], values[labels == 0])[0]
            false_alarm, miss = det_points(labels, values)
            inside = (miss > 0) & (false_alarm > 0) & (miss < 1) & (false_alarm < 1)
            color = COLORS[number % len(COLORS)]
            title = f"{name}, {run}" if len(systems) > 1 else name
            axis.plot(
                norm.ppf(false_alarm[inside]),
                norm.ppf(miss[inside]),
                color=color,
                linestyle=DASHES[run_number % len(DASHES)],
                linewidth=1.8,
            )
            label = f"{title}{separator}EER {100 * rate:.2f} %"
            bounded = norm.ppf(np.clip(rate, 1e-4, 0.5))
            axis.plot(
                *(bounded, bounded),
                MARKERS[run_number % len(MARKERS)],
                color=color,
                markeredgecolor="white",
                markersize=9,
                zorder=5,
            )
            side.plot(
                *([], []),
                color=color,
                linestyle=DASHES[run_number % len(DASHES)],
                marker=MARKERS[run_number % len(MARKERS)],
                label=label,
            )
            shown = (miss < _MOST) & (false_alarm < _MOST) & inside
            shares = np.concatenate([miss[shown], false_alarm[shown], [0.05]])
            low = min(low, shares.min())
    _det_axes(axis, max(low, _TICKS[0]))
    side.axis("off")
    legend(
        side,
        loc="upper left",
        fontsize=9.5 if curves <= 8 else 8.5,
        labelspacing=spacing,
        handlelength=3.5,
        borderaxespad=0,
    )
    return figure


def _det_axes(axis, low):
    ticks = [tick for tick in _TICKS if tick >= low / 2]
    names = [f"{100 * tick:g}" for tick in ticks]
    axis.set_xticks(norm.ppf(ticks), names)
    axis.set_yticks(norm.ppf(ticks), names)
    limits = norm.ppf(low * 0.9), norm.ppf(_MOST)
    axis.set_xlim(limits)
    axis.set_ylim(limits)
    axis.plot(limits, limits, color=MUTED, linewidth=0.8, linestyle=DASHES[2])
    axis.set_aspect("equal")
    caption(axis, "", "missed targets, %", "false alarms, %")


def score_figure(scores):
    """Histograms of target and impostor scores, a panel per trial list.

    Arguments
    ---------
    scores : dict
        Trial list -> (labels, scores).

    Returns
    -------
    matplotlib.figure.Figure
    """
    columns = min(2, len(scores))
    rows = math.ceil(len(scores) / columns)
    figure, axes = new_figure(3.4 * rows, rows, columns)
    for axis, (name, (labels, values)) in zip(axes.flat, scores.items()):
        bins = np.histogram_bin_edges(values, 60)
        for label, text, color in (
            (0, "different speakers", COLORS[1]),
            (1, "same speaker", COLORS[0]),
        ):
            part = values[labels == label]
            style = {"bins": bins, "density": True, "color": color}
            axis.hist(part, **style, alpha=0.45, label=f"{text} ({len(part):,})")
            axis.hist(part, **style, histtype="step", linewidth=1.2)
        rate, threshold = eer(values[labels == 1], values[labels == 0])
        axis.axvline(threshold, color=INK, linewidth=1.2, linestyle=DASHES[1])
        axis.plot(
            *([], []),
            color=INK,
            linestyle=DASHES[1],
            label=f"threshold {threshold:.3f}, EER {100 * rate:.2f} %",
        )
        axis.set_ylim(top=axis.get_ylim()[1] * 1.35)  # room for the legend
        caption(axis, name, "density", "score")
        legend(axis, loc="upper left")
    for axis in axes.flat[len(scores) :]:
        axis.axis("off")
    return figure
