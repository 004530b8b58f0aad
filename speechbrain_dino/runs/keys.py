"""Values of a recipe's keys, read from words in the keys' types and checked.

Words are data. Objects come from a command line only where the recipe has an object or
null, and from this package, SpeechBrain and PyTorch alone.
"""

import difflib
import inspect
import math
import pydoc

from hyperpyyaml.core import recursive_resolve
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.events import AliasEvent
from ruamel.yaml.nodes import ScalarNode

from speechbrain_dino.runs.rules import (
    NEEDED,
    RULES,
    Rule,
    is_object,
    rule_of,
    tag_of,
)

PACKAGES = ("speechbrain_dino", "speechbrain", "torch")
_ROOMS = "augment clustering corpora data embeddings losses metrics models probing"
_LAYERS = "augment core dataio lobes nnet processing utils.checkpoints utils.epoch_loop"
PLACES = (
    *(f"speechbrain_dino.{room}" for room in f"{_ROOMS} scoring training".split()),
    *(f"speechbrain.{name}" for name in f"{_LAYERS} utils.train_logger".split()),
    *("torch.nn", "torch.optim", "torch.utils.data"),
)
"""Modules of the packages whose classes and functions may be named on a command line:
others start programs (``speechbrain.utils.superpowers``) or load code."""
_TRUE = ("true", "yes", "on")
_FALSE = ("false", "no", "off")
_NONE = ("none", "null", "~", "")
_REFERENCES = ("!ref", "!copy")
WRONG = object()
"""What :func:`converted` returns where a value has no form of a type."""


def read_keys(recipe, texts):
    """Reads the values given for a recipe's keys; checks the recipe's own as well.

    Arguments
    ---------
    recipe : str or dict
        HyperPyYAML, or its keys as ruamel.yaml reads them.
    texts : dict
        Key -> its value as it was written.

    Returns
    -------
    dict
        The values in the types of their keys.

    Raises
    ------
    ValueError
        At the first key that is not there, and the first value that does not fit.

    Example
    -------
    >>> read_keys("vad: True\\nname: run\\n", {"vad": "no", "name": "run #2"})
    {'vad': False, 'name': 'run #2'}
    """
    tree = YAML(typ="rt").load(recipe) if isinstance(recipe, str) else recipe
    for key, value in tree.items():
        if key in RULES and key not in texts and tag_of(value) is None:
            checked(key, value, value)
    for key in texts:
        if key not in tree:
            raise ValueError(_unknown(key, tree))
    return {k: read_value(k, text, _default(k, tree)) for k, text in texts.items()}


def _default(key, tree):
    """A key's value; what a reference leads to, where only that gives the type."""
    value = tree[key]
    if tag_of(value) != "!ref" or key in RULES:
        return value
    try:
        target = recursive_resolve(value.value, [], tree)
    except (ValueError, TypeError, ArithmeticError):
        return value
    return value if tag_of(target) == "!PLACEHOLDER" else target


def _unknown(key, tree):
    """What to say of a key that is not there."""
    top = key.replace("[", ".").split(".")[0]
    if top != key and top in tree:
        return f"there is no key {key!r}: give --{top} '{{name: value}}'"
    names = [name for name in tree if not name.startswith("__")]
    close = difflib.get_close_matches(key, names, cutoff=0.5)
    listed = f"Close to it: {', '.join(close)}" if close else "Its keys: "
    return f"has no key {key!r}. {listed}{'' if close else ', '.join(names)}"


def read_value(key, text, default):
    """A value from what was written for a key.

    Arguments
    ---------
    key : str
        The key.
    text : str
        What was written. A key of text takes it as it stands; ``!ref ...`` follows
        other keys.
    default : object
        The key's value in the recipe, as ruamel.yaml reads it.

    Returns
    -------
    object
        The value; objects and references as ruamel.yaml reads them.

    Raises
    ------
    ValueError
        Names key, value and what is expected.
    """
    if text.split(" ")[0] in _REFERENCES:
        if "**" in text:  # three of them take longer than any run
            raise ValueError(f"--{key} {text}: expected +, -, * or /")
        return read_yaml(key, text)
    rule = rule_of(key, default)
    if rule is not None:
        return checked(key, text, default)
    if is_object(default) or isinstance(default, dict):
        return _read_part(key, text, default)
    value = _read_scalar(text)
    if text.startswith(("[", "{", "!")):
        value = read_yaml(key, text)
        _check_objects(key, value)
    return value


