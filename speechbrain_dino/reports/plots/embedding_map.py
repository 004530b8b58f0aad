"""Embeddings in two dimensions."""

from importlib import import_module
from importlib.util import find_spec

import numpy as np
from sklearn.manifold import TSNE

from speechbrain_dino.reports.plots.style import (
    COLORS,
    GRID,
    INK,
    MARKERS,
    caption,
    legend,
    new_figure,
    style,
)

_PLATE = {"boxstyle": "round,pad=0.15", "fc": "white", "ec": "none", "alpha": 0.7}


def map_figure(table, about=None, columns=(), speakers=20, utterances=40):
    """The embeddings of some speakers, laid out in two dimensions.

    By UMAP where it is installed, else by t-SNE; see `layout`.

    Arguments
    ---------
    table : speechbrain_dino.embeddings.table.EmbeddingTable
        Embeddings; the speaker is the part of the name before the first slash unless
        ``about`` says otherwise.
    about : pandas.DataFrame, optional
        A line per row of the table, with a column ``speaker``.
    columns : sequence of str
        Columns of ``about``; each gets a panel with a color per value.
    speakers : int
        How many speakers to show, spread over their sorted names.
    utterances : int
        At most so many of each, spread over the table.

    Returns
    -------
    matplotlib.figure.Figure
    """
    names = [name.split("/")[0] for name in table.ids]
    names = np.array(names if about is None else about["speaker"].astype(str))
    shown = _spread(np.unique(names), speakers)
    rows = [np.flatnonzero(names == name) for name in shown]
    chosen = np.concatenate([_spread(own, utterances) for own in rows])
    places = layout(np.asarray(table.vectors[chosen]))
    lines = 1 + -(-len(columns) // 2)
    shape = np.ptp(places[:, 1]) / max(np.ptp(places[:, 0]), 1e-12)
    large = float(np.clip(10.5 * shape + 0.8, 4.0, 8.0))  # inches, without empty edges
    small = float(np.clip(4.5 * shape + 0.6, 2.2, 4.5))
    figure, axes = new_figure(large + small * (lines - 1), lines, 2 if columns else 1)
    if columns:
        grid = axes[0, 0].get_gridspec()
        for axis in axes[0]:
            axis.remove()
        first = figure.add_subplot(grid[0, :])
        style(first)
        grid.set_height_ratios([large] + [small] * (lines - 1))
    else:
        first = axes[0, 0]
    _draw_speakers(first, places, names[chosen], shown)
    for axis, column in zip(axes[1:].flat, columns):
        _draw_values(axis, places, about[column].astype(str).to_numpy()[chosen])
        caption(axis, column)
    for axis in axes[1:].flat[len(columns) :]:
        axis.axis("off")
    for axis in figure.axes:
        axis.set_xticks([])
        axis.set_yticks([])
        axis.spines[:].set_visible(False)
        axis.set_aspect("equal", adjustable="datalim")
    return figure


def _draw_speakers(axis, places, names, shown):
    """A color and mark per speaker, its name above."""
    for number, name in enumerate(shown):
        own = places[names == name]
        mark = MARKERS[number // len(COLORS) % len(MARKERS)]
        _dots(axis, own, mark, COLORS[number % len(COLORS)], 8)
        axis.annotate(
            name,
            (np.median(own[:, 0]), own[:, 1].max()),
            xytext=(0, 7),
            textcoords="offset points",
            fontsize=8,
            color=INK,
            ha="center",
            va="bottom",
            bbox=_PLATE,
        )


def _draw_values(axis, places, values):
    """A color per value; unknown ones are gray."""
    names = sorted(set(values) - {""})
    for number, value in enumerate(names):
        mark = MARKERS[number // len(COLORS) % len(MARKERS)]
        own = places[values == value]
        _dots(axis, own, mark, COLORS[number % len(COLORS)], 6, label=value)
    if len(places[values == ""]):
        _dots(axis, places[values == ""], "o", GRID, 6, label="unknown")
    legend(axis, loc="upper left", bbox_to_anchor=(1.0, 1.0))


def _dots(axis, places, mark, color, size, **options):
    edge = {"markeredgecolor": "white", "markeredgewidth": 0.6}
    axis.plot(
        *places.T,
        mark,
        color=color,
        markersize=size,
        linestyle="",
        **edge,
        **options,
    )


def _spread(rows, count):
    """At most ``count`` of the rows, evenly spread."""
    return rows[np.linspace(0, len(rows) - 1, min(len(rows), count)).astype(int)]


def layout(vectors):
    """Positions in two dimensions, close where the angle between embeddings is small.

    Arguments
    ---------
    vectors : numpy.ndarray, shape (N, D)
        Embeddings.

    Returns
    -------
    numpy.ndarray, shape (N, 2)
        By UMAP where the package umap-learn is installed, else by t-SNE.
    """
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    if len(unit) < 4:  # too few to have neighbors
        return np.pad(unit, ((0, 0), (0, 2)))[:, :2]
    if layout_name() == "UMAP" and len(unit) > 15:
        return import_module("umap").UMAP(random_state=0).fit_transform(unit)
    perplexity = min(30.0, (len(unit) - 1) / 3)
    return TSNE(perplexity=perplexity, init="pca", random_state=0).fit_transform(unit)


def layout_name():
    """What `layout` uses here.

    Returns
    -------
    str
        ``UMAP`` or ``t-SNE``.
    """
    return "UMAP" if find_spec("umap") else "t-SNE"
