"""Labels audio with a fine-tuned model: a folder in, a table out.

    python -m speechbrain_dino.runs.label --model INFERENCE --data F --output F.csv

``F`` is a manifest (CSV), a prepared folder, any folder of audio, or an audio file. A
run that was killed is resumed by the same command.
"""

import logging
import os
import shutil
from pathlib import Path

import pandas as pd
import torch
from speechbrain.inference.classifiers import EncoderClassifier
from speechbrain.utils.distributed import if_main_process

from speechbrain_dino.embeddings.pretrained import load_pretrained, resolve_model
from speechbrain_dino.runs.audio_input import check_writable, embed_audio
from speechbrain_dino.runs.embed import add_embedding_options, embedding_options
from speechbrain_dino.utils.distributed import join_processes
from speechbrain_dino.utils.ending import end_on_signals, leave_processes
from speechbrain_dino.utils.errors import plain_errors
from speechbrain_dino.utils.files import replacing
from speechbrain_dino.utils.options import Options
from speechbrain_dino.utils.ownership import MARK, NotOwnedError, claim

logger = logging.getLogger(__name__)

_HEAD, _TABLE = b"ID,wav,status,label,score", "table"


def label_audio(model, data, device=None, folder=None, **options):
    """Labels every utterance.

    Arguments
    ---------
    model : str or path
        Inference folder with a classifier, as fine-tuning writes it, the folder of such
        a run, or a name on the hub.
    data : str, path, array, or list
        As for `speechbrain_dino.embed`.
    device : str, optional
        Where to compute; a GPU where there is one.
    folder : str or path, optional
        Where what is done is kept, so that a killed run goes on; nowhere if not given.
    **options
        on_bad, channel, sample_rate, batch_seconds, precision, window_seconds, workers,
        data_root: as for `speechbrain_dino.embed`. With on_bad ``skip`` files with bad
        audio get no label, with ``keep`` those that can be embedded get one.

    Returns
    -------
    pandas.DataFrame
        ``ID``, ``wav``, ``status`` ("ok", or what is wrong with the audio), ``label``,
        ``score`` of that label and ``p_<class>`` of each, a row per file.

    Raises
    ------
    FileNotFoundError
        If there is no such model or data.
    ValueError
        If the model is no classifier, or there is no usable audio.
    """
    device = join_processes(device)
    embedding_model = load_pretrained(model)
    classifier, names = _classifier(model)
    embedded = embed_audio(data, embedding_model, folder, device=device, **options)
    table, files = embedded.table, embedded.files()
    with torch.no_grad():
        vectors = torch.tensor(table.vectors)[:, None]
        probs = classifier(vectors).squeeze(1)
    best, number = probs.max(1)
    columns = {"label": [names[k] for k in number.tolist()], "score": best.numpy()}
    columns |= {f"p_{name}": probs[:, k].numpy() for k, name in enumerate(names)}
    labels = pd.DataFrame(columns, index=list(table.ids)).reindex(list(files))
    labels.insert(0, "ID", list(files))
    labels.insert(1, "wav", list(files.values()))
    labels.insert(2, "status", [table.status.get(name, "ok") for name in files])
    return labels.reset_index(drop=True)


def _classifier(model):
    """The output layer and the names of the classes."""
    loaded = EncoderClassifier.from_hparams(
        source=resolve_model(model), savedir=None, run_opts={"device": "cpu"}
    )
    encoder = getattr(loaded.hparams, "label_encoder", None)
    if "classifier" not in loaded.mods or encoder is None:
        raise ValueError(
            f"the model {model} has no classifier and label_encoder: it gives "
            "embeddings alone. Fine-tune it (recipes/CREMA-D, hparams/finetune.yaml) "
            "or give a fine-tuned model"
        )
    return loaded.mods.classifier, [encoder.ind2lab[k] for k in range(len(encoder))]


def main(arguments=None):
    """Command line."""
    parser = Options(description=__doc__.strip())
    parser.add_argument("--output", required=True, help="CSV to write")
    add_embedding_options(parser)
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    end_on_signals()
    output = Path(os.path.realpath(given.output))
    work = output.with_name(f"{output.name}.parts")
    with plain_errors(ValueError, OSError, ImportError):
        if if_main_process():
            _check_output(output, work)
        options = embedding_options(given)
        table = label_audio(given.model, given.data, folder=work / _TABLE, **options)
        if if_main_process():
            with replacing(output) as draft:
                # Names that are no text must not stop the others.
                table.to_csv(
                    draft, index=False, float_format="%.4f", errors="surrogateescape"
                )
            _remove(work)
            print(table["label"].value_counts().to_string())
            print(f"{table['label'].notna().sum()} of {len(table)} labeled: {output}")
    leave_processes()


def _check_output(output, work):
    """Before anything is computed: whether the CSV can be written."""
    if output.is_dir():
        raise IsADirectoryError(
            f"{output} is a folder: --output names the CSV to write, such as "
            f"{output / 'labels.csv'}"
        )
    if output.exists() and not output.is_file():
        raise OSError(f"{output} is no regular file: --output names the CSV to write")
    if output.is_file() and not _is_labels(output):
        raise NotOwnedError(
            f"{output} is there and is no table of labels: --output would replace it, "
            "give another name or move it away"
        )
    claim(work, "label")
    check_writable(work)


def _is_labels(path):
    """Whether a file is empty, or a table as `label_audio` gives it."""
    with open(path, "rb") as file:
        head = file.read(len(_HEAD))
    return head in (b"", _HEAD)


def _remove(work):
    """Removes what was kept to go on; whatever else lies there stays."""
    shutil.rmtree(work / _TABLE)
    (work / MARK).unlink()
    if not any(work.iterdir()):
        work.rmdir()


if __name__ == "__main__":
    main()
