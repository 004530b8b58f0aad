"""The stages of a clustering run, for the recipes' ``cluster.py``."""

import csv
import logging
import time
from pathlib import Path

from speechbrain.utils.distributed import ddp_barrier, if_main_process

from speechbrain_dino.clustering.labels import save_labels
from speechbrain_dino.corpora.utterances import find_audio
from speechbrain_dino.embeddings.bad_audio import report_left_out
from speechbrain_dino.embeddings.cache import embed_to_folder
from speechbrain_dino.embeddings.pretrained import load_pretrained
from speechbrain_dino.embeddings.table import EmbeddingTable
from speechbrain_dino.reports.plots.clusters import clusters_figure
from speechbrain_dino.utils.distributed import join_processes, on_main_first
from speechbrain_dino.utils.ending import together
from speechbrain_dino.utils.errors import plain_errors
from speechbrain_dino.utils.files import open_text, replacing
from speechbrain_dino.utils.provenance import provenance
from speechbrain_dino.utils.refusals import accept
from speechbrain_dino.utils.results import update_results

logger = logging.getLogger(__name__)


@together
def run_clustering(hparams, run_opts):
    """Embeds where that is asked for, clusters, writes labels, summary and picture.

    Arguments
    ---------
    hparams : dict
        The YAML's objects, see ``recipes/VoxCeleb/hparams/cluster.yaml``.
    run_opts : speechbrain.utils.run_opts.RunOptions
        SpeechBrain's run options, for the device.

    Returns
    -------
    dict
        Content of results.json; {} on other processes than the first.
    """
    started = time.time()
    output = Path(hparams["output_folder"])
    with plain_errors(ValueError, OSError, ImportError):
        # Before the long work, so that a wrong file costs no time.
        truth = read_truth(hparams["truth"], hparams["truth_column"])
        table, source = _table(hparams, run_opts)
        if not if_main_process():
            ddp_barrier()
            return {}
        speakers = truth and _speakers(truth, table.ids, hparams["truth"])
        clustering = hparams["clusterer"](table.vectors)
        accept()
        save_labels(output, table.ids, clustering)
        ddp_barrier()
    summary = dict(clustering.summary)
    if speakers:
        summary["against_truth"] = clustering.against(speakers)
        logger.info("Against the truth: %s", summary["against_truth"])
    with replacing(output / "clusters.png") as draft:
        picture = clusters_figure(clustering.labels, summary.get("curve"))
        picture.savefig(draft, facecolor="white")
    # Figures of an earlier clustering would stay where this one has none.
    update_results(output / "results.json", {"clustering": None})
    results = update_results(
        output / "results.json",
        {
            **provenance(hparams["seed"]),
            **source,
            "clustering": summary,
            "seconds": round(time.time() - started, 1),
        },
    )
    logger.info(
        "%d clusters of %d utterances, %d left out %s: %s",
        summary["clusters"],
        summary["kept"],
        summary["utterances"] - summary["kept"],
        summary["left_out"],
        output / "labels.csv",
    )
    return results


_EMBED = ("precision", "batch_seconds", "workers", "sample_rate", "on_bad", "channel")


def _table(hparams, run_opts):
    """The embeddings, and what to say of where they came from."""
    folder = Path(hparams["embedding_folder"])
    if hparams["model"] is None and hparams["utterances"] is None:
        if not (folder / "vectors.npy").is_file():
            raise FileNotFoundError(
                f"{folder} holds no vectors.npy: give --embedding_folder F, as "
                "embed.py writes it, or --model M and --utterances U to embed first"
            )
        return EmbeddingTable.load(folder), {"embeddings": folder}
    if hparams["model"] is None or hparams["utterances"] is None:
        raise ValueError(
            "model and utterances belong together: give both to embed, or neither to "
            "take the embeddings in embedding_folder"
        )
    device = join_processes(run_opts.device)
    model = load_pretrained(hparams["model"])
    output, rate = Path(hparams["output_folder"]), hparams["sample_rate"]
    how = {"sample_rate": rate, "channel": hparams["channel"]}
    audio = on_main_first(
        lambda: find_audio(hparams["utterances"], output / "data", **how)
    )
    # Of a folder its preparation reports.
    if if_main_process() and (hparams["on_bad"] == "fail" or not audio.folder):
        report_left_out(audio.left_out, hparams["on_bad"])
    options = {name: hparams[name] for name in _EMBED}
    table = embed_to_folder(
        folder,
        audio.manifest,
        model.embedder,
        model.digest,
        left_out=audio.left_out,
        file_of=audio.file_of,
        device=device,
        max_seconds=hparams["embed_seconds"],
        **options,
    )
    source = {"embeddings": folder, "model": model.source}
    return table, {**source, "precision": options["precision"]}


def read_truth(path, column):
    """Reads true labels, for diagnosis.

    Arguments
    ---------
    path : str, path or None
        CSV with the columns ID and ``column``, such as a manifest.
    column : str
        Column of the speakers.

    Returns
    -------
    dict or None
        ID -> speaker; None without a path.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it lacks a column.

    Example
    -------
    >>> path = getfixture("tmp_path") / "truth.csv"
    >>> _ = path.write_text("ID,spk_id\\na,ann\\n")
    >>> read_truth(path, "spk_id")
    {'a': 'ann'}
    """
    if path is None:
        return None
    with open_text(path) as file:
        rows = csv.DictReader(file, skipinitialspace=True)
        missing = {"ID", column}.difference(rows.fieldnames or ())
        if missing:
            raise ValueError(
                f"truth: {path} has no column {sorted(missing)[0]!r}, but "
                f"{rows.fieldnames}; name the column with truth_column"
            )
        truth = {}
        for row in rows:
            if row["ID"] is None or row[column] is None:
                raise ValueError(f"truth: {path}, line {rows.line_num} is cut short")
            truth[row["ID"]] = row[column]
        return truth


def _speakers(truth, ids, path):
    speakers = [truth.get(name) for name in ids]
    if not any(speakers):
        raise ValueError(
            f"truth: {path} names none of the {len(ids)} utterances, such as "
            f"{ids[0]!r}: is it of another corpus?"
        )
    return speakers


if __name__ == "__main__":
    raise SystemExit("start it by recipes/VoxCeleb/cluster.py, whose --help says how")
