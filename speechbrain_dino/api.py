"""Embedding and scoring in three calls, for scripts and notebooks."""

import numpy as np
import pandas as pd

from speechbrain_dino.data.trials import (
    Trials,
    leave_out,
    read_trials,
    trial_labels,
    trial_rows,
)
from speechbrain_dino.embeddings.bad_audio import check_on_bad, no_embedding
from speechbrain_dino.embeddings.pretrained import Pretrained, load_pretrained
from speechbrain_dino.embeddings.table import EmbeddingTable
from speechbrain_dino.runs.audio_input import embed_audio
from speechbrain_dino.scoring.cosine import as_norm, cosine_scores, summarize


def embed(data, model, folder=None, on_bad="skip", channel="mix", **options):
    """Embeds speech into an EmbeddingTable: ``ids`` and ``vectors``, float32 (N, D).

    Arguments
    ---------
    data : str, path, Manifest, array, or list
        A manifest (CSV), a prepared folder, any folder of audio files, an audio file or
        a list of them; or waveforms at ``sample_rate``, arrays or tensors (time,) or
        (batch, time) in -1..1, or a list of (time,), which are named "0", "1" ...
    model : str, path or Pretrained
        An inference folder, a name on the Hugging Face hub, or what
        ``load_pretrained`` gave.
    folder : str or path, optional
        Where the table is kept; the next call takes it from there unless audio,
        model or options have changed. Nothing is kept if not given.
    on_bad : str
        What becomes of files whose audio is missing, unreadable, not finite, silent or
        shorter than 0.1 s: ``skip`` leaves them out, ``keep`` embeds those that can be
        embedded, ``fail`` raises. The table's ``status`` names them, name -> kind.
    channel : str
        What to take of several channels: ``mix`` (their mean), ``left`` or ``right``.
    **options
        device, batch_seconds, precision, window_seconds (120: longer utterances are the
        mean of equal windows), max_seconds, workers, sample_rate, data_root; see
        ``speechbrain_dino.embeddings.extract.embed_parts``.

    Raises
    ------
    FileNotFoundError
        If data or model do not exist.
    ValueError
        If there is no usable audio, or the model cannot be loaded.
    """
    if not isinstance(model, Pretrained):
        model = load_pretrained(model)
    options |= {"on_bad": on_bad, "channel": channel}
    return embed_audio(data, model, folder, **options).table


def score(table, trials, cohort=None, top_n=300, on_bad="fail"):
    """Returns a DataFrame of label (if known), enrol, test and score, a row per trial.

    Arguments
    ---------
    table : EmbeddingTable, str or path
        Embeddings, or the folder that holds them.
    trials : str, path, Trials or pandas.DataFrame
        A trial list, or columns enrol, test and perhaps label.
    cohort : EmbeddingTable or array (C, D), optional
        Speakers who take no part: adaptive S-norm with the ``top_n`` nearest. Plain
        cosine if not given.
    top_n : int or None
        See above; None for all of the cohort (S-norm).
    on_bad : str
        What becomes of trials whose utterance has no embedding, as its audio is bad
        (``table.status``): ``fail`` raises, ``skip`` leaves them out, ``keep`` gives
        them no score (NaN). Of a table with bad audio there is a column ``status``.

    Raises
    ------
    ValueError
        If a trial names an unknown utterance, or an embedding is not usable.

    Example
    -------
    >>> table = EmbeddingTable(["a", "b"], [[1.0, 0.0], [3.0, 4.0]])
    >>> trials = pd.DataFrame({"enrol": ["a"], "test": ["b"]})
    >>> round(float(score(table, trials)["score"][0]), 3)
    0.6
    """
    if not isinstance(table, EmbeddingTable):
        table = EmbeddingTable.load(table)
    if isinstance(trials, pd.DataFrame):
        trials = _of_table(trials, "the table of trials")
    elif not isinstance(trials, Trials):
        trials = read_trials(trials)
    check_on_bad(on_bad)
    absent = table.status.keys() - set(table.ids)
    usable, kept = leave_out(trials, absent)
    if not kept.all() and on_bad == "fail":
        raise ValueError(no_embedding(trials, table.status, kept))
    if on_bad != "keep":
        trials, kept = usable, kept[kept]
    rows = trial_rows(table, usable)
    scores = np.full(len(kept), np.nan, dtype=np.float32)
    if cohort is None:
        scores[kept] = cosine_scores(table.vectors, *rows)
    else:
        vectors = getattr(cohort, "vectors", cohort)
        scores[kept] = as_norm(table.vectors, vectors, *rows, top_n=top_n)
    columns = {} if trials.labels is None else {"label": trials.labels}
    columns |= {"enrol": trials.enrol, "test": trials.test, "score": scores}
    if table.status:
        sides = zip(trials.enrol, trials.test)
        status = ([table.status.get(name) for name in side] for side in sides)
        columns["status"] = [a or b or "ok" for a, b in status]
    return pd.DataFrame(columns)


def _of_table(table, name):
    """The Trials of a DataFrame."""
    missing = {"enrol", "test"}.difference(table.columns)
    if missing:
        raise ValueError(
            f"{name} has no column {min(missing)!r}, but {list(table.columns)}"
        )
    labels = trial_labels(table["label"], name) if "label" in table else None
    return Trials(labels, table["enrol"].tolist(), table["test"].tolist(), name)


def summary(scores):
    """Returns a DataFrame, a row per table of scores: eer (0..1), min_dcf_0.01 ...

    ``scores`` is what `score` gives, with labels; or name -> such a table.

    Raises
    ------
    ValueError
        If there are no labels, or one kind of trial is missing.

    Example
    -------
    >>> scores = pd.DataFrame({"label": [1, 0, 0], "score": [0.9, 0.1, 0.3]})
    >>> summary({"toy": scores}).loc["toy", ["eer", "trials"]].tolist()
    [0.0, 3.0]
    """
    if isinstance(scores, pd.DataFrame):
        scores = {"scores": scores}
    lines = {}
    for name, table in scores.items():
        if "label" not in table:
            raise ValueError(f"{name} has no labels, so no error rate can be computed")
        if "score" not in table:
            raise ValueError(f"{name} has no column 'score', but {list(table)}")
        labels = trial_labels(table["label"], name)
        lines[name] = summarize(labels, table["score"].to_numpy())
    return pd.DataFrame.from_dict(lines, orient="index")
