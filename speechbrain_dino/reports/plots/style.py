"""The one style of all pictures."""

from matplotlib.figure import Figure

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#5B4B8A")
"""Colors that color-blind readers tell apart (Okabe and Ito), in order of use."""

DASHES = (
    "-",
    (0, (5, 2)),
    (0, (1.5, 1.5)),
    (0, (5, 2, 1, 2)),
    (0, (10, 2)),
    (0, (5, 2, 1, 2, 1, 2)),
)
MARKERS = ("o", "^", "s", "D", "v", "P")
INK, MUTED, GRID = "#222831", "#6B7480", "#E3E7EB"
_WIDTH = 11.0  # inches; the page shows pictures about that wide


def new_figure(height, rows=1, columns=1, **grid):
    """A figure as wide as the page, with panels in the common style.

    Arguments
    ---------
    height : float
        Inches.
    rows, columns : int
        Panels.
    **grid
        Passed to matplotlib's GridSpec, such as ``width_ratios``.

    Returns
    -------
    figure : matplotlib.figure.Figure
    axes : numpy.ndarray, shape (rows, columns)
    """
    figure = Figure(figsize=(_WIDTH, height), dpi=150, layout="constrained")
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.12)
    axes = figure.subplots(rows, columns, squeeze=False, gridspec_kw=grid)
    for axis in axes.flat:
        style(axis)
    return figure, axes


def style(axis):
    """Removes spines, mutes ticks, adds a grid."""
    axis.spines[["top", "right"]].set_visible(False)
    axis.spines[["left", "bottom"]].set_color(MUTED)
    axis.tick_params(colors=MUTED, labelcolor=INK, labelsize=9)
    axis.grid(True, color=GRID, linewidth=0.8)
    axis.set_axisbelow(True)


def caption(axis, text, ylabel="", xlabel=""):
    """Heads a panel and names its axes, with units."""
    axis.set_title(text, loc="left", fontsize=10.5, color=INK, fontweight="bold")
    axis.set_ylabel(ylabel, fontsize=9, color=MUTED)
    axis.set_xlabel(xlabel, fontsize=9, color=MUTED)


def legend(axis, **options):
    """Adds a legend without a frame."""
    options = {"fontsize": 8.5, "frameon": False, "labelcolor": INK, **options}
    axis.legend(**options)
