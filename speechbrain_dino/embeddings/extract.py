"""Audio to a table of embeddings, in batches that change no result."""

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch

from speechbrain_dino.data.checks import LeftOut
from speechbrain_dino.embeddings.bad_audio import (
    OVERFLOW,
    Reader,
    check_on_bad,
    of_utterances,
)
from speechbrain_dino.embeddings.speech_features import with_vad
from speechbrain_dino.embeddings.table import EmbeddingTable
from speechbrain_dino.models.embedder import Embedder
from speechbrain_dino.models.features import move_constants
from speechbrain_dino.models.modes import evaluating
from speechbrain_dino.utils.precision import autocast, resolved_precision
from speechbrain_dino.utils.progress import progress

__all__ = ["Embedder", "EmbeddingTable", "embed", "embed_parts", "plan_batches"]

WINDOW_SECONDS = 120.0
"""Longer utterances are the mean of equal windows: memory has a bound."""


def embed(manifest, embedder, **options):
    """Embeds every utterance of a manifest, in its order, into an EmbeddingTable.

    The embedder is moved to ``device`` and left in the mode it was in; the options are
    those of `embed_parts`.

    Raises
    ------
    ValueError
        If the manifest is empty, audio does not have the length that the manifest
        gives, or an embedding is not finite; the message names the utterance.

    Example
    -------
    >>> import soundfile
    >>> from speechbrain.lobes.features import Fbank
    >>> from speechbrain_dino.models.encoders import LResNet34
    >>> from speechbrain_dino.models.features import MeanNorm
    >>> from speechbrain_dino.data.manifest import Manifest
    >>> wav = str(getfixture("tmp_path") / "a.wav")
    >>> soundfile.write(wav, np.random.rand(16000) - 0.5, 16000)
    >>> row = {"ID": "a", "duration": 1.0, "wav": wav, "start": 0, "stop": 16000}
    >>> embedder = Embedder(Fbank(n_mels=80), MeanNorm(), LResNet34())
    >>> embed(Manifest.from_rows([row]), embedder).vectors.shape
    (1, 256)
    """
    if not len(manifest):
        raise ValueError("the manifest is empty: there is nothing to embed")
    parts = [np.arange(len(manifest))]
    ((_, vectors, problems),) = embed_parts(manifest, parts, embedder, **options)
    bad = {int(row): problems[row] for row in np.flatnonzero(problems != "")}
    kept = rows_embedded(vectors)
    check_some_embedded(kept, bad, manifest)
    if len(kept) < len(vectors):
        vectors = vectors[kept]
    status = {manifest.ids[row]: problem for row, problem in bad.items()}
    return EmbeddingTable([manifest.ids[int(row)] for row in kept], vectors, status)


def rows_embedded(vectors):
    """Rows, int64 (n,), of vectors (N, D) that are embeddings: NaN stands for none."""
    if not vectors.shape[1]:
        return np.zeros(0, dtype=np.int64)
    return np.flatnonzero(~np.isnan(vectors[:, 0]))


def check_some_embedded(kept, bad, manifest):
    """Raises ValueError, with what is wrong, if no row was ``kept``.

    ``bad`` maps rows of the manifest to what is wrong with them.
    """
    if not len(kept):
        raise ValueError(
            "no utterance could be embedded:\n"
            f"{LeftOut.of((kind, manifest[row].wav) for row, kind in bad.items())}"
        )


