"""Embedding and scoring in three calls, for scripts and notebooks."""

import tempfile
from pathlib import Path

import pandas as pd

from speechbrain_dino.corpora.utterances import find_utterances
from speechbrain_dino.data.manifest import Manifest
from speechbrain_dino.data.trials import Trials, read_trials, trial_rows
from speechbrain_dino.embeddings.cache import embed_to_folder
from speechbrain_dino.embeddings.extract import embed as embed_manifest
from speechbrain_dino.embeddings.pretrained import Pretrained, load_pretrained
from speechbrain_dino.embeddings.table import EmbeddingTable
from speechbrain_dino.scoring.cosine import as_norm, cosine_scores, summarize


def embed(data, model, folder=None, **options):
    """Embeds speech into an EmbeddingTable: ``ids`` and ``vectors``, float32 (N, D).

    Arguments
    ---------
    data : str, path or Manifest
        A manifest (CSV), a prepared folder, or any folder of audio files.
    model : str, path or Pretrained
        An inference folder, a name on the Hugging Face hub, or what
        ``load_pretrained`` gave.
    folder : str or path, optional
        Where the table is kept; the next call takes it from there unless audio,
        model or options have changed. Nothing is kept if not given.
    **options
        device, batch_seconds, precision, window_seconds, max_seconds, workers,
        sample_rate; see ``speechbrain_dino.embeddings.extract.embed_parts``.

    Raises
    ------
    FileNotFoundError
        If data or model do not exist.
    ValueError
        If there is no usable audio, or the model cannot be loaded.
    """
    if not isinstance(model, Pretrained):
        model = load_pretrained(model)
    with tempfile.TemporaryDirectory() as scratch:
        if not isinstance(data, Manifest):
            place = scratch if folder is None else Path(folder) / "data"
            rate = options.get("sample_rate", 16000)
            data = find_utterances(data, place, rate)
        if folder is None:
            return embed_manifest(data, model.embedder, **options)
    return embed_to_folder(folder, data, model.embedder, model.digest, **options)


def score(table, trials, cohort=None, top_n=300):
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
        labels = trials["label"].to_numpy("int8") if "label" in trials else None
        enrol, test = trials["enrol"].tolist(), trials["test"].tolist()
        trials = Trials(labels, enrol, test, "the table of trials")
    elif not isinstance(trials, Trials):
        trials = read_trials(trials)
    rows = trial_rows(table, trials)
    if cohort is None:
        scores = cosine_scores(table.vectors, *rows)
    else:
        vectors = getattr(cohort, "vectors", cohort)
        scores = as_norm(table.vectors, vectors, *rows, top_n=top_n)
    columns = {} if trials.labels is None else {"label": trials.labels}
    columns |= {"enrol": trials.enrol, "test": trials.test, "score": scores}
    return pd.DataFrame(columns)


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
        lines[name] = summarize(table["label"].to_numpy(), table["score"].to_numpy())
    return pd.DataFrame.from_dict(lines, orient="index")
