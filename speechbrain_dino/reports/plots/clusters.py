"""Sizes of clusters, and how their number was chosen."""

import numpy as np

from speechbrain_dino.reports.plots.style import (
    COLORS,
    DASHES,
    MARKERS,
    caption,
    legend,
    new_figure,
)


def clusters_figure(labels, curve=None):
    """How large the clusters are and, where it was chosen, their number.

    Arguments
    ---------
    labels : numpy.ndarray, shape (N,)
        int64; -1: left out.
    curve : list of dict, optional
        ``clusters``, ``criterion``, ``by_utterance`` and ``by_cluster`` of every number
        that was tried; see ``speechbrain_dino.clustering.count.choose_number``.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure, axes = new_figure(3.8, 1, 2 if curve else 1)
    _draw_sizes(axes[0, 0], np.bincount(labels[labels >= 0]), (labels < 0).sum())
    if curve:
        _draw_curve(axes[0, 1], curve)
    return figure


def _draw_sizes(axis, sizes, left_out):
    """Shares of clusters and of utterances by size, each bin twice the one before."""
    octave = np.floor(np.log2(sizes)).astype(int)
    low, high = octave.min(), octave.max()
    places = np.arange(low, high + 1)
    kinds = (("clusters", None), ("utterances", sizes))
    for number, (name, weights) in enumerate(kinds):
        share = np.bincount(octave - low, weights)
        axis.bar(
            places + 0.4 * (number - 0.5),
            100 * share / share.sum(),
            width=0.38,
            color=COLORS[number],
            label=f"{name}, {int(share.sum()):,}",
        )
    ends = [(2**k, 2 ** (k + 1) - 1) for k in places.tolist()]
    dash = "-" if len(places) <= 8 else "-\n"
    names = [f"{a:,}{dash}{b:,}" if a < b else f"{a}" for a, b in ends]
    axis.set_xticks(places, names)
    axis.set_ylim(top=axis.get_ylim()[1] * 1.25)  # room for the legend
    shown = f"Sizes, median {np.median(sizes):g}"
    shown += f"; {left_out:,} utterances left out" if left_out else ""
    caption(axis, shown, "%", "utterances in a cluster")
    axis.grid(False, axis="x")
    legend(axis, loc="upper left", ncols=2)


def _draw_curve(axis, curve):
    numbers = [line["clusters"] for line in curve]
    for number, (name, text) in enumerate(
        (
            ("criterion", "criterion: mean of both"),
            ("by_utterance", "mean over utterances"),
            ("by_cluster", "mean over clusters"),
        )
    ):
        axis.plot(
            numbers,
            [line[name] for line in curve],
            color=COLORS[number],
            linestyle=DASHES[number],
            linewidth=2.0 if number == 0 else 1.2,
            label=text,
        )
    best = max(curve, key=lambda line: (line["criterion"], -line["clusters"]))
    axis.plot(
        best["clusters"],
        best["criterion"],
        MARKERS[0],
        color=COLORS[0],
        markeredgecolor="white",
        markersize=9,
        zorder=5,
        label=f"chosen: {best['clusters']:,}",
    )
    axis.set_xscale("log")
    axis.xaxis.set_major_formatter(lambda value, _: f"{value:,.4g}")
    low, high = axis.get_ylim()
    axis.set_ylim(top=high + 0.35 * (high - low))
    caption(axis, "Number of clusters", "silhouette", "clusters")
    legend(axis, loc="upper left", ncols=2)
