"""What all corpora share: listing, checking, converting, and writing the CSVs.

Every ``prepare_<corpus>`` takes:

* save_folder: where manifest, ``prepare.json`` and converted audio are written;
* sample_rate: Hz; audio of another rate, format or number of channels is converted
  once into ``save_folder/audio``;
* min_duration: seconds below which an utterance is left out;
* check: "full" reads all samples once, "headers" only what the files declare;
* num_workers: processes, one per processor if None.

It does nothing as long as arguments and files stay as they are, and returns
prepare.json: {"kept": utterances, "hours": h, "left_out": {kind: {"count", "example",
"remedy"}}, ...}.
"""

import hashlib
import json
import logging
import os
import stat
from pathlib import Path
from typing import NamedTuple

import speechbrain_dino
from speechbrain_dino.corpora.convert import AV_EXTENSIONS, convert_all
from speechbrain_dino.data.audio_facts import QUIET, look_up
from speechbrain_dino.data.audio_source import name_problem
from speechbrain_dino.data.checks import LeftOut
from speechbrain_dino.utils.checked_json import (
    DamagedFileError,
    file_digest,
    read_checked,
    write_checked,
)
from speechbrain_dino.utils.ownership import claim
from speechbrain_dino.utils.refusals import keep_files

logger = logging.getLogger(__name__)

IN_PLACE = (".wav", ".wave", ".flac")
_SNDFILE = (".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif", ".au", ".caf", ".w64")
AUDIO = (*IN_PLACE, *_SNDFILE, ".sph", *AV_EXTENSIONS)

_LONGEST = 255  # bytes in the name of a file


class Source(NamedTuple):
    """A file of a corpus."""

    id: str  # name in the training manifest
    name: str  # path within the corpus, with "/"
    path: str  # absolute
    size: int  # bytes, -1 for a missing file
    changed: int  # ns of the last change, -1 for a missing file
    order: tuple  # place in the manifest; carries no information on the speaker
    spk_id: str | None = None  # where the corpus has one
    split: str | None = None  # where the corpus has any


def list_files(folder, left_out, outputs=()):
    """Returns the audio files at any depth below a folder, through links as well.

    Each as (path relative to the folder with "/", absolute path, bytes, ns of the last
    change), sorted. A folder that is reached in several ways goes by its own name, then
    by the first link to it. ``left_out`` takes hidden files, such as macOS's
    ``._name.wav``, names that cannot stand in a list, and what is no regular file.
    Converted copies are not searched.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist.
    ValueError
        If it is one of the folders ``outputs``, which may lie in it.
    """
    root = os.path.abspath(folder)
    if not os.path.isdir(root):
        raise FileNotFoundError(
            f"{folder} is no folder: give the folder that holds the audio files"
        )
    if os.path.realpath(root) in map(os.path.realpath, outputs):
        raise ValueError(
            f"{folder} holds the audio files, and the output would go into it: give "
            "another output folder"
        )
    visited, waiting, links, files = set(), [root], [], []
    while waiting or links:
        # Links last, so that no folder goes by the name of a link to it.
        here = waiting.pop() if waiting else links.pop(0)
        real = os.path.realpath(here)
        if real in visited:
            continue
        visited.add(real)
        with os.scandir(here) as entries:
            entries = sorted(entries, key=lambda entry: entry.name)
        if here != root and _holds_copies(entries):
            continue
        for entry in entries:
            if _is_folder(entry):
                if not entry.name.startswith("."):
                    (links if entry.is_symlink() else waiting).append(entry.path)
            elif entry.name.lower().endswith(AUDIO):
                if entry.name.startswith("."):
                    left_out.add("hidden", entry.path)
                elif (file := _describe(entry, root, left_out)) is not None:
                    files.append(file)
        links.sort()
    return sorted(files)


def _is_folder(entry):
    try:
        return entry.is_dir()
    except OSError:  # a link to itself: the check will call it missing
        return False


def _holds_copies(entries):
    """Whether a folder is one of ours; others have such a mark as well."""
    marks = [entry.path for entry in entries if entry.name == CONVERTED]
    return any(_MARK in Path(m).read_text("utf-8", "ignore") for m in marks)