def embed_parts(
    manifest,
    parts,
    embedder,
    device="cpu",
    batch_seconds=60.0,
    precision="fp32",
    max_seconds=None,
    window_seconds=WINDOW_SECONDS,
    workers=4,
    sample_rate=16000,
    on_bad=None,
    channel="mix",
):
    """Embeds sets of utterances, one set after the other.

    An utterance's embedding does not depend on the others: only utterances with
    the same number of feature frames share a batch (``Embedder.frames``), unless
    the encoder masks padding. The embedder is moved to ``device`` and left in the
    mode it was in.

    Arguments
    ---------
    manifest, embedder, device : Manifest, Embedder, str
    parts : sequence of int array
        Row numbers of each set.
    batch_seconds : float
        Upper bound of the audio in a batch, padding included, in seconds; a longer
        utterance is a batch of its own, so that 0 means one by one.
    precision : str
        Of the encoder: ``fp32``, ``bf16``, ``fp16`` (GPU) or ``auto``, which is the
        fastest that ``device`` computes; the features stay in fp32.
    max_seconds : float, optional
        Only the beginning of longer utterances is used; all of it if not given.
    window_seconds : float or None
        Longer utterances are cut into equal windows of at most this length; their
        embedding is the mean of the windows', without those that are silent. None:
        whole utterances.
    workers : int
        Threads that read audio ahead.
    sample_rate : int
        In Hz.
    on_bad : str, optional
        What becomes of utterances without usable audio (missing, unreadable, not
        finite, silent, shorter than 0.1 s): ``skip`` leaves them out, ``keep`` embeds
        those that can be embedded, ``fail`` raises. None: every utterance must give an
        embedding, and silence is not looked for.
    channel : str
        What to take of files with several: ``mix`` (their mean), ``left`` or ``right``.

    Yields
    ------
    number : int
        Position in ``parts``.
    vectors : numpy.ndarray, shape (len(part), D)
        float32, in the order of the part; NaN where there is no embedding.
    problems : numpy.ndarray, shape (len(part),)
        Of str: what is wrong with each utterance's audio, "" where nothing is.
    """
    check_on_bad(on_bad)
    if manifest.names_speech:
        # It names the speech: what is left would lose some once more.
        embedder = with_vad(embedder, False)
    precision = resolved_precision(precision, str(device))
    if window_seconds is not None and window_seconds <= 0:
        raise ValueError(
            f"window_seconds must be positive or None, was {window_seconds}"
        )
    lengths = np.asarray(manifest.lengths)
    if max_seconds is not None:
        lengths = np.minimum(lengths, round(max_seconds * sample_rate))
    window = round(window_seconds * sample_rate) if window_seconds else None
    plans = [_Pieces.of(np.asarray(rows), lengths, window) for rows in parts]
    max_samples = round(batch_seconds * sample_rate)
    jobs = [
        (pieces, batch)
        for pieces in plans
        for batch in pieces.batches(embedder, max_samples)
    ]
    reader = Reader(manifest, sample_rate, on_bad, channel)
    move_constants(embedder, device)
    with evaluating(embedder.to(device)):
        waves = _read_ahead(reader, jobs, workers)
        done = _embed_batches(embedder, reader, waves, device, precision)
        total = sum(len(pieces.rows) for pieces in plans)
        done = progress(done, total, "embedding", "utt" if window is None else "piece")
        for number, pieces in enumerate(plans):
            yield number, *pieces.mean(islice(done, len(pieces.rows)))


