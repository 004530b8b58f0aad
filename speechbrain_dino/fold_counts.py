"""How many utterances of each class the parts of folds have."""

from collections import Counter

from speechbrain_dino.fold_files import PARTS, groups_of


def count_folds(folds, manifest, labels):
    """Counts the utterances and speakers of every part.

    Arguments
    ---------
    folds : list of Fold
        The folds.
    manifest : Manifest
        The utterances.
    labels : sequence of str
        The classes.

    Returns
    -------
    dict
        fold -> part -> class -> utterances; also "all" and "speakers".
    """
    emotions, speakers = manifest.column("emotion"), groups_of(manifest)
    result = {}
    for fold in folds:
        parts = result[fold.name] = {}
        for part in PARTS:
            rows = getattr(fold, part)
            found = Counter(emotions[rows])
            parts[part] = {label: found[label] for label in labels}
            parts[part] |= {"all": len(rows), "speakers": len(set(speakers[rows]))}
    return result


def table_of(counts, labels):
    """The counts as text.

    Arguments
    ---------
    counts : dict
        Of :func:`count_folds`.
    labels : sequence of str
        The classes.

    Returns
    -------
    str
        A line per fold and part.
    """
    columns = [*labels, "all", "speakers"]
    lines = [["fold", "part", *columns]]
    for fold, parts in counts.items():
        for part, found in parts.items():
            lines.append([fold, part, *(str(found[name]) for name in columns)])
    widths = [max(map(len, column)) for column in zip(*lines)]
    return "\n".join(
        "  ".join(
            text.ljust(width) if k < 2 else text.rjust(width)
            for k, (text, width) in enumerate(zip(line, widths))
        )
        for line in lines
    )