def checked(key, value, default):
    """A value given for a key, in the key's type.

    Arguments
    ---------
    key : str
        The key.
    value : object
        A text, or a value as ruamel.yaml reads it.
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
    if rule is None or tag_of(value) is not None:
        return value
    result = converted(value, rule)
    if result is not WRONG:
        return result
    if value is default and value is not None:  # the recipe itself is wrong
        raise ValueError(f"{key}: {value}: expected {rule.expected()}")
    was = "" if default is None else str(getattr(default, "value", default))
    was = was and f" (the recipe has {was})"  # empty: a placeholder
    shown = "null" if value is None else value
    raise ValueError(f"--{key} {shown}: expected {rule.expected()}{was}")


def converted(value, rule):
    """A text or value in a rule's type, :data:`WRONG` where it has no such form."""
    word = value.strip() if isinstance(value, str) else value
    if word is None or (isinstance(word, str) and word.lower() in _NONE):
        return None if rule.nullable else WRONG
    if isinstance(word, str) and word in rule.words:
        return word
    kinds = {bool: _bool, str: _text, list: _list, int: _number, float: _number}
    return kinds[rule.kind](value, rule)


def _bool(value, rule):
    if isinstance(value, bool):
        return value
    word = value.strip().lower() if isinstance(value, str) else ""
    return word in _TRUE if word in _TRUE + _FALSE else WRONG


def _text(value, rule):
    """A text, or a list of texts where a key may have several."""
    text = value if isinstance(value, str) else str(value)
    if rule.choices:
        return text.strip() if text.strip() in rule.choices else WRONG
    if isinstance(value, dict):
        return WRONG
    if isinstance(value, list) or (rule.several and _in_brackets(text)):
        return _list(value, Rule(list, of=str)) if rule.several else WRONG
    return text


def _number(value, rule):
    value = _as_number(value) if isinstance(value, str) else value
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return WRONG
    if not math.isfinite(value) or abs(value) >= 2**63:
        return WRONG
    if rule.kind is int and value != int(value):
        return WRONG
    value = int(value) if rule.kind is int else value
    if rule.above is not None and not value > rule.above:
        return WRONG
    inside = rule.low is None or value >= rule.low
    inside = inside and (rule.high is None or value <= rule.high)
    return value if inside else WRONG


def _as_number(text):
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return None


def _list(value, rule):
    """A list with its items in their type; one item stands for a list of it."""
    if isinstance(value, dict):
        return WRONG
    items = value if isinstance(value, list) else [value]
    if isinstance(value, str) and _in_brackets(value):
        try:
            items = _items(value.strip(), rule.of)
        except ValueError:
            return WRONG
    if rule.of is None:
        return [_read_scalar(i) if isinstance(i, str) else i for i in items]
    words = rule.of is str  # of which any may be a name
    items = [
        i if words and f"{i}".strip() else converted(i, Rule(rule.of)) for i in items
    ]
    return WRONG if WRONG in items else items


def _in_brackets(text):
    text = text.strip()
    return text.startswith("[") and text.endswith("]")


def _items(text, kind):
    """Items of ``[a, b]``: as they were written, where they are all plain."""
    inner = text[1:-1]
    if not set(inner) & set("[]{}\"'!"):
        items = [item.strip() for item in inner.split(",")]
        return items[:-1] if items[-1] == "" else items
    value = read_yaml("", text)
    if kind is None or not isinstance(value, list):
        return value
    nodes = YAML(typ="rt").compose(text).value
    return [
        node.value if isinstance(node, ScalarNode) and tag_of(item) is None else item
        for node, item in zip(nodes, value)
    ]


def _read_scalar(text):
    """A value of an unknown type: nothing, a truth value, a number or text."""
    word = text.strip().lower()
    if word in _NONE:
        return None
    if word in ("true", "false"):
        return word == "true"
    number = _as_number(text)
    finite = number is not None and math.isfinite(number) and abs(number) < 2**63
    return number if finite else text


