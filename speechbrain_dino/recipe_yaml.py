"""Recipes that say only what differs: ``extends: dino.yaml``."""

import io
from pathlib import Path

from ruamel.yaml import YAML


def read_recipe(path):
    """Reads a recipe and what it extends, as one HyperPyYAML text.

    A YAML with the key ``extends`` takes over all top-level keys of the file named
    there (relative to itself) and replaces, each as a whole, those that it gives
    itself. References are resolved later, in the merged text: a key that the
    extended file derives from a replaced one follows it.

    Arguments
    ---------
    path : str or path
        The YAML.

    Returns
    -------
    str
        HyperPyYAML without ``extends``.

    Raises
    ------
    ValueError
        If files extend each other in a circle or a file is no mapping.

    Example
    -------
    >>> folder = getfixture("tmp_path")
    >>> _ = (folder / "a.yaml").write_text("lr: 1\\nhalf: !ref <lr> / 2\\n")
    >>> _ = (folder / "b.yaml").write_text("extends: a.yaml\\nlr: 4\\n")
    >>> print(read_recipe(folder / "b.yaml").strip())
    lr: 4
    half: !ref <lr> / 2
    """
    yaml = YAML(typ="rt")
    yaml.width = 4096
    stream = io.StringIO()
    yaml.dump(_merged(yaml, Path(path), ()), stream)
    return stream.getvalue()


def _merged(yaml, path, children):
    if path.resolve() in children:
        raise ValueError(f"{path} extends itself, by way of {children[-1]}")
    own = yaml.load(path.read_text(encoding="utf-8"))
    if not hasattr(own, "items"):
        raise ValueError(f"{path} holds no keys: a recipe is a mapping")
    base = own.pop("extends", None)
    if base is None:
        return own
    merged = _merged(yaml, path.parent / base, (*children, path.resolve()))
    for key, value in own.items():
        merged[key] = value
    return merged
