"""Values of a recipe's keys: types, ranges and choices, checked before anything runs.

The type of a key is that of its value in the recipe; :data:`RULES` adds what a value
alone does not say.
"""

import math
from typing import NamedTuple

from ruamel.yaml import YAML
from ruamel.yaml.comments import TaggedScalar
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import ScalarNode, SequenceNode

_TRUE = ("true", "yes", "on")
_FALSE = ("false", "no", "off")
_NONE = ("none", "null", "~", "")


class Rule(NamedTuple):
    """What a key's value may be.

    Arguments
    ---------
    kind : type
        int, float, bool, str or list; float takes integers as well.
    low, high : float, optional
        Bounds of a number, both included.
    above : float, optional
        Lower bound of a number, excluded.
    choices : tuple of str, optional
        Values of a text.
    nullable : bool
        Whether null is a value too.
    words : tuple of str
        Words that may stand in place of a number.
    of : type, optional
        Type of a list's items: int, float or str.
    """

    kind: type
    low: float = None
    high: float = None
    above: float = None
    choices: tuple = None
    nullable: bool = False
    words: tuple = ()
    of: type = None

    def expected(self):
        """The rule in words.

        Example
        -------
        >>> Rule(int, low=1, nullable=True).expected()
        'an integer of at least 1, or null'
        """
        text = _NAMES.get(self.kind, "text")
        if self.of in (int, float):
            text = "a list of numbers" if self.of is float else "a list of integers"
        if self.choices:
            text = " or ".join([", ".join(self.choices[:-1]), self.choices[-1]])
            text = text.removeprefix(" or ")
        if self.above is not None:
            text += f" above {self.above}"
        elif self.low is not None and self.high is not None:
            text += f" from {self.low} to {self.high}"
        elif self.low is not None:
            text += f" of at least {self.low}"
        others = [*self.words, *(["null"] if self.nullable else [])]
        return ", or ".join([text, *others])


_NAMES = {int: "an integer", float: "a number", bool: "True or False", list: "a list"}
_COUNT, _NUMBER = Rule(int, low=1), Rule(int, low=0)
_AMOUNT, _POSITIVE = Rule(float, low=0), Rule(float, above=0)
_SHARE, _TEXT = Rule(float, low=0, high=1), Rule(str)
_GROUPS = (
    (
        _COUNT,
        "batch_size number_of_epochs sample_rate embedding_dim n_mels log_every "
        "validate_every average_last keep_checkpoints rounds num_folds bottleneck_dim "
        "hidden_dim expanded_dim projection_dim projector_dim queue_size sub_centers "
        "utterances_per_item top_n cluster_every test_actors valid_actors",
    ),
    (
        _NUMBER,
        "seed fold_seed num_workers local_crops global_crops validate_lists "
        "valid_utterances bootstrap ckpt_interval_steps workers affine_epochs "
        "main_epochs large_margin_epochs correct_from_epoch gate_from_epoch",
    ),
    (
        _AMOUNT,
        "min_duration batch_seconds base_lr affine_lr final_lr large_margin_lr "
        "weight_decay warmup_epochs cosine_warmup_epochs margin_warmup_epochs margin "
        "large_margin freeze_last_layer_epochs ckpt_interval_minutes cosine_weight "
        "koleo_weight regularizer_ramp stop_below",
    ),
    (
        _POSITIVE,
        "global_seconds local_seconds chunk_seconds large_margin_seconds embed_seconds "
        "temp scale gate_bound plda_means f_max steps_per_epoch",
    ),
    (
        _SHARE,
        "noise_prob reverb_prob teacher_momentum cluster_after ssps_after",
    ),
    (_COUNT._replace(nullable=True), "out_dim patience lda_dim min_size max_size"),
    (_AMOUNT._replace(nullable=True), "clip_norm window_seconds"),
    (_SHARE._replace(nullable=True), "pca_variance min_posterior"),
    (_POSITIVE._replace(nullable=True), "num_means noise_max_hours"),
    (Rule(float, nullable=True), "threshold plda_threshold"),
    (_TEXT, "data_folder output_folder save_folder data_save_folder"),
    (
        _TEXT._replace(nullable=True),
        "noise_folder rir_folder metadata model start_model first_model cluster_labels "
        "labels_file truth embedding_layer utterances calibration_list fold",
    ),
    (Rule(list, nullable=True, of=int), "count_range"),
    (Rule(list, of=int), "train_size"),
    (Rule(list, of=str), "trial_lists fuse layers test_sets affine_layers"),
)
RULES = {
    **{key: rule for rule, keys in _GROUPS for key in keys.split()},
    "num_clusters": Rule(int, low=1, nullable=True, words=("auto",)),
    "teacher_buffers": Rule(str, choices=("own", "student", "averaged")),
    "placement": Rule(str, choices=("independent", "disjoint")),
    "student_crops": Rule(str, choices=("all", "local")),
    "check_audio": Rule(str, choices=("headers", "full")),
    "start_from": Rule(str, choices=("fresh", "first", "previous")),
    "precision": Rule(str, choices=("auto", "bf16", "fp16", "fp32")),
    "cohort_by": Rule(str, choices=("utterance", "speaker")),
    "shared_speakers": Rule(str, choices=("error", "leave_out")),
    "leave_out": Rule(str, choices=("session", "speaker")),
    "script": Rule(str, choices=("all", "improvised", "scripted")),
    "kind": Rule(str, choices=("auto", "classes", "numbers")),
    "class_weight": Rule(str, choices=("balanced",), nullable=True),
}


