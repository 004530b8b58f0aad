"""Trial lists and score files: reading, finding embeddings, writing."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from speechbrain_dino.utils.files import replacing


class Trials(NamedTuple):
    """A trial list: trial ``i`` stands in line ``i + 1`` of ``path``."""

    labels: np.ndarray | None
    """int8 (M,): 1 where both utterances have one speaker, else 0; None where the
    list keeps the answers back."""
    enrol: list
    """Names of the M enrollment utterances."""
    test: list
    """Names of the M test utterances."""
    path: str
    """The file, for messages."""


LABELS = {"0": 0, "1": 1, "nontarget": 0, "target": 1}
_DIGITS = {"0": 0, "1": 1}
_WORDS = {"nontarget": 0, "target": 1}
# Order matters: the first form that the first line fits is that of the file.
_TRIAL_FORMS = (
    (("enrol", "test", "label"), _WORDS),
    (("label", "enrol", "test"), _DIGITS),
    (("enrol", "test"), None),
)
_SCORE_FORMS = (
    (("enrol", "test", "score", "label"), _WORDS),
    (("label", "enrol", "test", "score"), _DIGITS),
    (("enrol", "test", "score"), None),
)


def read_trials(path):
    """Reads a trial list; the form is recognized by its first line.

    Forms: VoxCeleb's ``label enrol test`` with labels 1 (one speaker) and 0 (two
    speakers), Kaldi's and wespeaker's ``enrol test target|nontarget``, and
    ``enrol test`` of challenges that keep the labels back (VoxSRC). Fields are set
    apart by spaces or tabs; names that contain spaces need tabs.

    Raises
    ------
    ValueError
        If a line does not have the form of the first one or the file is empty; the
        message names the file and the line.

    Example
    -------
    >>> path = getfixture("tmp_path") / "trials.txt"
    >>> _ = path.write_text("1 a.wav b.wav\\n0 a.wav c.wav\\n")
    >>> read_trials(path).test
    ['b.wav', 'c.wav']
    """
    columns, labels = _read_columns(path, _TRIAL_FORMS, "the trial list")
    return Trials(labels, columns["enrol"], columns["test"], str(path))


def read_scores(path):
    """Reads trials and scores, float64 (M,), of ``write_scores`` or another toolkit.

    Forms: ``label enrol test score`` with labels 1 and 0, wespeaker's ``enrol test
    score target|nontarget``, and ``enrol test score`` without labels. Raises ValueError
    as :func:`read_trials`, and at a score that is not a finite number.
    """
    columns, labels = _read_columns(path, _SCORE_FORMS, "the score file")
    trials = Trials(labels, columns["enrol"], columns["test"], str(path))
    scores = np.array([_number(text) for text in columns["score"]])
    bad = np.flatnonzero(~np.isfinite(scores))
    if len(bad):
        raise ValueError(
            f"{path}:{bad[0] + 1}: expected a finite number as score, found "
            f"{columns['score'][bad[0]]!r} ({len(bad)} lines like this)"
        )
    return trials, scores


def _number(text):
    try:
        return float(text)
    except ValueError:
        return np.nan


def _read_columns(path, forms, what):
    """{field: texts} and labels (None without) of a file in one of the forms."""
    text = _text_of(path)
    lines = text.splitlines()
    if not lines:
        raise ValueError(f"{path}: {what} is empty")
    # Names with spaces are possible where tabs set the fields apart.
    for separator in (None, "\t") if "\t" in text else (None,):
        columns = _split(text, lines, separator, forms)
        if columns is not None:
            return columns
    form = _recognize(lines[0].split(), forms)
    by_tabs = _recognize(lines[0].split("\t"), forms)
    separator = "\t" if by_tabs and form in (None, by_tabs) else None
    form = form or by_tabs
    _raise_first_bad(path, lines, separator, [form] if form else forms)


def _text_of(path):
    with open(path, "rb") as file:
        content = file.read()
    try:
        return content.decode("utf-8-sig").rstrip()  # Windows writes a mark first
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"{path}:{line}: expected text in UTF-8, found the byte "
            f"0x{content[error.start]:02x}: convert the file, such as with iconv"
        ) from error


def _split(text, lines, separator, forms):
    """Columns and labels of a file all of whose lines have the first one's form."""
    form = _recognize(lines[0].split(separator), forms)
    if form is None or {len(line.split(separator)) for line in lines} != {len(form[0])}:
        return None
    fields, label_of = form
    # All lines at once, without a list per line to keep, is fast.
    flat = text.split() if separator is None else separator.join(lines).split(separator)
    if separator is not None:
        flat = [field.strip() for field in flat]
    if not all(flat):
        return None
    columns = {field: flat[i :: len(fields)] for i, field in enumerate(fields)}
    if label_of is None:
        return columns, None
    if not set(columns["label"]) <= label_of.keys():
        return None
    labels = [label_of[label] for label in columns["label"]]
    return columns, np.array(labels, dtype=np.int8)


def _recognize(row, forms):
    row = [text.strip() for text in row]
    for fields, label_of in forms:
        if (
            all(row)
            and len(row) == len(fields)
            and (label_of is None or row[fields.index("label")] in label_of)
        ):
            return fields, label_of
    return None


