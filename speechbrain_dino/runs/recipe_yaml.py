"""Recipes that say only what differs: ``extends: dino.yaml``."""

import io
from pathlib import Path

from ruamel.yaml import YAML

from speechbrain_dino.runs.keys import checked


def read_recipe(path):
    """Reads a recipe and what it extends, as one HyperPyYAML text.

    A YAML with the key ``extends`` takes over all top-level keys of the file named
    there (relative to itself) and replaces, each as a whole, those that it gives
    itself. Of several files, ``extends: [a.yaml, b.yaml]``, the later ones replace
    keys of the earlier; what two of them extend counts once, before both. References
    are resolved later, in the merged text: a key that the extended file derives from a
    replaced one follows it.

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
    files = {}
    _collect(yaml, Path(path), (), files)
    first, *others = files.values()
    for own in others:
        for key, value in own.items():
            if isinstance(first.get(key), bool) and isinstance(value, str):
                value = checked(key, value, first[key])  # no and off, texts to YAML 1.2
            first[key] = value
    stream = io.StringIO()
    yaml.dump(first, stream)
    return stream.getvalue()


def recipe_files(path):
    """Files that a recipe consists of, what is extended before what extends it."""
    files = {}
    _collect(YAML(typ="rt"), Path(path), (), files)
    return list(files)


def _collect(yaml, path, children, files):
    """Gathers the files' own keys, what is extended before what extends it."""
    resolved = path.resolve()
    if resolved in children:
        raise ValueError(f"{path} extends itself, by way of {children[-1]}")
    if resolved in files:
        return
    own = yaml.load(path.read_text(encoding="utf-8"))
    if not hasattr(own, "items"):
        raise ValueError(f"{path} holds no keys: a recipe is a mapping")
    bases = own.pop("extends", None) or []
    for base in [bases] if isinstance(bases, str) else bases:
        _collect(yaml, path.parent / base, (*children, resolved), files)
    files[resolved] = own
