"""Metrics of rounds of pseudo-labeling."""

from matplotlib.ticker import MaxNLocator

from speechbrain_dino.reports.plots.style import (
    COLORS,
    MARKERS,
    caption,
    legend,
    new_figure,
)


def rounds_figure(table):
    """EER, clusters, change and agreement by round.

    Arguments
    ---------
    table : pandas.DataFrame
        Columns ``round``, ``eer/<list>`` (0..1), ``clusters``, ``label_change``, and
        ``nmi``, ``purity`` where there are true speakers.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure, axes = new_figure(3.4, 1, 3)
    errors, clusters, quality = axes[0]
    caption(errors, "Equal error rate", "%", "round")
    lists = [column for column in table if column.startswith("eer/")]
    for number, column in enumerate(lists):
        _line(errors, table, column, number, column[4:], 100)
    caption(clusters, "Clusters", "", "round")
    _line(clusters, table, "clusters", 0, "clusters")
    caption(quality, "Labels", "%", "round")
    shown = (("label_change", "changed"), ("nmi", "NMI (truth)"))
    for number, (column, name) in enumerate((*shown, ("purity", "purity (truth)"))):
        _line(quality, table, column, number, name, 100)
    for axis in axes[0]:
        axis.set_ylim(bottom=0)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axis in (errors, quality):
        if axis.lines:
            legend(axis)
    return figure


def _line(axis, table, column, number, name, scale=1):
    if column not in table or table[column].isna().all():
        return
    rows = table[table[column].notna()]
    axis.plot(
        rows["round"],
        rows[column].astype(float) * scale,
        color=COLORS[number % len(COLORS)],
        marker=MARKERS[number % len(MARKERS)],
        linewidth=1.6,
        label=name,
    )
