"""Trial lists: reading them, finding their embeddings, writing their scores."""

from typing import NamedTuple

import numpy as np

from speechbrain_dino.files import replacing


class Trials(NamedTuple):
    """A trial list: trial ``i`` stands in line ``i + 1`` of ``path``."""

    labels: np.ndarray
    """int8 (M,): 1 where both utterances have one speaker, else 0."""
    enrol: list
    """Names of the M enrolment utterances."""
    test: list
    """Names of the M test utterances."""
    path: str
    """The file, for messages."""


def read_trials(path):
    """Reads a trial list in VoxCeleb's form, ``label enrol test`` per line.

    Arguments
    ---------
    path : str or path
        The list; labels are 1 (one speaker) and 0 (two speakers).

    Returns
    -------
    Trials
        The trials in the order of the file.

    Raises
    ------
    ValueError
        If a line does not have three fields, a label is neither 0 nor 1, or the
        file is empty; the message names the file and the line.

    Example
    -------
    >>> path = getfixture("tmp_path") / "trials.txt"
    >>> _ = path.write_text("1 a.wav b.wav\\n0 a.wav c.wav\\n")
    >>> read_trials(path).test
    ['b.wav', 'c.wav']
    """
    labels, enrol, test = [], [], []
    with open(path, encoding="utf-8") as file:
        lines = file.read().rstrip().splitlines()
    if not lines:
        raise ValueError(f"{path}: the trial list is empty")
    for number, line in enumerate(lines, 1):
        fields = line.split()
        if len(fields) != 3 or fields[0] not in ("0", "1"):
            raise ValueError(
                f"{path}:{number}: expected 'label enrol test' with a label of 0 or "
                f"1, found {line[:200]!r}"
            )
        labels.append(fields[0] == "1")
        enrol.append(fields[1])
        test.append(fields[2])
    return Trials(np.array(labels, dtype=np.int8), enrol, test, str(path))


def trial_rows(table, trials):
    """Finds the utterances that the trials compare.

    Arguments
    ---------
    table : EmbeddingTable or speechbrain_dino.manifest.Manifest
        Anything with ``ids``.
    trials : Trials
        The trial list.

    Returns
    -------
    enrol : numpy.ndarray, shape (M,)
        Row numbers.
    test : numpy.ndarray, shape (M,)
        Row numbers.

    Raises
    ------
    ValueError
        If a trial names an utterance that is not there; the message names the line.
    """
    row_of = {name: row for row, name in enumerate(table.ids)}
    rows = []
    for names in (trials.enrol, trials.test):
        found = np.array([row_of.get(name, -1) for name in names], dtype=np.int64)
        missing = np.flatnonzero(found < 0)
        if len(missing):
            first = missing[0]
            raise ValueError(
                f"{trials.path}:{first + 1}: no utterance {names[first]!r} "
                f"({len(missing)} trials of this list name unknown ones on this "
                f"side); {len(table.ids)} are known, such as {table.ids[0]!r}"
            )
        rows.append(found)
    return rows[0], rows[1]


def write_scores(path, trials, scores):
    """Writes ``label enrol test score`` per line; the file appears when complete.

    Scores keep all their digits, so that figures computed from the file are those
    of the run.

    Arguments
    ---------
    path : str or path
        The file to write.
    trials : Trials
        The trial list.
    scores : numpy.ndarray, shape (M,)
        One score a trial.

    Raises
    ------
    ValueError
        If the numbers of trials and scores differ.
    """
    if len(scores) != len(trials.labels):
        raise ValueError(
            f"{trials.path} has {len(trials.labels)} trials, {len(scores)} scores "
            "were given"
        )
    texts = np.asarray(scores).astype(str).tolist()
    with replacing(path) as draft, open(draft, "w", encoding="utf-8") as file:
        for label, enrol, test, text in zip(
            trials.labels.tolist(), trials.enrol, trials.test, texts
        ):
            file.write(f"{label} {enrol} {test} {text}\n")
