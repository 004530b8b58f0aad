"""IEMOCAP, as it is distributed.

Busso et al., "IEMOCAP: Interactive emotional dyadic motion capture database",
Language Resources and Evaluation 42, 2008. https://sail.usc.edu/iemocap/
"""

import logging
import os
from collections import Counter

from speechbrain_dino.corpora.emotion import prepare_emotion
from speechbrain_dino.corpora.emotion_labels import LabelsLeftOut, choose_classes
from speechbrain_dino.corpora.iemocap_labels import (
    CODES,
    SCRIPTS,
    SESSIONS,
    find_turns,
)
from speechbrain_dino.folds import leave_one_group_out

logger = logging.getLogger(__name__)

_COLUMNS = {"speaker": "spk_id", "session": "session"}


def prepare_iemocap(
    data_folder,
    save_folder,
    classes=("angry", "happy", "neutral", "sad"),
    merge_excited=True,
    script="all",
    leave_out="session",
    validation="speaker",
    allow_missing=False,
    sample_rate=16000,
    min_duration=0.3,
    check="full",
    num_workers=None,
):
    """Writes the manifest and the folds of IEMOCAP.

    Labels are the raters' majority in ``SessionN/dialog/EmoEvaluation/*.txt``, audio
    is ``SessionN/sentences/wav/<dialog>/<turn>.wav``. The speaker is the one of the
    turn (``Ses01F_impro01_M003`` is said by Ses01M), not of the dialog's name.

    The manifest has the columns emotion, gender, session, script (improvised,
    scripted), valence, arousal and dominance (raters' means, 1 to 5).

    Preparing again does nothing as long as arguments and files stay as they are.

    Arguments
    ---------
    data_folder : str
        Folder that holds Session1 to Session5, or IEMOCAP_full_release with them.
    save_folder : str
        Where utterances.csv, folds.json and prepare.json are written.
    classes : str or sequence of str
        Emotions to keep, or "all": those with a name (not xxx and oth).
    merge_excited : bool
        Whether excited turns count as happy (5,531 turns in the usual four classes).
    script : str
        "all", or "improvised" or "scripted" for only such dialogs.
    leave_out : str
        What a fold tests on: "session" (5 folds) or "speaker" (10 folds).
    validation : str
        What is held out of the rest: "speaker" (one of the next session, a woman and
        a man in turn) or "session" (the whole next one). With leave_out "speaker":
        "speaker" is the next speaker, "session" the other one of the same session.
    allow_missing : bool
        Whether to go on without turns or audio that the release has.
    sample_rate : int
        Samples a second.
    min_duration : float
        Seconds below which an utterance is left out.
    check : str
        "full" reads all samples once, "headers" only what the files say.
    num_workers : int, optional
        Number of processes, one per processor if None.

    Returns
    -------
    dict
        {"kept": utterances, "hours": h, "left_out": {kind: {"count", "example",
        "remedy"}}, "classes", "folds": {fold: {part: {class: n}}}, ...}, as in
        prepare.json.

    Raises
    ------
    ValueError
        If a label file has an unknown code or a line of another form, or turns or
        audio are missing.
    FileNotFoundError
        If there is no session.
    """
    for name, value, known in (
        ("script", script, ("all", *SCRIPTS.values())),
        ("leave_out", leave_out, _COLUMNS),
        ("validation", validation, _COLUMNS),
    ):
        if value not in known:
            raise ValueError(f"{name}={value!r}: expected one of {', '.join(known)}")
    codes = {code: name for code, (name, _) in CODES.items()}
    if merge_excited:
        codes["exc"] = codes["hap"]
    arguments = {
        "corpus": "iemocap",
        "data_folder": os.path.abspath(data_folder),
        "classes": choose_classes(classes, codes.values()),
        "merge_excited": merge_excited,
        "script": script,
        "leave_out": leave_out,
        "validation": validation,
        "allow_missing": allow_missing,
        "sample_rate": sample_rate,
        "min_duration": min_duration,
        "check": check,
        "num_workers": num_workers,
    }
    left_out = LabelsLeftOut()
    tables, items = find_turns(data_folder, codes, left_out)
    _check_complete(items, codes, allow_missing)
    chosen = []
    for item in items:
        if script in ("all", item.columns["script"]):
            chosen.append(item)
        else:
            remedy = f"none needed: script: {script} leaves such dialogs out"
            left_out.add(item.columns["script"], item.source.path, remedy)
    labels = arguments["classes"]

    def folds(manifest):
        column, held = _COLUMNS[leave_out], _COLUMNS[validation]
        how = (
            f"leave one {leave_out} out, validation on one {validation} of the "
            "others, nobody in two parts of a fold"
        )
        return leave_one_group_out(manifest, column, held, labels), how

    return prepare_emotion(chosen, tables, folds, save_folder, left_out, arguments)


def _check_complete(items, codes, allow_missing):
    """Compares with the release: a corpus that lost a part shows nowhere else."""
    expected = {f"Session{number}": turns for number, turns in SESSIONS.items()}
    for code, (_, turns) in CODES.items():
        expected[codes[code]] = expected.get(codes[code], 0) + turns
    found = Counter(item.columns["session"] for item in items)
    found += Counter(item.emotion for item in items)
    wrong = [
        f"{name}: {found[name]} of {turns} turns"
        for name, turns in expected.items()
        if found[name] != turns
    ]
    if not wrong:
        return
    message = (
        f"IEMOCAP has {sum(SESSIONS.values())} labelled turns, here are {len(items)}:"
        "\n  " + "\n  ".join(wrong)
    )
    if not allow_missing:
        raise ValueError(
            f"{message}\nExtract the whole release, or go on with allow_missing: True"
        )
    logger.warning("%s", message)
