"""What a file of audio is: read once, in parallel, remembered."""

import hashlib
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import soundfile as sf
from speechbrain.utils.parallel import get_available_cpu_count, parallel_map

from speechbrain_dino.data.audio_source import (
    BadAudio,
    decoding,
    file_problem,
    is_cut,
    is_for_av,
)
from speechbrain_dino.data.file_notes import Ledger
from speechbrain_dino.data.joined import edges_of, has_tail
from speechbrain_dino.data.vad import energy_vad
from speechbrain_dino.utils.ending import end_with_parent
from speechbrain_dino.utils.progress import progress

_BLOCK = 1 << 20
_SERIAL = 64

# What libsndfile reads from any sample on, with the length that the header says.
_FORMATS = ("WAV", "WAVEX", "RF64", "FLAC")
_SHORT = ("PCM_S8", "PCM_U8", "PCM_16", "ULAW", "ALAW")
_WIDE = ("PCM_24", "PCM_32", "FLOAT", "DOUBLE")

QUIET = 0.01
"""Peak, of full scale, below which 16 bits are too few for what holds more (-40 dB)."""


class Facts(NamedTuple):
    """What is known of an audio file.

    Arguments
    ---------
    frames, rate, channels : int
        Samples per channel, sampling rate in Hz, number of channels.
    problem : str
        "missing", "denied", "special", "empty", "unreadable", "non_finite", "silent";
        "" if none.
    digest : str
        Hash of the samples whatever the container, "" if they were not read.
    speech : str or None
        Runs of speech as "start-stop;start-stop", None if not looked for.
    codec : str
        Format and subtype as libsndfile names them, such as "WAV/PCM_16".
    peak : float
        Of full scale; only of files with more than 16 bits, which are always read.
    source_rate : int
        Hz of the file that this one was converted from, 0 if it was not.
    notes : str
        What reading or conversion met with, keys of ``checks.NOTES``, with commas.
    """

    frames: int = 0
    rate: int = 0
    channels: int = 0
    problem: str = ""
    digest: str = ""
    speech: str | None = None
    codec: str = ""
    peak: float = 0.0
    source_rate: int = 0
    notes: str = ""

    @property
    def seekable(self):
        """Whether training can read the file in place, from any sample on."""
        format, _, subtype = self.codec.partition("/")
        return format in _FORMATS and subtype in _SHORT + _WIDE

    @property
    def wide(self):
        """Whether the samples have more than 16 bits."""
        return self.codec.endswith(_WIDE)


def map_parallel(function, items, num_workers, desc, unit="files"):
    """Applies a picklable function in parallel, in order, showing progress.

    A generator of one result per item. Few items are done in this process;
    ``num_workers`` of None is one per processor.
    """
    num_workers = num_workers or get_available_cpu_count()
    shown = {"total": len(items), "desc": desc, "unit": unit}
    if num_workers == 1 or len(items) < _SERIAL:
        yield from progress(map(function, items), **shown)
        return
    with _executor(num_workers) as executor:
        results = parallel_map(
            function,
            items,
            process_count=num_workers,
            chunk_size=16,
            queue_size=64 * num_workers,
            executor=executor,
            progress_bar=False,
        )
        yield from progress(results, **shown)


def _executor(num_workers):
    """Processes, which end with this one, where they are forked; threads elsewhere.

    A process that is spawned imports the user's script again, and fails in one without
    a main guard; decoding lets other threads run.
    """
    # ``get_start_method()`` alone would fix the method for the caller's program.
    method = multiprocessing.get_start_method(allow_none=True)
    if (method or multiprocessing.get_all_start_methods()[0]) == "fork":
        return ProcessPoolExecutor(num_workers, initializer=end_with_parent)
    return ThreadPoolExecutor(num_workers)


