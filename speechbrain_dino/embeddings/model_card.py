"""README.md of the inference folder: what the model is, learned from, and its use."""

from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from huggingface_hub import EvalResult, ModelCard, ModelCardData
from speechbrain.utils.fetching import fetch

from speechbrain_dino.utils.checked_json import read_json

_EMBEDDINGS = """\
---
{{ card_data }}
---
# Speech embeddings learned without labels

An encoder that turns 16 kHz mono speech into one embedding per utterance, trained by
DINO self-distillation with speechbrain-dino. No speaker label was used.

## Use

```
pip install {{ packages }}
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
same_speaker = score > {{ threshold }}
```

{% if lists -%}
- SpeechBrain decides at 0.25 (the second value that `verify_files` gives), which has
  nothing to do with this model. {{ threshold }} is where misses and false alarms were
  equal on `{{ lists | first }}`; other audio needs its own threshold.
{%- else -%}
- No threshold was measured in this run. SpeechBrain decides at 0.25 (the second value
  that `verify_files` gives), which has nothing to do with this model: find one on
  trials of your own.
{%- endif %}
- `encode_batch(wavs, normalize=True)` subtracts the mean embedding of training
  utterances; `verify_files` does not, and the threshold is without it.
- Leave `savedir` out. A `savedir` that holds the files of another model is used
  as it is, without a warning: you would get the other model's embeddings. If you need
  one, give each model its own.
- Write the folder's whole path. SpeechBrain takes a path that does not exist for the
  name of a model on the Hugging Face hub and tries to download it.
- Give one utterance at a time, or utterances of equal length: most of SpeechBrain's
  encoders do not mask padding, which changes the embedding.
{%- if training %}

## Training
{% for line in training %}
- {{ line }}
{%- endfor %}
{%- endif %}
{%- if lists %}

## Speaker verification

Cosine scores of whole utterances.

| list | trials | EER % | minDCF(0.01) | minDCF(0.05) | threshold at EER |
|---|---|---|---|---|---|
{%- for name, metrics in lists.items() %}
| {{ name }} | {{ metrics.trials }} | {{ "%.2f" % (100 * metrics.eer) }}
{%- for p in ("0.01", "0.05") %}
{%- set cost = metrics.get("min_dcf_" ~ p) %} | {{ "%.4f" % cost if cost is not none }}
{%- endfor %} | {{ "%.4f" % metrics.eer_threshold }} |
{%- endfor %}
{%- endif %}
"""

_CLASSIFIER = """\
---
{{ card_data }}
---
# Emotions in speech

Classes: {{ classes | join(", ") }}. A pretrained encoder of speech, fine-tuned with \
speechbrain-dino.

```
pip install speechbrain speechbrain-dino
```

```python
from speechbrain.inference.classifiers import EncoderClassifier
model = EncoderClassifier.from_hparams(source="/path/to/this/folder")
probabilities, best, number, name = model.classify_file("my.wav")
```

A folder of audio into a table:

```
python -m speechbrain_dino.runs.label --model /path/to/this/folder --data F \
--output F.csv
```
{%- if results.uar_valid is number %}

Unweighted average recall in validation: {{ "%.1f" % (100 * results.uar_valid) }} % \
(fold {{ results.fold }}, epoch {{ results.epoch }}).
{%- endif %}
"""


def model_card(yaml, results):
    """Returns the Markdown of an encoder's card, EERs as ``model-index`` too.

    ``yaml`` is the inference folder's, ``results`` the content of results.json; what is
    missing there is left out.

    Example
    -------
    >>> metrics = {"eer": 0.05, "eer_threshold": 0.3125, "trials": 40}
    >>> card = model_card("", {"verification": {"veri_test": metrics}})
    >>> "score > 0.3125" in card, "| veri_test | 40 | 5.00 |" in card
    (True, True)
    """
    lists = results.get("verification") or {}
    threshold = next((f"{m['eer_threshold']:.4f}" for m in lists.values()), "0.25")
    trained_on = card_keys(results.get("data") or {})
    data = ModelCardData(
        library_name="speechbrain",
        datasets=_corpora(trained_on.get("train_splits", ())),
        tags=["speaker-verification", "speaker-embeddings", "self-supervised", "dino"],
        model_name="speechbrain-dino" if lists else None,
        eval_results=[
            EvalResult(
                task_type="speaker-verification",
                dataset_type=name,
                dataset_name=name,
                metric_type="eer",
                metric_name="EER %",
                metric_value=round(100 * float(metrics["eer"]), 2),
            )
            for name, metrics in lists.items()
        ]
        or None,
        **trained_on,
    )
    packages = "speechbrain"
    if "speechbrain_dino." in yaml:
        packages += " speechbrain-dino"
    return _rendered(
        data,
        _EMBEDDINGS,
        packages=packages,
        threshold=threshold,
        lists=lists,
        training=_training(results),
    )


