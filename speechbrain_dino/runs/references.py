"""A recipe with what was given for its keys, its references resolved.

HyperPyYAML puts texts into references as if they were part of the recipe: a folder
``a<b>`` would be looked up, ``1/0`` computed. Here texts that were given pass through
untouched, arguments that replace an object's replace it whole, and what references
give is checked as what is written.
"""

import io
import re
from copy import deepcopy

from hyperpyyaml import resolve_references
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, TaggedScalar
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from speechbrain_dino.runs.keys import WRONG, checked, converted
from speechbrain_dino.runs.rules import rule_of, tag_of

_STAND_IN = re.compile(r"GivenText(\d+)x")
_SIMPLE = re.compile(r"[A-Za-z_./][\w./-]*", re.ASCII)
_WORDS = ("true", "false", "yes", "no", "on", "off", "null", "y", "n")
_FAILURES = (ValueError, TypeError, KeyError, AttributeError, ArithmeticError)


def resolved(recipe, given):
    """A recipe's text with given values in place and nothing left to refer to.

    Arguments
    ---------
    recipe : str
        HyperPyYAML.
    given : dict
        Key -> value. A mapping without a tag is merged into what the recipe has.

    Returns
    -------
    str
        HyperPyYAML without references.

    Raises
    ------
    ValueError
        If a key is not there or needs a value, a reference leads nowhere, or its
        result does not fit the key.

    Example
    -------
    >>> recipe = "folder: a\\nlog: !ref <folder>/log\\nepochs: 4\\n"
    >>> given = {"folder": "1/0 <b> #2", "epochs": 6}
    >>> print(resolved(recipe, given).strip())
    folder: "1/0 <b> #2"
    log: "1/0 <b> #2/log"
    epochs: 6
    """
    tree, texts = _load(recipe), []
    defaults = dict(tree)
    for key, value in given.items():
        if key not in tree:
            raise ValueError(f"has no key {key!r}")
        tree[key] = _merged(tree[key], _guarded(deepcopy(value), texts))
    for _ in range(2):  # again, where a reference gave 4.0 for an integer
        result = _with_texts(_referred(tree), texts)
        changes = dict(_mended(tree, defaults, result))
        if not changes:
            break
        tree.update(changes)
    _check_rounds(result)
    return _dump(result)


def _referred(tree):
    """The tree with references resolved by HyperPyYAML."""
    try:
        return _load(resolve_references(_dump(tree)).read())
    except _FAILURES as error:
        missing = re.match(r"'(\w+)' is a !PLACEHOLDER", str(error))
        if missing:
            raise ValueError(
                f"needs {missing[1]!r}: give it on the command line, "
                f"--{missing[1]} VALUE"
            ) from error
        raise ValueError(f"!ref: {' '.join(map(str, error.args))}") from error
    except RecursionError as error:
        raise ValueError("!ref: keys refer to each other in a circle") from error


def _merged(old, new):
    if not isinstance(new, dict) or tag_of(new) is not None:
        return new
    if isinstance(old, TaggedScalar) and not old.value:  # an object without arguments
        tag, old = old.tag, CommentedMap()
        old.yaml_set_ctag(tag)
    if not isinstance(old, dict):
        return new
    for key, value in new.items():
        old[key] = _merged(old.get(key), value)
    return old


def _guarded(value, texts):
    """The value with stand-ins for its texts, which are appended to ``texts``."""
    if isinstance(value, TaggedScalar):
        return value
    if isinstance(value, str):
        texts.append(str(value))
        return f"GivenText{len(texts) - 1}x"
    if isinstance(value, dict):
        for key in value:
            value[key] = _guarded(value[key], texts)
    elif isinstance(value, list):
        value[:] = [_guarded(item, texts) for item in value]
    return value


def _with_texts(node, texts):
    if isinstance(node, dict):
        for key in node:
            node[key] = _with_texts(node[key], texts)
    elif isinstance(node, list):
        node[:] = [_with_texts(item, texts) for item in node]
    elif tag_of(node) == "!ref":
        raise ValueError(f"!ref {node.value}: keys refer to each other in a circle")
    elif isinstance(node, str) and _STAND_IN.search(node):
        text = _STAND_IN.sub(lambda match: texts[int(match[1])], node)
        simple = _SIMPLE.fullmatch(text) and text.lower() not in _WORDS
        # HyperPyYAML reads "(1, 2)" and the like in a way of its own.
        return text if simple else DoubleQuotedScalarString(text)
    return node


def _mended(tree, defaults, result):
    """Checks what references gave; yields keys whose result has another type."""
    for key, node in tree.items():
        if tag_of(node) not in ("!ref", "!copy"):
            continue
        rule, value = rule_of(key, defaults[key]), result[key]
        if rule is None or tag_of(value) is not None:
            continue
        fitting = converted(value, rule)
        if fitting is WRONG:
            raise ValueError(
                f"{key}: !ref {node.value} gives {value}: expected {rule.expected()}"
            )
        if type(fitting) is int and not isinstance(value, int):
            yield key, fitting


def _check_rounds(tree):
    """Values of single rounds are what the keys' own are."""
    rounds = tree.get("by_round")
    if not isinstance(rounds, dict):
        return
    for key, values in rounds.items():
        if key not in tree:
            raise ValueError(f"by_round: there is no key {key!r}")
        if not isinstance(values, list):
            raise ValueError(f"by_round: {key} {values}: expected a list, one a round")
        try:
            values[:] = [checked(key, value, tree[key]) for value in values]
        except ValueError as error:
            raise ValueError(f"by_round: {str(error).removeprefix('--')}") from error


def _load(text):
    return YAML(typ="rt").load(text)


def _dump(tree):
    yaml, stream = YAML(typ="rt"), io.StringIO()
    yaml.width = 4096
    yaml.dump(tree, stream)
    return stream.getvalue()
