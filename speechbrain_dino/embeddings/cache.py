"""Tables of embeddings on disk: computed in parts, never reused when stale."""

import hashlib
import json
import logging
import os
import shutil
from pathlib import Path

import numpy as np
from speechbrain.utils.distributed import (
    ddp_barrier,
    ddp_broadcast,
    get_rank,
    if_main_process,
)

from speechbrain_dino.embeddings.extract import embed_parts
from speechbrain_dino.embeddings.pretrained import weights_digest
from speechbrain_dino.embeddings.table import EmbeddingTable
from speechbrain_dino.utils.files import replacing
from speechbrain_dino.utils.precision import check_precision, resolved_precision

logger = logging.getLogger(__name__)

_RESULT = {"precision": "fp32", "max_seconds": None, "window_seconds": None}
_RESULT["sample_rate"] = 16000


def embed_to_folder(
    folder, manifest, embedder, digest=None, part_seconds=1800.0, **options
):
    """Embeds a manifest into a folder, or reuses the EmbeddingTable that lies there.

    A table is reused only if utterances, audio files (path, size, time of change),
    model and options are those it was made with. Otherwise it is computed in parts of
    equal audio, each written when done: a killed run resumes after its last part and
    ends with the same bits. With torchrun the processes share the parts. The matrix of
    the table returned is mapped, not copied, into memory.

    Arguments
    ---------
    folder : str or path
        Gets ``vectors.npy`` (float32, (N, D)), ``ids.txt`` and ``table.json``.
    manifest, embedder : Manifest, Embedder
    digest : str, optional
        What tells the model from others (``Pretrained.digest``); of its weights and
        settings if not given.
    part_seconds : float
        Audio in a part, in seconds.
    **options
        For ``embed_parts``: device, batch_seconds, precision ... A table is known by
        what ``auto`` became.

    Raises
    ------
    FileNotFoundError, ValueError
        If an audio file does not exist; as ``embed``.
    """
    folder = Path(folder)
    if not len(manifest):
        raise ValueError("the manifest is empty: there is nothing to embed")
    options["precision"] = _agreed_precision(**options)
    about = {
        "model": digest or weights_digest(embedder),
        "options": {name: options.get(name, _RESULT[name]) for name in _RESULT},
        "utterances": len(manifest),
        "audio": audio_digest(manifest),
    }
    if _saved(folder) == about:
        logger.info("%s holds these embeddings already", folder)
        return EmbeddingTable.load(folder)
    rate = about["options"]["sample_rate"]
    parts = plan_parts(manifest.lengths, round(part_seconds * rate))
    scratch = folder / f"parts-{_name({**about, 'part_seconds': part_seconds})}"
    if if_main_process():
        _clear(folder, scratch)
    _embed_own(scratch, parts, manifest, embedder, options)
    ddp_barrier()
    if if_main_process():
        _assemble(folder, scratch, parts, manifest.ids, about)
    ddp_barrier()
    return EmbeddingTable.load(folder)


def _agreed_precision(precision="fp32", device="cpu", **_):
    """The precision itself, never ``auto``: two machines' tables are distinguished."""
    check_precision(precision)
    if if_main_process():
        precision = resolved_precision(precision, str(device))
    return ddp_broadcast(precision)


def audio_digest(manifest):
    """Digest of utterances and their files' states; FileNotFoundError without one."""
    digest, wav = hashlib.blake2b(digest_size=16), None
    for row in range(len(manifest)):
        utterance = manifest[row]
        if utterance.wav != wav:  # segments of one file follow each other
            wav, state = utterance.wav, _state(utterance)
        speech = b"" if utterance.speech is None else utterance.speech.tobytes()
        about = (utterance.id, wav, *state, utterance.start, utterance.stop, speech)
        digest.update(repr(about).encode())
    return digest.hexdigest()


def _state(utterance):
    try:
        stat = os.stat(utterance.wav)
    except OSError as error:
        raise FileNotFoundError(
            f"the audio of {utterance.id!r} is not there: {utterance.wav} "
            f"({error.strerror}). Restore it, or take its row out of the manifest."
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


def _saved(folder):
    try:
        about = json.loads((folder / "table.json").read_text("utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    whole = all((folder / name).is_file() for name in ("vectors.npy", "ids.txt"))
    return {k: v for k, v in about.items() if k != "dimensions"} if whole else None


def _name(about):
    text = json.dumps(about, sort_keys=True).encode()
    return hashlib.blake2b(text, digest_size=8).hexdigest()


def _clear(folder, scratch):
    """Removes what belongs to other utterances, another model, other options."""
    if (folder / "table.json").is_file():
        logger.info("%s holds other embeddings: they are recomputed", folder)
        (folder / "table.json").unlink()
    for other in folder.glob("parts-*"):
        if other != scratch:
            shutil.rmtree(other, ignore_errors=True)


def _embed_own(scratch, parts, manifest, embedder, options):
    """Embeds the missing parts of this process."""
    world = int(os.environ.get("WORLD_SIZE", 1))
    own = range(get_rank() or 0, len(parts), world)
    left = [number for number in own if not _part(scratch, number).is_file()]
    if len(left) < len(own):
        logger.info("%d of %d parts are done already", len(own) - len(left), len(own))
    done = embed_parts(manifest, [parts[n] for n in left], embedder, **options)
    for position, vectors in done:
        with replacing(_part(scratch, left[position])) as draft:
            np.save(draft, vectors)


def _part(scratch, number):
    return scratch / f"{number:06d}.npy"


def _assemble(folder, scratch, parts, ids, about):
    width = np.load(_part(scratch, 0), mmap_mode="r").shape[1]
    with replacing(folder / "vectors.npy") as draft:
        vectors = np.lib.format.open_memmap(
            draft, "w+", dtype=np.float32, shape=(len(ids), width)
        )
        for number, rows in enumerate(parts):
            vectors[rows] = np.load(_part(scratch, number))
        vectors.flush()
        del vectors
    with (
        replacing(folder / "ids.txt") as draft,
        open(draft, "w", encoding="utf-8") as file,
    ):
        file.writelines(f"{name}\n" for name in ids)
    with replacing(folder / "table.json") as draft:
        text = json.dumps({**about, "dimensions": width}, indent=2)
        draft.write_text(text + "\n", "utf-8")
    shutil.rmtree(scratch)