def inspect(job):
    """Facts of one file; a job is (path, whether to read samples, to run VAD)."""
    path, full, vad = job
    problem = file_problem(path)
    if problem:
        return Facts(problem=problem)
    if os.path.getsize(path) == 0:
        return Facts(problem="empty")
    try:
        with decoding(path), sf.SoundFile(path) as file:
            codec = f"{file.format}/{file.subtype}"
            facts = Facts(file.frames, file.samplerate, file.channels, codec=codec)
            if facts.frames == 0:
                return facts._replace(problem="empty")
            facts = facts._replace(notes=length_note(path, full))
            wanted = facts.seekable and (full or vad or facts.wide)
            return _read_samples(file, facts, full or vad, vad) if wanted else facts
    except BadAudio as error:
        return _of_unreadable(path, str(error))


def _of_unreadable(path, problem):
    """Facts of what libsndfile does not read; conversion may."""
    try:
        if problem == "unreadable" and is_for_av(path):
            return Facts(codec="AV")
        if problem == "unreadable" and length_note(path) == "joined":
            return Facts(codec="joined", notes="joined")  # as a WAV
    except BadAudio as error:
        problem = str(error)
    return Facts(problem=problem)


def length_note(path, full=True):
    """What a file's length gives rise to note, a key of ``checks.NOTES``, or "".

    Without ``full`` what is not declared is not searched for.
    """
    if is_cut(path):
        return "length"
    if len(edges_of(path, full)) > 2:
        return "joined"
    return "trailing" if has_tail(path) else ""


def _read_samples(file, facts, full, vad):
    """Reads the samples: hash, range, speech."""
    digest = hashlib.blake2b(digest_size=8)
    low, high, peak, read, kept = np.inf, -np.inf, 0.0, 0, []
    while len(block := file.read(_BLOCK, dtype="float32" if facts.wide else "int16")):
        if facts.wide:
            if not np.isfinite(block).all():
                return facts._replace(problem="non_finite")
            peak = max(peak, float(np.abs(block).max()))
            scaled = np.clip(np.rint(block * 32768.0), -32768, 32767)
            block = scaled.astype(np.int16)
        digest.update(np.ascontiguousarray(block))
        low, high = min(low, block.min()), max(high, block.max())
        read += len(block)
        if vad and facts.channels == 1:
            kept.append(block)
    facts = facts._replace(digest=digest.hexdigest() if full else "", peak=peak)
    if read < facts.frames:
        return facts._replace(problem="unreadable")
    if is_silent(low, high):
        return facts._replace(problem="silent")
    if kept:
        runs = energy_vad(np.concatenate(kept), facts.rate).tolist()
        facts = facts._replace(speech=";".join(f"{a}-{b}" for a, b in runs))
    return facts


def is_silent(low, high):
    """Whether samples of 16 bits from ``low`` to ``high`` hold no sound.

    Dither moves digital silence by one step; speech moves it by hundreds.
    """
    return int(high) - int(low) <= 2


def look_up(paths, full, vad, num_workers=None, ledger=None):
    """Facts of files, in order, read only where the ledger does not have them.

    Arguments
    ---------
    full, vad : bool
        Whether to read the samples, else headers only; whether to look for speech.
    num_workers : int, optional
        Number of processes, one per processor if None.
    ledger : str or Path, optional
        Where facts are kept from run to run; nowhere if None.
    """
    if ledger is None:
        jobs = [(path, full, vad) for path in paths]
        return list(map_parallel(inspect, jobs, num_workers, "checking audio"))
    facts_of = {}
    with Ledger(ledger) as notes:
        for path in paths:
            note = notes.get(path)
            if _current(note) and _enough(facts := Facts(*note), full, vad):
                facts_of[path] = facts
        jobs = [(path, full, vad) for path in paths if path not in facts_of]
        fresh = map_parallel(inspect, jobs, num_workers, "checking audio")
        for (path, _, _), facts in zip(jobs, fresh):
            notes.put(path, facts)
            facts_of[path] = facts
    return [facts_of[path] for path in paths]


def _current(note):
    """Whether a note has all that is noted today."""
    return isinstance(note, list) and len(note) == len(Facts._fields)


def _enough(facts, full, vad):
    if facts.problem:
        # These may have passed without a change of the file: a mount, a right.
        return facts.problem not in ("missing", "denied", "unreadable")
    was_read = bool(facts.digest) or not full
    searched = facts.speech is not None or facts.channels != 1 or not vad
    return was_read and searched