def _raise_first_bad(path, lines, separator, forms):
    rows = (line.split(separator) for line in lines)
    bad = next(i for i, row in enumerate(rows) if _recognize(row, forms) is None)
    expected = ", or ".join(
        f"'{' '.join(fields)}'"
        + (f" with a label of {' or '.join(label_of)}" if label_of else "")
        for fields, label_of in forms
    )
    as_before = " as in line 1" if bad else ""
    raise ValueError(
        f"{path}:{bad + 1}: expected {expected}{as_before}, found {lines[bad][:200]!r}"
    )


def trial_labels(values, path):
    """Labels, int8 (M,), of what a table holds: 1 or 0, true or false, target or not.

    Raises ValueError, with ``path``, at anything else: -1, 2, NaN.

    Example
    -------
    >>> trial_labels(["target", 0, True, 1.0], "mine").tolist()
    [1, 0, 1, 1]
    """
    values = list(values)
    # True == 1 == 1.0, whatever type a table gave them.
    labels = [value if value in (0, 1) else LABELS.get(str(value)) for value in values]
    bad = [number for number, label in enumerate(labels) if label is None]
    if bad:
        raise ValueError(
            f"{path} has the label {values[bad[0]]!r} in row {bad[0] + 1}: expected "
            "1 or target (one speaker), 0 or nontarget (two)"
        )
    return np.array(labels, dtype=np.int8)


def check_both_kinds(trials):
    """Raises ValueError if a list with labels has trials of one kind alone.

    Example
    -------
    >>> check_both_kinds(Trials(np.array([1]), ["a"], ["b"], "mine.txt"))
    Traceback (most recent call last):
    ValueError: mine.txt: all trials are target trials (one speaker): an error rate \
needs nontarget trials as well; without labels the list gets scores alone
    """
    if trials.labels is None or len(set(trials.labels.tolist())) == 2:
        return
    own, other = (
        ("target", "nontarget") if trials.labels[0] else ("nontarget", "target")
    )
    speakers = "one speaker" if trials.labels[0] else "two speakers"
    raise ValueError(
        f"{trials.path}: all trials are {own} trials ({speakers}): an error rate needs "
        f"{other} trials as well; without labels the list gets scores alone"
    )


def read_lists(trial_lists):
    """Reads files of ``label enrol test`` lines: ``{name without the ending: Trials}``.

    Raises ValueError if none is given, one is malformed or has labels of one kind, or
    two have one name.
    """
    lists = {}
    for path in map(Path, trial_lists):
        if path.stem in lists:
            raise ValueError(
                f"two trial lists are called {path.stem!r}, {lists[path.stem].path} "
                f"and {path}: their scores would go to one file, rename one"
            )
        lists[path.stem] = read_trials(path)
        check_both_kinds(lists[path.stem])
    if not lists:
        raise ValueError("no trial list was given: name at least one file")
    return lists


def trial_rows(table, trials):
    """Row numbers (M,) in a table's ``ids``, of enrollment and of test utterances.

    Raises ValueError, with the line, if a trial names an utterance that is not there.
    """
    row_of = {name: row for row, name in enumerate(table.ids)}
    rows = []
    for names in (trials.enrol, trials.test):
        numbers = np.array([row_of.get(name, -1) for name in names], dtype=np.int64)
        missing = np.flatnonzero(numbers < 0)
        if len(missing):
            first = missing[0]
            raise ValueError(
                f"{trials.path}:{first + 1}: no utterance {names[first]!r} "
                f"({len(missing)} trials of this list name unknown ones on this "
                f"side); {len(table.ids)} are known, such as {table.ids[0]!r}"
            )
        rows.append(numbers)
    return rows[0], rows[1]


def leave_out(trials, names):
    """Trials without those of some utterances, and which were kept, bool (M,).

    Example
    -------
    >>> trials = Trials(np.array([1, 0]), ["a", "a"], ["b", "c"], "list.txt")
    >>> rest, kept = leave_out(trials, {"c": "silent"})
    >>> rest.test, kept.tolist()
    (['b'], [True, False])
    """
    sides = zip(trials.enrol, trials.test)
    kept = np.array([a not in names and b not in names for a, b in sides], dtype=bool)
    labels = None if trials.labels is None else trials.labels[kept]
    enrol, test = (
        [name for name, good in zip(side, kept) if good]
        for side in (trials.enrol, trials.test)
    )
    return trials._replace(labels=labels, enrol=enrol, test=test), kept


def write_trials(path, trials):
    """Writes ``label enrol test`` per line, ``enrol test`` where labels are unknown."""
    _write_lines(path, trials, [])


def write_scores(path, trials, scores):
    """Writes ``label enrol test score`` per line; the file appears when complete.

    Scores (M,) keep all their digits, so that metrics computed from the file are those
    of the run. Trials without labels give ``enrol test score``. Raises ValueError if
    the numbers of trials and scores differ.
    """
    if len(scores) != len(trials.enrol):
        raise ValueError(
            f"{trials.path} has {len(trials.enrol)} trials, {len(scores)} scores "
            "were given"
        )
    _write_lines(path, trials, [np.asarray(scores).astype(str).tolist()])


def _write_lines(path, trials, more):
    columns = [trials.enrol, trials.test, *more]
    if trials.labels is not None:
        columns.insert(0, map(str, trials.labels.tolist()))
    names = {*trials.enrol, *trials.test}
    separator = "\t" if any(" " in name for name in names) else " "
    with replacing(path) as draft, open(draft, "w", encoding="utf-8") as file:
        file.writelines(separator.join(fields) + "\n" for fields in zip(*columns))
