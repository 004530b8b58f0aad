"""Confusion matrices."""

import numpy as np

from speechbrain_dino.reports.plots.style import INK, MUTED, caption, new_figure


def confusion_figure(counts, classes, title="Confusion"):
    """A confusion matrix: shares of each class as shades, counts written in.

    Arguments
    ---------
    counts : array, shape (K, K)
        Row: the class; column: what it was taken for.
    classes : sequence of str
        Names of the K classes.
    title : str
        Heading.

    Returns
    -------
    matplotlib.figure.Figure

    Example
    -------
    >>> figure = confusion_figure([[3, 1], [0, 4]], ["angry", "sad"])
    >>> [text.get_text() for text in figure.axes[0].texts]
    ['75 %\\n3', '25 %\\n1', '0 %\\n0', '100 %\\n4']
    """
    counts = np.asarray(counts)
    if counts.shape != (len(classes), len(classes)):
        raise ValueError(
            f"counts of shape {counts.shape} for {len(classes)} classes: one row and "
            "column per class are needed"
        )
    support = counts.sum(axis=1, keepdims=True)
    shares = counts / np.maximum(support, 1)
    figure, axes = new_figure(min(1.2 + 0.75 * len(classes), 11.0))
    axis = axes[0, 0]
    image = axis.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    axis.grid(False)
    axis.spines[:].set_visible(False)
    axis.tick_params(length=0)
    places = range(len(classes))
    axis.set_xticks(places, classes)
    rows = [f"{name} ({n:,})" for name, n in zip(classes, support[:, 0])]
    axis.set_yticks(places, rows)
    if len(classes) <= 15:  # more would not be readable
        for row, column in np.ndindex(counts.shape):
            share = shares[row, column]
            text = f"{100 * share:.0f} %\n{counts[row, column]:,}"
            color = "white" if share > 0.55 else INK
            axis.text(
                column, row, text, ha="center", va="center", color=color, fontsize=9
            )
    caption(axis, title, "class (test utterances)", "taken for")
    bar = figure.colorbar(image, ax=axis, fraction=0.03, pad=0.02)
    bar.outline.set_visible(False)
    bar.set_label("share of the class", fontsize=9, color=MUTED)
    bar.ax.tick_params(labelsize=8, length=0, labelcolor=INK)
    return figure
