"""Judgment on the figures of epochs: has training collapsed, how, what to change."""

import math
from collections import defaultdict
from typing import NamedTuple

NEAR_LN_K = 0.99  # share of ln K from which loss and entropy count as uniform
GROWING = 1.02  # factor by which the gap to ln K grows in an epoch of escape
LEAST_GAP = 1e-4  # share of ln K below which the gap is rounding
CONCENTRATED = 0.1  # share of ln K below which a distribution is one prototype
LEAST_STD = 0.05  # embedding_std below which embeddings are one point
LEAST_RANK = 1.5  # effective_rank below which embeddings are one line
MOST_NONFINITE = 0.5  # share of steps that may be skipped


class Diagnosis(NamedTuple):
    """What went wrong in an epoch, with its figures, and what to change in the YAML."""

    cause: str
    figures: str
    remedy: str


class CollapseError(RuntimeError):
    """Training has collapsed; the message names cause, figures and remedy."""


NONFINITE = "steps without a finite loss or gradient"
SAME = "the teacher is its student"
ONE_PROTOTYPE = "collapse to one prototype"
UNIFORM = "uniform collapse"
EMBEDDING = "collapse of the embeddings"

# The figures to show with a cause, and what to change in the YAML.
CAUSES = {
    NONFINITE: (
        ("nonfinite", "steps"),
        "Lower base_lr, set clip_norm, or train with precision bf16 or fp32 instead of "
        "fp16; look for damaged audio in the manifest.",
    ),
    SAME: (
        ("teacher_distance",),
        "Raise teacher_momentum (the paper starts at 0.996; 0 copies the student) and "
        "see that base_lr is above 0.",
    ),
    ONE_PROTOTYPE: (
        ("teacher_entropy", "mean_entropy", "top_prototype", "ln_k"),
        "Let the center move with center_momentum 0.9 (1 holds it); then raise "
        "teacher_temp_schedule a little, enlarge batch_size (48 or more) or lower "
        "base_lr.",
    ),
    UNIFORM: (
        ("loss", "teacher_entropy", "ln_k"),
        "Sharpen the teacher: teacher_temp_schedule 0.04, below student_temp 0.1; then "
        "enlarge batch_size (48 or more), lower base_lr, or give the head batch_norm.",
    ),
    EMBEDDING: (
        ("embedding_std", "effective_rank"),
        "Lower base_lr or raise warmup_epochs, enlarge batch_size (48 or more), see "
        "that the features differ from utterance to utterance.",
    ),
}


def diagnose(summary, previous=None):
    """Names the collapse that the figures of one epoch show.

    One epoch is no proof: a healthy run may start near ln K, or fall back to it for a
    while and leave it again. ``CollapseWatch`` asks for several in a row.

    Arguments
    ---------
    summary : dict
        Figures of an epoch, from ``HealthMonitor.epoch_summary``.
    previous : dict, optional
        Figures of the epoch before: a distribution on its way out of the uniform one
        (it leaves by a factor an epoch, slowly at first) has not collapsed.

    Returns
    -------
    Diagnosis or None
        None where nothing is wrong, or too few figures are known to tell.

    Example
    -------
    >>> stuck = {"ln_k": 4.159, "loss": 4.159, "teacher_entropy": 4.158}
    >>> diagnose(stuck).cause
    'uniform collapse'
    >>> diagnose({**stuck, "loss": 3.0, "teacher_entropy": 2.0}) is None
    True
    """
    # A figure that is not known is nan: it compares as False, and accuses nobody.
    figure = defaultdict(lambda: math.nan, summary)
    ln_k, entropy = figure["ln_k"], figure["teacher_entropy"]
    gap = ln_k - entropy
    gap_before = ln_k - (previous or {}).get("teacher_entropy", math.nan)
    leaving = gap > GROWING * gap_before and gap > LEAST_GAP * ln_k
    uniform = entropy > NEAR_LN_K * ln_k and figure["loss"] > NEAR_LN_K * ln_k
    one_prototype = (
        entropy < CONCENTRATED * ln_k
        and figure["mean_entropy"] < CONCENTRATED * ln_k
        and figure["top_prototype"] > 1 - CONCENTRATED
    )
    flat = figure["embedding_std"] < LEAST_STD or figure["effective_rank"] < LEAST_RANK
    found = (
        (NONFINITE, figure["nonfinite"] > MOST_NONFINITE * figure["steps"]),
        (SAME, figure["teacher_distance"] == 0),
        (ONE_PROTOTYPE, one_prototype),
        (UNIFORM, uniform and not leaving),
        (EMBEDDING, flat),
    )
    for cause, is_so in found:
        if is_so:
            return _explained(cause, summary)
    return None


def _explained(cause, summary):
    keys, remedy = CAUSES[cause]
    known = [f"{key} {summary[key]:.4g}" for key in keys if key in summary]
    return Diagnosis(cause, ", ".join(known), remedy)


class CollapseWatch:
    """Stops a run whose epochs show one and the same collapse for long enough.

    Arguments
    ---------
    patience : int
        Epochs in a row that must show it.
    min_steps : int
        Steps that these epochs must hold, as an epoch of a small corpus is short.
    grace : int
        First epochs that are not judged.

    Example
    -------
    >>> watch = CollapseWatch(patience=2, min_steps=100, grace=0)
    >>> summary = {"teacher_distance": 0.0, "steps": 60}
    >>> watch.see(summary)
    >>> watch.check(summary)
    >>> watch.see(summary)
    >>> watch.check(summary)
    Traceback (most recent call last):
    speechbrain_dino.training.collapse.CollapseError: the teacher is its student ...
    """

    def __init__(self, patience=3, min_steps=500, grace=5):
        self.patience = patience
        self.min_steps = min_steps
        self.grace = grace
        self.state = {"epochs": 0, "previous": None}
        self.state |= {"cause": None, "streak": 0, "steps": 0}

    def see(self, summary):
        """Judges an epoch and keeps count.

        Arguments
        ---------
        summary : dict
            Figures of the epoch, from ``HealthMonitor.epoch_summary``.
        """
        state = self.state
        found = diagnose(summary, state["previous"])
        state["previous"] = summary
        state["epochs"] += 1
        cause = found.cause if found and state["epochs"] > self.grace else None
        if cause != state["cause"]:
            state |= {"cause": cause, "streak": 0, "steps": 0}
        state["streak"] += 1
        state["steps"] += summary.get("steps", 0)

    def check(self, summary):
        """Stops the run where the epochs seen show a collapse that lasts.

        Arguments
        ---------
        summary : dict
            Figures of the last epoch seen, for the message.

        Raises
        ------
        CollapseError
            Names cause, figures and remedy.
        """
        cause, streak = self.state["cause"], self.state["streak"]
        lasts = streak >= self.patience and self.state["steps"] >= self.min_steps
        if cause and lasts:
            _, figures, remedy = _explained(cause, summary)
            raise CollapseError(
                f"{cause} in each of the last {streak} epochs ({figures}). {remedy}"
            )
