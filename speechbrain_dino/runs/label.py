"""Labels audio with a fine-tuned model: a folder in, a table out.

    python -m speechbrain_dino.runs.label --model INFERENCE --data F --output F.csv

``F`` is a manifest (CSV), a prepared folder or any folder of audio.
"""

import argparse
import tempfile

import pandas as pd
import torch
from speechbrain.inference.classifiers import EncoderClassifier

from speechbrain_dino.corpora.utterances import find_utterances
from speechbrain_dino.embeddings.extract import embed
from speechbrain_dino.embeddings.pretrained import load_pretrained
from speechbrain_dino.runs.embed import PRECISION_HELP
from speechbrain_dino.utils.distributed import join_processes
from speechbrain_dino.utils.ending import end_on_signals, leave_processes
from speechbrain_dino.utils.errors import plain_errors
from speechbrain_dino.utils.files import replacing
from speechbrain_dino.utils.precision import PRECISIONS


def label_audio(
    model,
    data,
    device=None,
    sample_rate=16000,
    batch_seconds=120.0,
    precision="fp32",
):
    """Labels every utterance.

    Arguments
    ---------
    model : str or path
        Inference folder with a classifier, as fine-tuning writes it, or a name on
        the hub.
    data : str or path
        Manifest (CSV), prepared folder or folder of audio.
    device : str, optional
        Where to compute; a GPU where there is one.
    sample_rate : int
        Of the model, in Hz; audio of another rate is converted.
    batch_seconds : float
        Audio in a batch, in seconds.
    precision : str
        Of the encoder: ``fp32``, ``bf16``, ``fp16`` (GPU) or ``auto``.

    Returns
    -------
    pandas.DataFrame
        ``ID``, ``wav``, ``label``, ``score`` of that label and ``p_<class>`` of each.

    Raises
    ------
    FileNotFoundError
        If there is no such model or data.
    ValueError
        If the model is no classifier.
    """
    device = join_processes(device)
    embedder = load_pretrained(model).embedder
    loaded = EncoderClassifier.from_hparams(
        source=str(model), savedir=None, run_opts={"device": "cpu"}
    )
    encoder = getattr(loaded.hparams, "label_encoder", None)
    if "classifier" not in loaded.mods or encoder is None:
        raise ValueError(
            f"the model {model} has no classifier and label_encoder: it gives "
            "embeddings alone. Fine-tune it (recipes/CREMA-D, hparams/finetune.yaml) "
            "or give a fine-tuned model"
        )
    with tempfile.TemporaryDirectory() as scratch:
        manifest = find_utterances(data, scratch, sample_rate)
        table = embed(
            manifest,
            embedder,
            device=device,
            batch_seconds=batch_seconds,
            precision=precision,
        )
    classifier = loaded.mods.classifier
    with torch.no_grad():
        probs = classifier(torch.from_numpy(table.vectors)[:, None]).squeeze(1)
    best, number = probs.max(1)
    names = [encoder.ind2lab[k] for k in range(probs.shape[1])]
    result = pd.DataFrame({"ID": list(table.ids)})
    result["wav"] = [manifest[row].wav for row in range(len(manifest))]
    result["label"] = [names[k] for k in number.tolist()]
    result["score"] = best.numpy()
    for k, name in enumerate(names):
        result[f"p_{name}"] = probs[:, k].numpy()
    return result


def main(arguments=None):
    """Command line."""
    parser = argparse.ArgumentParser(
        description="Labels audio with a fine-tuned model, such as emotions."
    )
    add = parser.add_argument
    add("--model", required=True, help="inference folder, or a name on the hub")
    add("--data", required=True, help="manifest (CSV), prepared or audio folder")
    add("--output", required=True, help="CSV to write")
    add("--device", help="cpu, cuda or cuda:N; a GPU where there is one")
    add("--sample_rate", type=int, default=16000, help="of the model, in Hz")
    add("--batch_seconds", type=float, default=120.0, help="audio in a batch")
    add("--precision", choices=PRECISIONS, default="fp32", help=PRECISION_HELP)
    known = vars(parser.parse_args(arguments))
    output = known.pop("output")
    end_on_signals()
    with plain_errors(ValueError, OSError, ImportError):
        table = label_audio(**known)
    with replacing(output) as draft:
        table.to_csv(draft, index=False, float_format="%.4f")
    print(table["label"].value_counts().to_string())
    print(f"{len(table)} utterances: {output}")
    leave_processes()


if __name__ == "__main__":
    main()
