"""Embeddings in two dimensions."""

import numpy as np
from sklearn.manifold import TSNE

from speechbrain_dino.plots.style import COLOURS, INK, MARKERS, new_figure

_PLATE = {"boxstyle": "round,pad=0.15", "fc": "white", "ec": "none", "alpha": 0.7}


def map_figure(table, speakers=20, utterances=40):
    """The embeddings of some speakers, laid out in two dimensions by t-SNE.

    Arguments
    ---------
    table : speechbrain_dino.embedding_table.EmbeddingTable
        Embeddings; the speaker is the part of the name before the first slash.
    speakers : int
        How many speakers to show, in the order of their names.
    utterances : int
        At most so many of each, spread over the table.

    Returns
    -------
    matplotlib.figure.Figure
    """
    names = np.array([name.split("/")[0] for name in table.ids])
    shown = np.unique(names)[:speakers]
    rows = [np.flatnonzero(names == name) for name in shown]
    chosen = np.concatenate([_spread(own, utterances) for own in rows])
    places = _tsne(np.asarray(table.vectors)[chosen])
    figure, axes = new_figure(7.6)
    axis = axes[0, 0]
    for number, name in enumerate(shown):
        own = places[names[chosen] == name]
        axis.plot(
            *own.T,
            MARKERS[number // len(COLOURS) % len(MARKERS)],
            color=COLOURS[number % len(COLOURS)],
            markersize=8,
            markeredgecolor="white",
            markeredgewidth=0.6,
            linestyle="",
        )
        axis.annotate(
            name,
            (np.median(own[:, 0]), own[:, 1].max()),
            xytext=(0, 7),
            textcoords="offset points",
            fontsize=8,
            color=INK,
            ha="center",
            va="bottom",
            bbox={
                "boxstyle": "round,pad=0.15",
                "fc": "white",
                "ec": "none",
                "alpha": 0.7,
            },
        )
    axis.set_xticks([])
    axis.set_yticks([])
    axis.spines[:].set_visible(False)
    axis.set_aspect("equal", adjustable="datalim")
    return figure


def _spread(rows, count):
    """At most ``count`` of the rows, evenly spread."""
    return rows[np.linspace(0, len(rows) - 1, min(len(rows), count)).astype(int)]


def _tsne(vectors):
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    if len(unit) < 4:  # too few to have neighbours
        return np.pad(unit, ((0, 0), (0, 2)))[:, :2]
    perplexity = min(30.0, (len(unit) - 1) / 3)
    return TSNE(perplexity=perplexity, init="pca", random_state=0).fit_transform(unit)
