"""Judgment on the metrics of epochs: has training collapsed, how, what to change."""

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
    """What went wrong in an epoch, with its metrics, and what to change in the YAML."""

    cause: str
    metrics: str
    remedy: str


class CollapseError(RuntimeError):
    """Training has collapsed; the message names cause, metrics and remedy."""


NONFINITE = "steps without a finite loss or gradient"
SAME = "the teacher is its student"
ONE_PROTOTYPE = "collapse to one prototype"
UNIFORM = "uniform collapse"
EMBEDDING = "collapse of the embeddings"

# The metrics to show with a cause, and what to change in the YAML.
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
    """Names the collapse that the metrics of one epoch show; None without one.

    One epoch is no proof: a healthy run may start near ln K, or fall back to it for a
    while and leave it again. ``CollapseWatch`` asks for several in a row.

    Arguments
    ---------
    summary, previous : dict
        Metrics of the epoch and of the one before, from
        ``HealthMonitor.epoch_summary``: a distribution on its way out of the uniform
        one (it leaves by a factor per epoch, slowly at first) has not collapsed.
        Metrics that are missing trigger no diagnosis.

    Example
    -------
    >>> stuck = {"ln_k": 4.159, "loss": 4.159, "teacher_entropy": 4.158}
    >>> diagnose(stuck).cause
    'uniform collapse'
    >>> diagnose({**stuck, "loss": 3.0, "teacher_entropy": 2.0}) is None
    True
    """
    # A missing metric is nan, compares as False and triggers no diagnosis.
    values = defaultdict(lambda: math.nan, summary)
    ln_k, entropy = values["ln_k"], values["teacher_entropy"]
    gap = ln_k - entropy
    gap_before = ln_k - (previous or {}).get("teacher_entropy", math.nan)
    leaving = gap > GROWING * gap_before and gap > LEAST_GAP * ln_k
    uniform = entropy > NEAR_LN_K * ln_k and values["loss"] > NEAR_LN_K * ln_k
    one_prototype = (
        entropy < CONCENTRATED * ln_k
        and values["mean_entropy"] < CONCENTRATED * ln_k
        and values["top_prototype"] > 1 - CONCENTRATED
    )
    flat = values["embedding_std"] < LEAST_STD or values["effective_rank"] < LEAST_RANK
    checks = (
        (NONFINITE, values["nonfinite"] > MOST_NONFINITE * values["steps"]),
        (SAME, values["teacher_distance"] == 0),
        (ONE_PROTOTYPE, one_prototype),
        (UNIFORM, uniform and not leaving),
        (EMBEDDING, flat),
    )
    for cause, holds in checks:
        if holds:
            return _explained(cause, summary)
    return None


def _explained(cause, summary):
    keys, remedy = CAUSES[cause]
    parts = [f"{key} {summary[key]:.4g}" for key in keys if key in summary]
    return Diagnosis(cause, ", ".join(parts), remedy)


class CollapseWatch:
    """Stops a run whose epochs show one and the same collapse for long enough.

    Arguments
    ---------
    patience : int
        Epochs in a row that must show it.
    min_steps : int
        Steps that these epochs must hold: a healthy run may spend hundreds near ln K,
        and an epoch of a small corpus is short.
    grace : int
        First epochs that are not judged: a healthy run, too, starts near ln K. As long
        as the warm-up of the learning rate is a good choice.

    Example
    -------
    >>> watch = CollapseWatch(patience=2, min_steps=100, grace=0)
    >>> summary = {"teacher_distance": 0.0, "steps": 60}
    >>> watch.update(summary)
    >>> watch.check(summary)
    >>> watch.update(summary)
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

    def update(self, summary):
        """Judges the summary of an epoch and keeps count."""
        state = self.state
        diagnosis = diagnose(summary, state["previous"])
        state["previous"] = summary
        state["epochs"] += 1
        cause = diagnosis.cause if diagnosis and state["epochs"] > self.grace else None
        if cause != state["cause"]:
            state |= {"cause": cause, "streak": 0, "steps": 0}
        state["streak"] += 1
        state["steps"] += summary.get("steps", 0)

    def check(self, summary):
        """Raises CollapseError where the epochs counted show a collapse that lasts.

        The message names cause, metrics (those of ``summary``) and remedy.
        """
        cause, streak = self.state["cause"], self.state["streak"]
        lasts = streak >= self.patience and self.state["steps"] >= self.min_steps
        if cause and lasts:
            _, metrics, remedy = _explained(cause, summary)
            raise CollapseError(
                f"{cause} in each of the last {streak} epochs ({metrics}). {remedy}"
            )