def _describe(entry, root, left_out):
    name = entry.path.removeprefix(os.path.join(root, "")).replace(os.sep, "/")
    if name_problem(name):
        left_out.add("name", entry.path)
        return None
    try:
        state = entry.stat()
    except OSError:
        # A link to nowhere: the check will call it missing.
        return (name, entry.path, -1, -1)
    if not stat.S_ISREG(state.st_mode):
        left_out.add("special", entry.path)
        return None
    return (name, entry.path, state.st_size, state.st_mtime_ns)


CONVERTED = "CACHEDIR.TAG"
"""Marks a folder of copies, https://bford.info/cachedir/: no data of its own."""

_MARK = """Signature: 8a477f597d28d172789f06886806bc55
# Copies of audio that speechbrain_dino converted; they can be made again.
"""


SUMMARY = "prepare.json"
_MANY = 1e15  # more of nothing is counted
_COUNTED = ("left_out", "remarks", "skipped", "trained_on")
_KINDS = {
    **dict.fromkeys((*_COUNTED, "trials", "tested_on", "arguments", "digests"), dict),
    **dict.fromkeys(("kept", "hours", "test", "converted"), (int, float)),
}
_LEDGERS = ("checks.jsonl", "converted.jsonl")
_KEPT = ("audio", *_LEDGERS)


def read_summary(folder):
    """Returns the summary, a dict, that a preparation left in its folder.

    Raises
    ------
    FileNotFoundError
        If the folder has none.
    DamagedFileError
        If it is not what was written.

    Example
    -------
    >>> folder = getfixture("tmp_path")
    >>> job = Preparation(folder, {"check": "full"}, files=[], outputs=[])
    >>> _ = job.finish({"kept": 7})
    >>> read_summary(folder)["kept"]
    7
    """
    path = Path(folder) / SUMMARY
    if not path.is_file():
        raise FileNotFoundError(
            f"{folder} has no {SUMMARY}: prepare the corpus there to its end first"
        )
    summary = _read(path, "prepare the corpus again")
    summary.pop("digests", None)  # of the files, for the next preparation
    return summary


def _read(path, remedy):
    """A summary whose parts are of the types that are written."""
    summary = read_checked(path, remedy)
    for name, kinds in _KINDS.items():
        value = summary.get(name)
        odd = value is not None and not isinstance(value, kinds)
        if not odd and name in _COUNTED:
            odd = not all(isinstance(one, dict) for one in (value or {}).values())
        if not odd and isinstance(value, int | float):
            odd = isinstance(value, bool) or not abs(value) < _MANY
        if odd:
            raise DamagedFileError(
                f"{path} is damaged, its {name} is {str(value)[:80]!r}: {remedy}"
            )
    return summary


class Preparation:
    """One preparation of a corpus: done once for given arguments and files.

    Arguments
    ---------
    save_folder : str or Path
    arguments : dict
        What the result depends on, as JSON holds it.
    files : iterable of tuple
        (path, bytes, ns of the last change) of every file that it depends on.
    outputs : sequence of str
        Names of the files that it writes.
    summary : str
        Name of the file that it writes last.
    """

    def __init__(self, save_folder, arguments, files, outputs, summary=SUMMARY):
        self.folder = Path(save_folder)
        self.outputs = outputs
        self.summary = self.folder / summary
        self.arguments = json.loads(json.dumps(arguments))
        digest = hashlib.blake2b(speechbrain_dino.__version__.encode(), digest_size=16)
        for file in files:
            digest.update(repr(tuple(file)).encode())
        self.signature = digest.hexdigest()

    def previous(self):
        """Returns the summary of an equal earlier preparation, removes another's.

        Raises NotOwnedError if the folder holds something of the same name that no
        preparation wrote, ValueError if what one wrote was changed since.
        """
        summary = {}
        try:
            summary = _read(self.summary, "the corpus is prepared again")
        except FileNotFoundError:
            pass
        except DamagedFileError as error:
            logger.warning("%s", error)
        # Those of an earlier version have no mark.
        prepared = "signature" in summary
        names = () if prepared else (self.summary.name, *self.outputs, *_KEPT)
        claim(self.folder, "preparation", names)
        same = summary.get("signature") == self.signature
        same = same and summary.get("arguments") == self.arguments
        if same and all((self.folder / name).exists() for name in self.outputs):
            self._check_outputs(summary.pop("digests", {}))
            logger.info("%s is prepared already", self.folder)
            return summary
        if prepared:
            keep_files(self.folder, [self.summary.name, *self.outputs, *_LEDGERS])
        self.summary.unlink(missing_ok=True)
        return None

    def _check_outputs(self, digests):
        for name in self.outputs:
            path = self.folder / name
            if name in digests and file_digest(path) != digests[name]:
                raise ValueError(
                    f"{path} is damaged or was changed since it was prepared: remove "
                    "it to have the corpus prepared again, or give another "
                    "data_save_folder"
                )

    def finish(self, summary):
        """Writes the summary, which makes the preparation valid, and returns it."""
        summary |= {"arguments": self.arguments, "signature": self.signature}
        written = [n for n in self.outputs if (self.folder / n).is_file()]
        digests = {name: file_digest(self.folder / name) for name in written}
        write_checked(self.summary, {**summary, "digests": digests})
        return summary