def read_yaml(key, text):
    """Lists, mappings, objects and references; ValueError where there is none."""
    yaml = YAML(typ="rt")
    try:
        if any(isinstance(event, AliasEvent) for event in yaml.parse(text)):
            raise ValueError("anchors are for files")
        return yaml.load(text)
    except Exception as error:  # ruamel.yaml raises many kinds, and RecursionError
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise ValueError(f"--{key} {text}: no YAML ({reason[0]})") from error


# -- objects and mappings -------------------------------------------------------


def _read_part(key, text, default):
    """An object, arguments of one, or entries of a mapping."""
    word = text.strip()
    if word.lower() in _NONE and key not in NEEDED:
        return None
    if word.startswith(("!", "{")):
        value = read_yaml(key, word)
        _check_objects(key, value)
        if isinstance(value, CommentedMap) and tag_of(value) is None:
            _check_entries(key, value, default)
        if isinstance(value, CommentedMap) or tag_of(value) is not None:
            return value
    rule = RULES.get(key, Rule(float) if key.endswith("_schedule") else None)
    if rule is not None and is_object(default):
        number = converted(text, rule)
        if number is not WRONG:
            return number
    tag = tag_of(default)
    expected = (
        f"an object such as {tag}, its arguments {{name: value}}"
        if tag
        else ("entries {name: value}")
    )
    null = "" if key in NEEDED else ", or null"
    raise ValueError(f"--{key} {text}: expected {expected}{null}")


def _check_entries(key, given, default):
    """Checks entries that are merged into a mapping or an object's arguments."""
    tag = tag_of(default)
    for name, value in given.items():
        before = default.get(name) if isinstance(default, dict) else None
        there = isinstance(default, dict) and name in default
        if tag is not None and not there:
            _check_argument(key, name, tag.partition(":")[2])
        elif isinstance(value, CommentedMap) and tag_of(value) is None and there:
            if not isinstance(before, dict) and not is_object(before):
                raise ValueError(f"--{key}: {name} is no mapping: give a value")
            _check_entries(f"{key}: {name}", value, before)
        elif there and key != "by_round":
            given[name] = _checked_entry(key, name, value, before)


def _checked_entry(key, name, value, before):
    if is_object(before) and tag_of(value) is None and isinstance(value, str):
        raise ValueError(f"--{key}: {name} {value}: expected an object, or null")
    try:
        return checked(name, value, before)
    except ValueError as error:
        raise ValueError(f"--{key}: {str(error).removeprefix('--')}") from error


def _check_argument(key, name, path):
    """Refuses an argument that a class or function does not take."""
    try:
        parameters = inspect.signature(pydoc.locate(path)).parameters
    except (TypeError, ValueError):
        return
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()) or name in parameters:
        return
    names = ", ".join(p for p in parameters if p != "self")
    raise ValueError(f"--{key}: {path} has no argument {name!r}, but {names}")


def _check_objects(key, node):
    """Refuses what is neither data nor an object of the three packages."""
    tag = tag_of(node)
    if tag is not None and tag not in _REFERENCES:
        kind, _, path = tag.partition(":")
        if kind not in ("!new", "!name") or not _trusted(path):
            raise ValueError(
                f"--{key} {tag}: expected !new: or !name: of something in "
                f"{', '.join(PACKAGES)} that neither starts programs nor loads code "
                f"({', '.join(PLACES)}); other objects are named in a YAML"
            )
    if isinstance(node, dict):
        if not all(isinstance(name, str) for name in node):
            raise ValueError(f"--{key}: expected {{name: value}}, names being text")
        node = list(node.values())
    for part in node if isinstance(node, list) else ():
        _check_objects(key, part)


def _trusted(path):
    """Whether a dotted name leads to something that one of the places defines."""
    if path.split(".")[0] not in PACKAGES:
        return False
    try:
        target = pydoc.locate(path)
    except Exception:  # whatever a module raises when it is imported
        return False
    module = getattr(target, "__module__", None) or ""
    return any(f"{module}.".startswith(f"{place}.") for place in PLACES)
