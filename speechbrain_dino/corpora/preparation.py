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
from pathlib import Path
from typing import NamedTuple

import speechbrain_dino
from speechbrain_dino.corpora.convert import AV_EXTENSIONS, convert_all
from speechbrain_dino.data.audio_facts import Facts, look_up
from speechbrain_dino.utils.files import replacing

logger = logging.getLogger(__name__)

IN_PLACE = (".wav", ".flac")
AUDIO = (*IN_PLACE, ".ogg", ".opus", ".mp3", *AV_EXTENSIONS)


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


def list_files(folder, left_out, skip=()):
    """Returns the audio files at any depth below a folder, through links as well.

    Each as (path relative to the folder with "/", absolute path, bytes, ns of the last
    change), sorted. ``left_out`` takes hidden files, such as macOS's ``._name.wav``;
    the folders ``skip`` are not searched.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist.
    """
    root = os.path.abspath(folder)
    if not os.path.isdir(root):
        raise FileNotFoundError(
            f"{folder} is no folder: give the folder that holds the audio files"
        )
    visited = {os.path.realpath(path) for path in skip}
    stack, files = [root], []
    while stack:
        here = stack.pop()
        real = os.path.realpath(here)
        if real in visited:
            continue
        visited.add(real)
        with os.scandir(here) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                if entry.is_dir():
                    if not entry.name.startswith("."):
                        stack.append(entry.path)
                elif entry.name.lower().endswith(AUDIO):
                    if entry.name.startswith("."):
                        left_out.add("hidden", entry.path)
                    else:
                        files.append(_describe(entry, root))
    return sorted(files)


def _describe(entry, root):
    name = entry.path.removeprefix(os.path.join(root, "")).replace(os.sep, "/")
    try:
        stat = entry.stat()
    except OSError:
        # A link to nowhere: the check will call it missing.
        return (name, entry.path, -1, -1)
    return (name, entry.path, stat.st_size, stat.st_mtime_ns)


SUMMARY = "prepare.json"


def read_summary(folder):
    """Returns the summary, a dict, that a preparation left in its folder.

    Raises
    ------
    FileNotFoundError
        If the folder has none.

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
    return json.loads(path.read_text(encoding="utf-8"))


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
        """Returns the summary of an equal earlier preparation, removes another's."""
        try:
            summary = json.loads(self.summary.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            summary = {}
        same = summary.get("signature") == self.signature
        same = same and summary.get("arguments") == self.arguments
        if same and all((self.folder / name).exists() for name in self.outputs):
            logger.info("%s is prepared already", self.folder)
            return summary
        self.summary.unlink(missing_ok=True)
        self.folder.mkdir(parents=True, exist_ok=True)
        return None

    def finish(self, summary):
        """Writes the summary, which makes the preparation valid, and returns it."""
        summary |= {"arguments": self.arguments, "signature": self.signature}
        with replacing(self.summary) as draft:
            draft.write_text(json.dumps(summary, indent=2), encoding="utf-8")
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
        jobs = [(s.path, str(save_folder / "audio" / f"{s.name}.wav")) for s in chosen]
        ledger = save_folder / "converted.jsonl"
        problems = convert_all(jobs, ledger, sample_rate, channel, num_workers)
        return [(*job, problem) for job, problem in zip(jobs, problems)]

    def facts_of(paths):
        ledger = save_folder / "checks.jsonl"
        return zip(paths, look_up(paths, full, vad, num_workers, ledger))

    in_place = [s for s in sources if s.path.lower().endswith(IN_PLACE)]
    done = converted([s for s in sources if not s.path.lower().endswith(IN_PLACE)])
    facts = dict(facts_of([s.path for s in in_place]))
    done += converted([s for s in in_place if _differs(facts[s.path], sample_rate)])
    facts |= facts_of([target for _, target, problem in done if not problem])
    final = {}
    for path, target, problem in done:
        if problem:
            facts[path] = Facts(problem=problem)
        else:
            final[path] = target
    paths = [final.get(s.path, s.path) for s in sources]
    return [(path, facts[path]) for path in paths]


def _differs(facts, sample_rate):
    return not facts.problem and (facts.rate, facts.channels) != (sample_rate, 1)