class _Pieces(NamedTuple):
    """Stretches of utterances, each embedded as one."""

    rows: np.ndarray  # row in the manifest, int64 (P,)
    owner: np.ndarray  # position in the part, int64 (P,)
    lo: np.ndarray  # first sample of the speech, int64 (P,)
    hi: np.ndarray

    @classmethod
    def of(cls, rows, lengths, window):
        lengths = lengths[rows]
        count = np.ones_like(lengths) if window is None else -(-lengths // window)
        owner = np.repeat(np.arange(len(rows)), count)
        number = np.arange(len(owner)) - np.repeat(np.cumsum(count) - count, count)
        lengths, count = lengths[owner], count[owner]
        lo, hi = number * lengths // count, (number + 1) * lengths // count
        return cls(rows[owner], owner, lo, hi)

    def batches(self, embedder, max_samples):
        lengths = self.hi - self.lo
        alike = embedder.masks_padding
        groups = np.zeros_like(lengths) if alike else embedder.frames(lengths)
        return plan_batches(lengths, groups, max_samples)

    def mean(self, done):
        """The mean over the good pieces of each utterance, and the problem of each."""
        vectors = None
        problems = np.full(len(self.rows), "", dtype=object)
        embedded = np.zeros(len(self.rows), dtype=bool)
        for piece, vector, problem in done:
            problems[piece], embedded[piece] = problem, vector is not None
            if vector is None:
                continue
            if vectors is None:
                vectors = np.zeros((len(self.rows), len(vector)), dtype=np.float32)
            vectors[piece] = vector
        problems, lost = of_utterances(problems, self.owner)
        if vectors is None:
            return np.zeros((len(problems), 0), dtype=np.float32), problems
        if len(problems) == len(vectors):
            mean = vectors
        else:
            first = np.searchsorted(self.owner, np.arange(len(problems)))
            count = np.maximum(np.add.reduceat(embedded.astype(np.int64), first), 1)
            mean = np.add.reduceat(vectors, first) / count[:, None].astype(np.float32)
        lost |= np.bincount(self.owner, embedded, len(problems)) == 0
        mean[lost] = np.nan
        return mean, problems


def plan_batches(lengths, groups, max_samples):
    """Divides utterances into batches, the longest first; returns their row numbers.

    Utterances of ``lengths`` (N,) samples share a batch only if their ``groups`` (N,)
    are equal, and (utterances x longest) is at most ``max_samples``.

    Example
    -------
    >>> [b.tolist() for b in plan_batches([5, 7, 5, 5, 9], [0, 1, 0, 0, 1], 10)]
    [[4], [1], [0, 2], [3]]
    """
    lengths, groups = np.asarray(lengths), np.asarray(groups)
    # Longest first, so that memory runs out at the start or never.
    order = np.lexsort((np.arange(len(lengths)), -lengths, -groups))
    batches, first = [], 0
    for last in range(1, len(order) + 1):
        if last < len(order):
            same = groups[order[last]] == groups[order[first]]
            if same and (last - first + 1) * lengths[order[first]] <= max_samples:
                continue
        batches.append(order[first:last])
        first = last
    return batches


def _read_ahead(reader, jobs, workers):
    """Yields (pieces, batch, what was read) while threads read what comes next."""

    def read(pieces, piece):
        return reader.read(*(int(x[piece]) for x in (pieces.rows, *pieces[2:])))

    with ThreadPoolExecutor(workers) as pool:
        waiting = deque()

        def next_done():
            pieces, batch, futures = waiting.popleft()
            return pieces, batch, [future.result() for future in futures]

        try:
            for pieces, batch in jobs:
                futures = [pool.submit(read, pieces, piece) for piece in batch]
                waiting.append((pieces, batch, futures))
                # One batch per thread keeps all of them busy with short batches too.
                if len(waiting) > workers:
                    yield next_done()
            while waiting:
                yield next_done()
        finally:
            pool.shutdown(cancel_futures=True)


@torch.no_grad()  # inference mode would leave tensors that training cannot use
def _embed_batches(embedder, reader, waves, device, precision):
    """Yields (number of the piece, embedding or None, problem or "") of every piece."""
    for pieces, batch, read in waves:
        for piece, (signal, problem) in zip(batch.tolist(), read):
            if signal is None:
                yield piece, None, problem
        batch = [
            k for k, (signal, _) in zip(batch.tolist(), read) if signal is not None
        ]
        read = [(signal, problem) for signal, problem in read if signal is not None]
        if not batch:
            continue
        lengths = torch.from_numpy(pieces.hi[batch] - pieces.lo[batch])
        padded = torch.zeros(len(batch), int(lengths.max()), dtype=torch.int16)
        for slot, (signal, _) in zip(padded, read):
            slot[: len(signal)] = torch.from_numpy(signal)
        wavs = padded.to(device).float() / 32768
        try:
            with autocast(device, precision):
                vectors = embedder(wavs, lengths)
        except RuntimeError:
            # Encoders of several layers cannot take a few frames.
            if not all(problem == "too_short" for _, problem in read):
                raise
            yield from ((piece, None, "too_short") for piece in batch)
            continue
        vectors = vectors.float().cpu()
        finite = torch.isfinite(vectors).all(dim=1).tolist()
        if not all(finite) and reader.on_bad is None:
            rows = pieces.rows[batch]
            names = [
                reader.manifest.ids[int(row)]
                for row, good in zip(rows, finite)
                if not good
            ]
            raise ValueError(
                f"the embedding of {names[0]!r} is not finite ({len(names)} of "
                f"{len(batch)} in its batch): the audio holds such values, or the "
                f"weights do, or {precision} overflowed"
            )
        for row, piece, vector, good, (_, problem) in zip(
            pieces.rows[batch].tolist(), batch, vectors.numpy(), finite, read
        ):
            if good:
                yield piece, vector, problem
            else:
                yield piece, None, reader.problem(row, OVERFLOW)
