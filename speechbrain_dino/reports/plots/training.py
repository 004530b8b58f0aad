"""Training curves and health lines."""

from matplotlib.ticker import MaxNLocator

from speechbrain_dino.reports.plots.style import (
    COLORS,
    DASHES,
    MARKERS,
    MUTED,
    caption,
    legend,
    new_figure,
    style,
)


def _line(axis, table, column, color=COLORS[0], scale=1.0, **options):
    """Draws a column against the epoch, or "not recorded"."""
    if column not in table or table[column].isna().all():
        axis.text(0.5, 0.5, "not recorded", ha="center", va="center", color=MUTED)
        axis.texts[-1].set_transform(axis.transAxes)
        axis.set_xticks([])
        axis.set_yticks([])
        return
    rows = table[table[column].notna()]
    if len(rows) < 60:
        options = {"marker": "o", "markersize": 3.5, **options}
    axis.plot(
        rows["epoch"], rows[column] * scale, color=color, linewidth=1.6, **options
    )
    axis.xaxis.set_major_locator(MaxNLocator(6, integer=rows["epoch"].max() > 5))


def _smooth(axis, table, column, color, scale=1.0):
    """Draws a column that jumps about, pale, and its running mean."""
    if column in table:
        values = table[column] * scale
        axis.plot(table["epoch"], values, color=color, alpha=0.3, linewidth=0.8)
        mean = values.rolling(max(1, len(table) // 25), center=True, min_periods=1)
        table = table.assign(**{column: mean.mean()})
    _line(axis, table, column, color, marker="")


def training_figure(steps, epochs, before=None):
    """Loss against ln K, EER, learning rate, speed and waiting over the epochs.

    Arguments
    ---------
    steps, epochs : pandas.DataFrame
        See `speechbrain_dino.reports.run_folder.RunFolder`.
    before : dict, optional
        Trial list -> metrics before training, drawn at epoch 0.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure, axes = new_figure(6.4, 2, 3)
    errors, rate, speed, wait = axes[0, 2], *axes[1]
    grid = axes[0, 0].get_gridspec()
    axes[0, 0].remove()
    axes[0, 1].remove()
    loss = figure.add_subplot(grid[0, :2])
    style(loss)
    caption(loss, "Loss", "nats")
    if "loss" in steps:
        loss.plot(
            steps["epoch"], steps["loss"], color=COLORS[0], alpha=0.35, linewidth=1
        )
    _line(loss, epochs if "loss" in epochs else steps, "loss", label="mean of an epoch")
    if "ln_k" in epochs:
        height = epochs["ln_k"].iloc[-1]
        loss.axhline(height, color=COLORS[1], linestyle=DASHES[1], linewidth=1.2)
        loss.plot([], [], color=COLORS[1], linestyle=DASHES[1], label="ln K (chance)")
    if loss.lines:
        legend(loss)
    _errors(errors, epochs, before or {})
    caption(rate, "Learning rate", "", "epoch")
    _line(rate, steps, "lr", COLORS[2], marker="")
    caption(speed, "Speed", "utterances / s", "epoch")
    _smooth(speed, steps, "utt_per_s", COLORS[3])
    speed.set_ylim(bottom=0)
    caption(wait, "Waiting for data", "% of the time", "epoch")
    _smooth(wait, steps, "wait", COLORS[4], scale=100)
    wait.set_ylim(bottom=0)
    return figure


def _errors(axis, epochs, before):
    caption(axis, "Equal error rate", "%")
    names = [column[4:] for column in epochs if column.startswith("eer/")]
    if not names:
        _line(axis, epochs, "eer")
        return
    for number, name in enumerate(names):
        color = COLORS[number % len(COLORS)]
        marker = MARKERS[number % len(MARKERS)]
        _line(axis, epochs, f"eer/{name}", color, 100, marker=marker, label=name)
        if "eer" in before.get(name, {}):
            start = 100 * before[name]["eer"]
            axis.plot(0, start, marker, color=color, markerfacecolor="white")
    axis.set_ylim(bottom=0)
    legend(axis)


def health_figure(epochs):
    """What would show a collapse: entropy, divergence, prototypes, spread, neighbors.

    Arguments
    ---------
    epochs : pandas.DataFrame
        See `speechbrain_dino.reports.run_folder.RunFolder`.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure, axes = new_figure(6.0, 2, 3)
    parts = (
        ("teacher_entropy", "Entropy of the teacher", "nats", 1),
        ("kl", "KL(teacher || student)", "nats", 1),
        ("prototypes_used", "Prototypes in use", "", 1),
        ("embedding_std", "Spread of the embeddings", "standard deviation", 1),
        ("effective_rank", "Rank of the embeddings", "effective dimensions", 1),
        ("neighbor_agreement", "Agreement of neighbors", "%", 100),
    )
    for number, (axis, part) in enumerate(zip(axes.flat, parts)):
        column, title, unit, scale = part
        caption(axis, title, unit, "epoch" if number > 2 else "")
        _line(axis, epochs, column, COLORS[number], scale)
    if {"ln_k", "teacher_entropy"} <= set(epochs):
        top = epochs["ln_k"].iloc[-1]
        axes[0, 0].axhline(top, color=MUTED, linestyle=DASHES[1], linewidth=1.2)
        axes[0, 0].text(
            0.99, top, "ln K (uniform)", va="bottom", ha="right", fontsize=8.5
        )
        axes[0, 0].texts[-1].set_transform(axes[0, 0].get_yaxis_transform())
    for axis in axes.flat:
        axis.set_ylim(bottom=0)
    return figure
