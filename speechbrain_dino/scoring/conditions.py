"""Metadata of utterances: speaker, session, gender ..."""

import os

import numpy as np
import pandas as pd


def read_metadata(path):
    """Reads a table (CSV or tabs) with a line per utterance or speaker, all as text.

    Raises ValueError if the file is no table, FileNotFoundError if there is none.
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(
            f"metadata: {path} is no file: give a table with a line per utterance or "
            "speaker"
        )
    try:
        with open(path, encoding="utf-8-sig") as file:
            head = file.readline()
            file.seek(0)
            separator = "\t" if "\t" in head else ","
            table = pd.read_csv(file, sep=separator, dtype=str, keep_default_na=False)
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise ValueError(f"{path} is no table with a header: {error}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no text in UTF-8: {error}") from error
    table.columns = [str(name).strip() for name in table.columns]
    return table.apply(lambda column: column.str.strip())


def describe(ids, speakers=None, metadata=None):
    """Joins utterances with their metadata; a row each, empty text where unknown.

    The key is the metadata's column that names most of the utterances (by their path
    or the end of it, whatever the format) or else most of the speakers. What
    is the same in all lines of a speaker holds for utterances that have no line. A
    column ``speaker`` of metadata per utterance replaces the speakers given.

    Raises ValueError if no column of the metadata names an utterance or a speaker.

    Arguments
    ---------
    ids : sequence of str
        Such as ``id10270/x6uYqmx31kE/00001.wav``; three parts name a session.
    speakers : sequence of str, optional
        The first part of the name if not given.
    metadata : pandas.DataFrame, optional
        See `read_metadata`.

    Example
    -------
    >>> meta = pd.DataFrame({"VoxCeleb1 ID": ["id1", "id2"], "Gender": ["m", "f"]})
    >>> describe(["id2/s/1.wav", "id1/s/1.wav"], metadata=meta)["gender"].tolist()
    ['f', 'm']
    """
    ids = [str(name) for name in ids]
    if speakers is None:
        speakers = [name.split("/")[0] for name in ids]
    table = pd.DataFrame({"ID": ids, "speaker": [str(name) for name in speakers]})
    parts = [name.split("/") for name in ids]
    if all(len(part) == 3 for part in parts):
        table["session"] = ["/".join(part[:2]) for part in parts]
    if metadata is None:
        return table
    utterances = table["ID"].map(_key)
    by_utterance = {
        n: metadata[n].map(_key).isin(set(utterances)).sum() for n in metadata
    }
    best = max(by_utterance, key=by_utterance.get)
    rows = _rows(ids, metadata[best])
    by_utterance[best] = (rows >= 0).sum()
    if by_utterance[best] and "speaker" in metadata and best != "speaker":
        given = _values(metadata["speaker"], rows)
        table["speaker"] = given.where(given != "", table["speaker"])
    names = set(table["speaker"])
    by_speaker = {n: metadata[n].isin(names).sum() for n in metadata}
    speaker_key = max(by_speaker, key=by_speaker.get)
    if not by_utterance[best] and not by_speaker[speaker_key]:
        raise ValueError(
            f"no column of the metadata ({', '.join(metadata)}) names an "
            f"utterance such as {ids[0]!r} or a speaker such as {speakers[0]!r}"
        )
    hits = ((best, by_utterance[best]), (speaker_key, by_speaker[speaker_key]))
    keys = {name for name, number in hits if number}
    for name in metadata:
        if name in keys:
            continue
        values = _values(metadata[name], rows)
        if by_speaker[speaker_key]:
            own = _of_speakers(metadata, speaker_key, name)
            values = values.where(values != "", table["speaker"].map(own).fillna(""))
        if name.lower() not in table:
            table[name.lower()] = values
    return table


def _rows(ids, names):
    """The row of each utterance in a column of names, -1 where there is none."""
    rows_of = {}
    for row, name in enumerate(names):
        rows_of.setdefault(_key(name), []).append((row, _stem(name)))
    return np.array([_row(_stem(name), rows_of.get(_key(name), ())) for name in ids])


def _row(stem, candidates):
    """The row whose path is an utterance's, or alone ends like it or in it."""
    ends = [
        (row, other)
        for row, other in candidates
        if f"/{stem}".endswith(f"/{other}") or f"/{other}".endswith(f"/{stem}")
    ]
    same = [row for row, other in ends if other == stem]
    if same or len({other for _, other in ends}) == 1:
        return same[0] if same else ends[0][0]
    return -1


def _values(column, rows):
    """A column's texts at these rows, "" at row -1."""
    texts = column.to_numpy(dtype=object)
    return pd.Series([texts[row] if row >= 0 else "" for row in rows], dtype=object)


def _of_speakers(metadata, key, name):
    """The value of each speaker who has only one."""
    first = metadata.drop_duplicates([key, name])
    alone = ~first[key].duplicated(keep=False)
    return first[alone].set_index(key)[name]


def _key(name):
    """Speaker/session/utterance of a path, whatever lies before and its format."""
    return "/".join(_stem(name).split("/")[-3:])


def _stem(name):
    return os.path.splitext(str(name))[0]


def categories(table, most=8):
    """Names of columns with 2 to ``most`` values; never speaker, session or ID."""
    return [
        name
        for name in table
        if name not in ("ID", "speaker", "session", "seconds")
        and 1 < table.loc[table[name] != "", name].nunique() <= most
    ]


def trial_conditions(table, enrol, test):
    """Sorts trials by the metadata of their two sides, rows (M,) of `describe`'s table.

    Returns condition -> text (M,), "" where unknown: for each category the value of
    both sides ("f") or "different"; ``session`` same or different; ``duration`` of the
    shorter side, where the table has a column ``seconds``.
    """
    enrol, test = np.asarray(enrol), np.asarray(test)
    kinds = {}
    for name in categories(table):
        values = table[name].to_numpy(dtype=object)
        left, right = values[enrol], values[test]
        pair = np.where(left == right, left, "different")
        kinds[name] = np.where((left == "") | (right == ""), "", pair).astype(str)
    if "session" in table:
        session = table["session"].to_numpy(dtype=object)
        kinds["session"] = np.where(
            session[enrol] == session[test], "same", "different"
        )
    if "seconds" in table:
        seconds = table["seconds"].to_numpy(dtype=float)
        shorter = np.minimum(seconds[enrol], seconds[test])
        names = ("< 2 s", "2-4 s", "4-8 s", "8-16 s", ">= 16 s")
        kinds["duration"] = np.array(names)[np.digitize(shorter, [2, 4, 8, 16])]
    # A condition that all trials share does not divide them.
    return {name: kind for name, kind in kinds.items() if len(set(kind)) > 1}
