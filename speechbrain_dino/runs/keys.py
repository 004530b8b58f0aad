"""Values of a recipe's keys: types, ranges and choices, checked before anything runs.

The type of a key is that of its value in the recipe; :data:`RULES` adds what a value
alone does not say.
"""

from datetime import date
from typing import NamedTuple

from ruamel.yaml import YAML
from ruamel.yaml.comments import TaggedScalar
from ruamel.yaml.error import YAMLError

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
    choices : tuple of str, optional
        Values of a text.
    nullable : bool
        Whether null is a value too.
    words : tuple of str
        Words that may stand in place of a number.
    """

    kind: type
    low: float = None
    high: float = None
    choices: tuple = None
    nullable: bool = False
    words: tuple = ()

    def expected(self):
        """The rule in words.

        Example
        -------
        >>> Rule(int, low=1, nullable=True).expected()
        'an integer of at least 1, or null'
        """
        names = {int: "an integer", float: "a number", bool: "True or False"}
        text = names.get(self.kind, "a list" if self.kind is list else "text")
        if self.choices:
            text = " or ".join([", ".join(self.choices[:-1]), self.choices[-1]])
        if self.low is not None and self.high is not None:
            text += f" from {self.low} to {self.high}"
        elif self.low is not None:
            text += f" of at least {self.low}"
        others = [*self.words, *(["null"] if self.nullable else [])]
        return ", or ".join([text, *others])


_COUNT, _NUMBER = Rule(int, low=1), Rule(int, low=0)
_POSITIVE, _SHARE = Rule(float, low=0), Rule(float, low=0, high=1)
_GROUPS = (
    (
        _COUNT,
        "batch_size number_of_epochs sample_rate embedding_dim n_mels log_every "
        "validate_every average_last keep_checkpoints rounds num_folds",
    ),
    (
        _NUMBER,
        "seed num_workers local_crops global_crops validate_lists valid_utterances "
        "bootstrap ckpt_interval_steps workers affine_epochs main_epochs "
        "large_margin_epochs",
    ),
    (
        _POSITIVE,
        "global_seconds local_seconds chunk_seconds min_duration batch_seconds base_lr "
        "affine_lr weight_decay warmup_epochs margin freeze_last_layer_epochs "
        "ckpt_interval_minutes",
    ),
    (_SHARE, "noise_prob reverb_prob teacher_momentum"),
)
RULES = {
    **{key: rule for rule, keys in _GROUPS for key in keys.split()},
    "out_dim": Rule(int, low=1, nullable=True),
    "clip_norm": Rule(float, low=0, nullable=True),
    "window_seconds": Rule(float, low=0, nullable=True),
    "patience": Rule(int, low=1, nullable=True),
    "num_clusters": Rule(int, low=1, nullable=True, words=("auto",)),
    "placement": Rule(str, choices=("independent", "disjoint")),
    "student_crops": Rule(str, choices=("all", "local")),
    "check_audio": Rule(str, choices=("headers", "full")),
    "start_from": Rule(str, choices=("fresh", "first", "previous")),
    "precision": Rule(str, choices=("auto", "bf16", "fp16", "fp32")),
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
        if tagged is not None and not (tagged == "!ref" and key in RULES):
            return None
    if key in RULES:
        rule = RULES[key]
        return rule._replace(nullable=rule.nullable or default is None)
    for kind in (bool, float, str, list):
        if isinstance(default, kind):
            return Rule(kind, nullable=True)
    # A number that may just happen to be whole in this recipe.
    return Rule(float, nullable=True) if isinstance(default, int) else None


def checked(key, value, default):
    """A value given for a key, in the key's type.

    Arguments
    ---------
    key : str
        The key.
    value : object
        What was given, as ruamel.yaml reads it.
    default : object
        Its value in the recipe.

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
    if value is None or (isinstance(value, str) and value.lower() in _NONE):
        if rule.nullable or rule.kind in (str, list):
            return None
    elif value in rule.words:
        return value
    else:
        converted = _converted(value, rule.kind)
        if converted is not None and _allowed(converted, rule):
            return converted
    was = "" if default is None else f" (the recipe has {_plain(default)})"
    raise ValueError(f"--{key} {_plain(value)}: expected {rule.expected()}{was}")


def _converted(value, kind):
    """The value in a type, None where it has no such form."""
    if kind is bool:
        word = str(value).lower()
        return True if word in _TRUE else False if word in _FALSE else None
    if kind is str:
        if isinstance(value, (list, dict)):  # a name may stand for several
            return value
        return value.isoformat() if isinstance(value, date) else str(value)
    if kind is list:
        return value if isinstance(value, list) else [value]
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    if kind is int and value != int(value):
        return None
    return int(value) if kind is int else value


def _allowed(value, rule):
    if rule.choices:
        return value in rule.choices
    if isinstance(value, (int, float)) and value != value:
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
    return {
        key: checked(key, value, defaults[key]) if key in defaults else value
        for key, value in (given or {}).items()
    }


def check_recipe(hparams_file, recipe, overrides):
    """As :func:`check_keys`; ends the program with one line that names the file."""
    try:
        return check_keys(recipe, overrides)
    except (ValueError, YAMLError) as error:
        text = " ".join(str(error).split())
        raise SystemExit(f"{hparams_file}: {text}") from error
