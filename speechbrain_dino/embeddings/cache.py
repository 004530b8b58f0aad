"""Tables of embeddings on disk: computed in parts, never reused when stale."""

import hashlib
import json
import logging
import os
from pathlib import Path

import numpy as np
from speechbrain.utils.distributed import (
    ddp_barrier,
    ddp_broadcast,
    get_rank,
    if_main_process,
)

from speechbrain_dino.embeddings.bad_audio import check_on_bad, first_failure
from speechbrain_dino.embeddings.extract import (
    WINDOW_SECONDS,
    check_some_embedded,
    embed_parts,
    rows_embedded,
)
from speechbrain_dino.embeddings.parts import Parts, remove_parts
from speechbrain_dino.embeddings.pretrained import weights_digest
from speechbrain_dino.embeddings.table import (
    IDS,
    STATUS,
    TABLE,
    VECTORS,
    EmbeddingTable,
    checksums,
    read_about,
    write_ids,
    write_status,
)
from speechbrain_dino.utils.checked_json import read_json
from speechbrain_dino.utils.files import replacing
from speechbrain_dino.utils.ownership import claim, read_mark
from speechbrain_dino.utils.precision import check_precision, resolved_precision

logger = logging.getLogger(__name__)

_RESULT = {"precision": "fp32", "max_seconds": None, "sample_rate": 16000}
_RESULT |= {"window_seconds": WINDOW_SECONDS, "channel": "mix"}


def embed_to_folder(
    folder,
    manifest,
    embedder,
    digest=None,
    part_seconds=1800.0,
    left_out=None,
    file_of=None,
    **options,
):
    """Embeds a manifest into a folder, or reuses the EmbeddingTable that lies there.

    A table is reused only if utterances, audio files (path, size, time of change),
    model and options are those it was made with, and its files those that were
    written. Otherwise it is computed in parts of equal audio, each written when done: a
    killed run resumes after its last part and ends with the same bits. With torchrun
    the processes share the parts. The matrix of the table returned is mapped, not
    copied, into memory.

    Arguments
    ---------
    folder : str or path
        Gets ``vectors.npy`` (float32, (N, D)), ``ids.txt``, ``table.json`` and, with
        ``on_bad``, ``status.csv``: ID, wav, status of utterances with bad audio.
    manifest, embedder : Manifest, Embedder
    digest : str, optional
        What tells the model from others (``Pretrained.digest``); of its weights and
        settings if not given.
    part_seconds : float
        Audio in a part, in seconds.
    left_out : list of tuple, optional
        (ID, file, kind) of bad audio that is not in the manifest, for the status.
    file_of : callable, optional
        Gives the user's file of a row, for the status, where the manifest names a copy.
    **options
        For ``embed_parts``: device, batch_seconds, precision, on_bad ... A table is
        known by what ``auto`` became.

    Raises
    ------
    FileNotFoundError, ValueError
        If an audio file does not exist and ``on_bad`` is not given; as ``embed``.
    """
    folder, on_bad = Path(folder), options.get("on_bad")
    check_on_bad(on_bad)
    if not len(manifest):
        raise ValueError("the manifest is empty: there is nothing to embed")
    options["precision"] = _agreed_precision(**options)
    about = {
        "model": digest or weights_digest(embedder),
        "options": {name: options.get(name, _RESULT[name]) for name in _RESULT},
        "utterances": len(manifest),
        "audio": audio_digest(manifest, on_bad),
    }
    if on_bad is not None:
        about["bad_audio"] = "keep" if on_bad == "keep" else "skip"
        about["left_out"] = _name(left_out or [])
    if _saved(folder) == about:
        logger.info("%s holds these embeddings already", folder)
        return _checked(EmbeddingTable.load(folder), on_bad)
    rate = about["options"]["sample_rate"]
    plan = plan_parts(manifest.lengths, round(part_seconds * rate))
    parts = Parts(folder, _name({**about, "part_seconds": part_seconds}))
    if if_main_process():
        take_folder(folder)
        _clear(folder, parts)
    ddp_barrier()
    _embed_own(parts, plan, manifest, embedder, options)
    ddp_barrier()
    if if_main_process():
        name_file = file_of or (lambda row: manifest[row].wav)
        _assemble(folder, parts, plan, manifest, about, left_out or [], name_file)
    ddp_barrier()
    return _checked(EmbeddingTable.load(folder), on_bad)


def take_folder(folder):
    """Claims the folder of a table, see ``ownership.claim``; before long work.

    NotOwnedError if something of the user's, or of another command, is in the way.
    """
    names = (VECTORS, IDS, STATUS, TABLE)
    if Path(folder).is_dir() and read_mark(folder) is None and _made_before(folder):
        names = ()
    claim(folder, "embedding", names)


def _made_before(folder):
    """Whether a version of this program that left no mark made the table there."""
    try:
        about = read_json(Path(folder) / TABLE)
    except (OSError, ValueError):
        return False
    return isinstance(about, dict) and {"model", "options", "audio"} <= about.keys()


