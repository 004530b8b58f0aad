"""README.md of the inference folder: what the model is and how to use it."""

HEAD = """\
---
library_name: speechbrain
tags:
- speaker-verification
- speaker-embeddings
- self-supervised
- dino
---
# Speech embeddings learned without labels

An encoder that turns 16 kHz mono speech into one embedding an utterance, trained by
DINO self-distillation with speechbrain-dino. No speaker label was used.

## Use

```
pip install {packages}
```

```python
from speechbrain.inference.classifiers import EncoderClassifier
encoder = EncoderClassifier.from_hparams(source="/path/to/this/folder")
embedding = encoder.encode_batch(encoder.load_audio("speech.wav"))
```

Two files of one speaker?

```python
from speechbrain.inference.speaker import SpeakerRecognition
verifier = SpeakerRecognition.from_hparams(source="/path/to/this/folder")
score, _ = verifier.verify_files("one.wav", "other.wav")
same_speaker = score > {threshold}
```

- {threshold_note}
- Leave `savedir` out. A `savedir` that holds the files of another model is used
  as it is, without a warning: you would get the other model's embeddings. If you need
  one, give each model its own.
- Write the folder's whole path. SpeechBrain takes a path that does not exist for the
  name of a model on the Hugging Face hub and tries to download it.
- Give one utterance at a time, or utterances of equal length: most of SpeechBrain's
  encoders do not mask padding, which changes the embedding.
"""

MEASURED = """\
SpeechBrain decides at 0.25 (the second value that `verify_files` gives), which has
  nothing to do with this model. {threshold} is where misses and false alarms were equal
  on `{name}`; other audio needs its own threshold."""

NOT_MEASURED = """\
No threshold was measured in this run. SpeechBrain decides at 0.25 (the second value
  that `verify_files` gives), which has nothing to do with this model: find one on
  trials of your own."""


def model_card(yaml, results):
    """Writes the model card.

    Arguments
    ---------
    yaml : str
        The inference folder's hyperparameters.
    results : dict
        Content of the run's results.json; what is missing there is left out.

    Returns
    -------
    str
        Markdown.

    Example
    -------
    >>> figures = {"eer": 0.05, "eer_threshold": 0.3125, "trials": 40}
    >>> card = model_card("", {"verification": {"veri_test": figures}})
    >>> "score > 0.3125" in card, "| veri_test | 40 | 5.00 |" in card
    (True, True)
    """
    lists = results.get("verification") or {}
    threshold, note = "0.25", NOT_MEASURED
    if lists:
        name, figures = next(iter(lists.items()))
        threshold = f"{figures['eer_threshold']:.4f}"
        note = MEASURED.format(threshold=threshold, name=name)
    packages = "speechbrain"
    if "speechbrain_dino." in yaml:
        packages += " speechbrain-dino"
    text = HEAD.format(packages=packages, threshold=threshold, threshold_note=note)
    return text + _training(results) + _figures(lists)


def _training(results):
    lines, data = [], results.get("data") or {}
    if "kept" in data:
        hours = f" ({data['hours']:.1f} hours)" if "hours" in data else ""
        lines.append(f"- {data['kept']} utterances{hours}, without labels")
    if results.get("git"):
        dirty = ", with local changes" if results["git"]["dirty"] else ""
        lines.append(f"- speechbrain-dino at {results['git']['commit']}{dirty}")
    versions = results.get("versions") or {}
    lines += [f"- {name} {number}" for name, number in versions.items()]
    if results.get("seed") is not None:
        lines.append(f"- seed {results['seed']}")
    return "\n## Training\n\n" + "\n".join(lines) + "\n" if lines else ""


def _figures(lists):
    if not lists:
        return ""
    lines = [
        "\n## Speaker verification\n\nCosine scores of whole utterances.\n",
        "| list | trials | EER % | minDCF(0.01) | minDCF(0.05) | threshold at EER |",
        "|---|---|---|---|---|---|",
    ]
    for name, figures in lists.items():
        costs = [figures.get(f"min_dcf_{p}") for p in (0.01, 0.05)]
        costs = ["" if cost is None else f"{cost:.4f}" for cost in costs]
        lines.append(
            f"| {name} | {figures['trials']} | {100 * figures['eer']:.2f} | {costs[0]} "
            f"| {costs[1]} | {figures['eer_threshold']:.4f} |"
        )
    return "\n".join(lines) + "\n"