def rule_of(key, default):
    """The rule of a key, from :data:`RULES` and its value in the recipe.

    Arguments
    ---------
    key : str
        The key.
    default : object
        Its value in the recipe, as ruamel.yaml reads it.

    Returns
    -------
    Rule or None
        None where anything may stand: tagged values, mappings, null.

    Example
    -------
    >>> rule_of("hop", 10).kind, rule_of("gamma", 0.5).kind
    (<class 'float'>, <class 'float'>)
    """
    if isinstance(default, TaggedScalar) or getattr(default, "tag", None) is not None:
        # An object, or a value that follows another key's.
        tagged = getattr(default.tag, "value", None)
        plain = tagged in ("!ref", "!PLACEHOLDER") and key in RULES
        if tagged is not None and not plain:
            return None
    if key in RULES:
        rule = RULES[key]
        return rule._replace(nullable=rule.nullable or default is None)
    if isinstance(default, list):
        return Rule(list, nullable=True, of=_item_type(default))
    for kind in (bool, float, str):
        if isinstance(default, kind):
            return Rule(kind, nullable=kind is not bool)
    # A number that may just happen to be whole in this recipe.
    return Rule(float, nullable=True) if isinstance(default, int) else None


def _item_type(values):
    """float or str where all items are numbers, or text; None otherwise."""
    for item, kinds in ((float, (int, float)), (str, str)):
        if values and all(isinstance(v, kinds) for v in values):
            return item
    return None


def checked(key, value, default, text=None):
    """A value given for a key, in the key's type.

    Arguments
    ---------
    key : str
        The key.
    value : object
        What was given, as ruamel.yaml reads it.
    default : object
        Its value in the recipe.
    text : str or list of str, optional
        The value as it was written, which a key of text keeps: ``007``, ``1e3``.

    Returns
    -------
    object
        The value.

    Raises
    ------
    ValueError
        Names key, value and what is expected.

    Example
    -------
    >>> checked("vad", "no", True), checked("clip_norm", "None", 3.0)
    (False, None)
    >>> checked("batch_size", "abc", 48)
    Traceback (most recent call last):
    ValueError: --batch_size abc: expected an integer of at least 1 (the recipe has 48)
    """
    rule = rule_of(key, default)
    if rule is None or getattr(getattr(value, "tag", None), "value", None) is not None:
        return value
    is_none = value is None or (isinstance(value, str) and value.lower() in _NONE)
    if is_none and rule.nullable:
        return None
    if not isinstance(value, list) and value in rule.words:
        return value
    if value is not None:
        converted = _converted(value, rule, value if text is None else text)
        if converted is not None and _allowed(converted, rule):
            return converted
    if value is default and value is not None:  # the recipe itself is wrong
        raise ValueError(f"{key}: {_plain(value)}: expected {rule.expected()}")
    was = "" if default is None else str(_plain(default))  # empty: a placeholder
    was = was and f" (the recipe has {was})"
    raise ValueError(f"--{key} {_plain(value)}: expected {rule.expected()}{was}")


def _converted(value, rule, text):
    """The value in a rule's type, None where it has no such form."""
    if rule.kind is bool:
        word = str(value).lower()
        return True if word in _TRUE else False if word in _FALSE else None
    if rule.kind is str:
        if isinstance(value, dict) or (rule.choices and isinstance(value, list)):
            return None
        # A name may stand for several.
        return text if isinstance(text, list) else str(text)
    if rule.kind is list:
        return _converted_list(value, rule, text)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    if not math.isfinite(value) or (rule.kind is int and value != int(value)):
        return None
    return int(value) if rule.kind is int else value


def _converted_list(values, rule, texts):
    """A list with its items in their type; one item stands for a list of it."""
    if isinstance(values, dict):
        return None
    if not isinstance(values, list):
        values, texts = [values], [texts]
    if rule.of is None or len(values) != len(texts):
        return values
    item = Rule(rule.of)
    items = [_converted(v, item, text) for v, text in zip(values, texts)]
    return None if None in items else items


def _allowed(value, rule):
    if rule.choices:
        return value in rule.choices
    if rule.above is not None and not value > rule.above:
        return False
    above = rule.low is None or value >= rule.low
    return above and (rule.high is None or value <= rule.high)


def _plain(value):
    return "null" if value is None else getattr(value, "value", value)


def check_keys(recipe, overrides):
    """Checks the plain values of a recipe, and what is given for its keys.

    Arguments
    ---------
    recipe : str
        HyperPyYAML.
    overrides : str or dict
        Keys given on the command line.

    Returns
    -------
    dict
        The given values in the types of their keys.

    Raises
    ------
    ValueError
        At the first value that does not fit.
    """
    yaml = YAML(typ="rt")
    defaults = yaml.load(recipe)
    given = yaml.load(overrides) if isinstance(overrides, str) else overrides
    if given is not None and not hasattr(given, "items"):
        raise ValueError(f"{overrides!r} is no option: write --key value")
    for key, value in defaults.items():
        if key in RULES and key not in (given or {}):
            checked(key, value, value)
    texts = _texts(yaml.compose(overrides)) if isinstance(overrides, str) else {}
    return {
        key: checked(key, value, defaults[key], texts.get(key))
        if key in defaults
        else value
        for key, value in (given or {}).items()
    }


def _texts(node):
    """Values as they were written: {key: text or list of texts}, others left out."""
    texts = {}
    for key, value in node.value if node is not None else ():
        if isinstance(value, ScalarNode):
            texts[key.value] = value.value
        elif isinstance(value, SequenceNode) and all(
            isinstance(item, ScalarNode) for item in value.value
        ):
            texts[key.value] = [item.value for item in value.value]
    return texts


def check_recipe(hparams_file, recipe, overrides):
    """As :func:`check_keys`; ends the program with one line that names the file."""
    try:
        return check_keys(recipe, overrides)
    except (ValueError, YAMLError) as error:
        text = " ".join(str(error).split())
        raise SystemExit(f"{hparams_file}: {text}") from error