def classifier_card(classes, results):
    """Returns a classifier's card; ``results`` may have uar_valid, fold, epoch."""
    tags = ["speech-emotion-recognition", "self-supervised"]
    data = ModelCardData(library_name="speechbrain", tags=tags)
    return _rendered(data, _CLASSIFIER, classes=classes, results=results)


def _rendered(data, template, **values):
    card = ModelCard.from_template(data, template_str=template, **values)
    return f"{card.content}\n"


def _title(split):
    corpus, _, part = split.partition("/")
    return f"VoxCeleb{corpus[3:]} {part}" if part else "other audio"


def _corpora(splits):
    return sorted({f"VoxCeleb{split[3]}" for split in splits}) or None


def _training(results):
    lines, data = [], results.get("data") or {}
    if "kept" in data:
        hours = f" ({data['hours']:.1f} hours)" if "hours" in data else ""
        lines.append(f"{data['kept']} utterances{hours}, without labels")
    lines += [
        f"{_title(split)}: {about['utterances']:,} utterances of "
        f"{about['speakers']:,} speakers"
        for split, about in (data.get("trained_on") or {}).items()
        if about["speakers"]
    ]
    if data.get("started_on"):
        names = ", ".join(map(_title, data["started_on"]))
        lines.append(f"began with a model that was trained on {names}")
    if data.get("trials"):
        lists = ", ".join(data["trials"])
        lines.append(f"no speaker or utterance of these trial lists: {lists}")
    if results.get("git"):
        dirty = ", with local changes" if results["git"]["dirty"] else ""
        lines.append(f"speechbrain-dino at {results['git']['commit']}{dirty}")
    versions = results.get("versions") or {}
    lines += [f"{name} {number}" for name, number in versions.items()]
    if results.get("seed") is not None:
        lines.append(f"seed {results['seed']}")
    return lines


class TrainingData(NamedTuple):
    """What is said of a model's training."""

    splits: tuple = ()
    """Splits of VoxCeleb that it was trained on, such as "vox2/dev"."""
    held_out: tuple = ()
    """Names of the trial lists whose speakers were kept out of its training."""
    datasets: tuple = ()
    """Names of data sets in the card, where it does not name splits."""


def card_keys(prepared):
    """Returns the keys of a model card for what prepare.json says; {} if nothing.

    Example
    -------
    >>> card_keys({"trained_on": {"vox2/dev": {}, "other": {}}, "trials": {"mine": 3}})
    {'train_splits': ['vox2/dev'], 'held_out_lists': ['mine']}
    """
    splits = {*prepared.get("trained_on", ()), *prepared.get("started_on", ())}
    splits = sorted(splits - {"other"})
    if not splits:
        return {}
    lists = list(prepared.get("trials", ()))
    # A model to begin with has seen what its own training did not hold out.
    held_out = prepared.get("start_held_out", lists)
    lists = [name for name in lists if name in held_out]
    return {"train_splits": splits, "held_out_lists": lists}


def training_data(source):
    """Reads the training data off a model's card, or off the run around its folder.

    Arguments
    ---------
    source : str or path
        Inference folder, or name of a model on the Hugging Face hub.

    Returns
    -------
    TrainingData
        Empty where nothing is said.
    """
    folder = Path(source)
    card = folder / "README.md"
    if not folder.is_dir():
        with suppress(Exception):  # no card, no network: nothing is said
            card = Path(fetch("README.md", source=str(source), savedir=None))
    keys = {}
    if card.is_file():
        with suppress(Exception):  # any text may be a model's README
            keys = ModelCard(card.read_text(encoding="utf-8")).data.to_dict()
    if "train_splits" not in keys:
        prepared = folder.resolve().parent / "data" / "prepare.json"
        with suppress(OSError, ValueError, AttributeError, TypeError):
            content = read_json(prepared)
            keys = {**keys, **card_keys(content)}
    names = ("train_splits", "held_out_lists", "datasets")
    return TrainingData(*(_texts(keys.get(name)) for name in names))


def _texts(value):
    values = value if isinstance(value, list) else [value] if value else []
    return tuple(map(str, values))