def _checked(table, on_bad):
    if on_bad == "fail" and table.status:
        raise ValueError(first_failure(table.status))
    return table


def _agreed_precision(precision="fp32", device="cpu", **_):
    """The precision itself, never ``auto``: two machines' tables are distinguished."""
    check_precision(precision)
    if if_main_process():
        precision = resolved_precision(precision, str(device))
    return ddp_broadcast(precision)


def audio_digest(manifest, on_bad=None):
    """Digest of utterances and their files' states.

    FileNotFoundError without one of the files, unless bad audio may be left out.
    """
    digest, wav = hashlib.blake2b(digest_size=16), None
    for row in range(len(manifest)):
        utterance = manifest[row]
        if utterance.wav != wav:  # segments of one file follow each other
            wav, state = utterance.wav, _state(utterance, on_bad)
        speech = b"" if utterance.speech is None else utterance.speech.tobytes()
        about = (utterance.id, wav, *state, utterance.start, utterance.stop, speech)
        digest.update(repr(about).encode())
    return digest.hexdigest()


def _state(utterance, on_bad):
    try:
        stat = os.stat(utterance.wav)
    except (OSError, ValueError) as error:
        if on_bad in ("skip", "keep"):
            return -1, -1
        raise FileNotFoundError(
            f"the audio of {utterance.id!r} is not there: {utterance.wav} "
            f"({error}). Restore it, or take its row out of the manifest."
        ) from error
    return stat.st_size, stat.st_mtime_ns


def plan_parts(lengths, part_samples):
    """Divides utterances into parts of about equal audio, the longest first.

    ``lengths`` (N,) and ``part_samples`` are in samples; a part is an array of rows.

    Example
    -------
    >>> [part.tolist() for part in plan_parts(np.array([5, 9, 5, 5]), 10)]
    [[1, 0], [2, 3]]
    """
    order = np.argsort(-lengths, kind="stable")
    before = np.cumsum(lengths[order]) - lengths[order]
    edges = np.flatnonzero(np.diff(before // part_samples)) + 1
    return np.split(order, edges)


_OF_RESULT = ("dimensions", "problems", "checksums")


def _saved(folder):
    """What the whole table in a folder was made of; None if there is none."""
    try:
        about = read_about(folder)
    except ValueError as error:
        logger.warning("%s; the embeddings are recomputed", error)
        return None
    return about and {k: v for k, v in about.items() if k not in _OF_RESULT}


def _name(about):
    text = json.dumps(about, sort_keys=True).encode()
    return hashlib.blake2b(text, digest_size=8).hexdigest()


def _clear(folder, parts):
    """Removes what belongs to other utterances, another model, other options."""
    if (folder / TABLE).is_file():
        logger.info("%s holds other embeddings: they are recomputed", folder)
        (folder / TABLE).unlink()
    remove_parts(folder, but=parts)


def _embed_own(parts, plan, manifest, embedder, options):
    """Embeds the missing parts of this process."""
    parts.create()
    world = int(os.environ.get("WORLD_SIZE", 1))
    own = range(get_rank() or 0, len(plan), world)
    left = [number for number in own if not parts.whole(number, len(plan[number]))]
    if len(left) < len(own):
        logger.info("%d of %d parts are done already", len(own) - len(left), len(own))
    done = embed_parts(manifest, [plan[n] for n in left], embedder, **options)
    for position, vectors, problems in done:
        parts.write(left[position], vectors, problems)


def _assemble(folder, parts, plan, manifest, about, left_out, file_of):
    """Puts the parts together: the table without rows that have no embedding."""
    kept, bad, width = np.zeros(len(manifest), dtype=bool), {}, 0
    for number, rows in enumerate(plan):
        vectors = parts.vectors(number)
        kept[rows[rows_embedded(vectors)]] = True
        width = max(width, vectors.shape[1])
        bad |= {int(rows[k]): kind for k, kind in parts.problems(number).items()}
    check_some_embedded(np.flatnonzero(kept), bad, manifest)
    place = np.cumsum(kept) - 1
    with replacing(folder / "vectors.npy") as draft:
        matrix = np.lib.format.open_memmap(
            draft, "w+", dtype=np.float32, shape=(int(kept.sum()), width)
        )
        for number, rows in enumerate(plan):
            vectors, of_kept = parts.vectors(number), kept[rows]
            if of_kept.any():
                matrix[place[rows[of_kept]]] = vectors[of_kept]
        matrix.flush()
        del matrix
    write_ids(folder, (manifest.ids[int(row)] for row in np.flatnonzero(kept)))
    (folder / STATUS).unlink(missing_ok=True)
    if "bad_audio" in about:
        of_manifest = [
            (manifest.ids[row], file_of(row), bad[row]) for row in sorted(bad)
        ]
        write_status(folder, [*left_out, *of_manifest])
    whole = {**about, "dimensions": width, "problems": len(bad) + len(left_out)}
    whole["checksums"] = checksums(folder)
    with replacing(folder / TABLE) as draft:
        draft.write_text(json.dumps(whole, indent=2) + "\n", "utf-8")
    parts.remove()