def usable_audio(
    sources, save_folder, sample_rate, full, vad, num_workers, channel=None
):
    """Makes every file 16-bit mono of one rate where it is not, and checks it.

    Arguments
    ---------
    sources : list of Source
    save_folder : Path
        Converted files go into its folder "audio".
    sample_rate : int
        In Hz.
    full, vad : bool
        Whether to read the samples, whether to look for speech.
    num_workers : int or None
        Number of processes, one per processor if None.
    channel : int, optional
        Channel to take of files with several; their mean if None.

    Returns
    -------
    list of tuple
        Per source the path to read and its Facts.
    """

    def converted(chosen):
        if chosen:
            _mark(save_folder / "audio")
        copies = save_folder / "audio"
        jobs = [(s.path, str(copies / _copy_name(s.name))) for s in chosen]
        ledger = save_folder / "converted.jsonl"
        results = convert_all(jobs, ledger, sample_rate, channel, num_workers)
        return [(*job, result) for job, result in zip(jobs, results)]

    def facts_of(paths):
        ledger = save_folder / "checks.jsonl"
        return zip(paths, look_up(paths, full, vad, num_workers, ledger))

    in_place = [s for s in sources if s.path.lower().endswith(IN_PLACE)]
    done = converted([s for s in sources if not s.path.lower().endswith(IN_PLACE)])
    facts = dict(facts_of([s.path for s in in_place]))
    done += converted([s for s in in_place if _differs(facts[s.path], sample_rate)])
    facts |= facts_of([target for _, target, result in done if not result.problem])
    final = {}
    for path, target, result in done:
        if result.problem:
            facts[path] = result
            continue
        final[path] = target
        about = {"source_rate": result.source_rate, "notes": result.notes}
        facts[target] = facts[target]._replace(**about)
    paths = [final.get(s.path, s.path) for s in sources]
    audio = [(path, facts[path]) for path in paths]
    remarks = remarks_on(zip([s.path for s in sources], audio))
    if str(remarks):
        logger.warning("Used with these remarks:\n%s", remarks)
    return audio


def remarks_on(audio):
    """Counts what conversion met with, of (file, (path to read, Facts)) each."""
    remarks = LeftOut()
    for file, (_, facts) in audio:
        for kind in filter(None, facts.notes.split(",")):
            remarks.add(kind, file)
    return remarks


def _differs(facts, sample_rate):
    """Whether a file cannot be read in place."""
    if facts.problem:
        return False
    level = facts.wide and not QUIET <= facts.peak <= 1
    wrong = (facts.rate, facts.channels) != (sample_rate, 1)
    return wrong or level or facts.notes == "joined" or not facts.seekable


def _mark(folder):
    """Says of a folder that it holds copies, so that no search takes them for data."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / CONVERTED).exists():
        (folder / CONVERTED).write_text(_MARK, encoding="utf-8")


def _copy_name(name):
    """The name of a converted copy, short enough for a file system."""
    folder, file = os.path.split(f"{name}.wav")
    if len(os.fsencode(file)) > _LONGEST:
        digest = hashlib.blake2b(os.fsencode(file), digest_size=8).hexdigest()
        file = os.fsencode(file)[: _LONGEST - 24].decode("utf-8", "ignore")
        file = f"{file}-{digest}.wav"
    return os.path.join(folder, file)
