"""Speaker verification of a run: trial lists in, metrics and score files out."""

from pathlib import Path

import numpy as np

from speechbrain_dino.data.trials import read_lists, trial_rows, write_scores
from speechbrain_dino.embeddings.extract import embed
from speechbrain_dino.embeddings.table import EmbeddingTable
from speechbrain_dino.scoring.cosine import score_trial_list
from speechbrain_dino.utils.ownership import replacing_folder


def verify_lists(
    manifest, trial_lists, embedder, output_folder=None, train_table=None, **options
):
    """Scores trial lists with cosine, each utterance embedded once.

    Returns ``{list: metrics}``, see ``cosine.summarize``. Raises ValueError if a list
    is malformed, names an utterance that the manifest lacks, or two have one name.

    Arguments
    ---------
    manifest : speechbrain_dino.data.manifest.Manifest
        Evaluation utterances; their IDs are the names in the lists. Utterances that
        no list names are not read.
    trial_lists : list of str or path
        See ``read_lists``.
    embedder : speechbrain_dino.models.embedder.Embedder
    output_folder : str or path, optional
        For ``scores/<list>.txt`` and ``embeddings/test``; else nothing is written.
    train_table : EmbeddingTable, optional
        Training utterances of the same model, whose mean embedding is subtracted.
    **options
        For ``embed``: device, batch_seconds, precision ...
    """
    lists = read_lists(trial_lists)
    # Before the embedding, so that a wrong list costs no time.
    for trials in lists.values():
        trial_rows(manifest, trials)
    named = {name for trials in lists.values() for name in trials.enrol + trials.test}
    keep = [row for row, name in enumerate(manifest.ids) if name in named]
    table = embed(manifest.subset(keep), embedder, **options)
    if train_table is not None:
        mean = np.mean(train_table.vectors, axis=0, dtype=np.float64)
        table = EmbeddingTable(table.ids, table.vectors - mean)
    if output_folder is not None:
        table.save(Path(output_folder) / "embeddings" / "test")
    scored = {name: score_trial_list(table, trials) for name, trials in lists.items()}
    if output_folder is not None:
        with replacing_folder(Path(output_folder) / "scores", "scoring") as draft:
            for name, (_, scores) in scored.items():
                write_scores(draft / f"{name}.txt", lists[name], scores)
    return {name: metrics for name, (metrics, _) in scored.items()}
