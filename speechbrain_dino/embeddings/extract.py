"""Audio to a table of embeddings, in batches that change no result."""

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch

from speechbrain_dino.data.audio import read_span
from speechbrain_dino.embeddings.speech_features import with_vad
from speechbrain_dino.embeddings.table import EmbeddingTable
from speechbrain_dino.models.embedder import Embedder
from speechbrain_dino.models.features import move_constants
from speechbrain_dino.models.modes import evaluating
from speechbrain_dino.utils.precision import autocast, resolved_precision
from speechbrain_dino.utils.progress import progress

__all__ = ["Embedder", "EmbeddingTable", "embed", "embed_parts", "plan_batches"]


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
    ((_, vectors),) = embed_parts(manifest, parts, embedder, **options)
    return EmbeddingTable(manifest.ids, vectors)


def embed_parts(
    manifest,
    parts,
    embedder,
    device="cpu",
    batch_seconds=60.0,
    precision="fp32",
    max_seconds=None,
    window_seconds=None,
    workers=4,
    sample_rate=16000,
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
    window_seconds : float, optional
        Longer utterances are cut into equal windows of at most this length; their
        embedding is the mean of the windows'. Whole utterances if not given.
    workers : int
        Threads that read audio ahead.
    sample_rate : int
        In Hz.

    Yields
    ------
    number : int
        Position in ``parts``.
    vectors : numpy.ndarray, shape (len(part), D)
        float32, in the order of the part.
    """
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
    move_constants(embedder, device)
    with evaluating(embedder.to(device)):
        waves = _read_ahead(manifest, jobs, workers)
        done = _embed_batches(embedder, manifest.ids, waves, device, precision)
        total = sum(len(pieces.rows) for pieces in plans)
        done = progress(done, total, "embedding", "utt" if window is None else "piece")
        for number, pieces in enumerate(plans):
            yield number, pieces.mean(islice(done, len(pieces.rows)))


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
        """The mean over the pieces of each utterance."""
        vectors = None
        for piece, vector in done:
            if vectors is None:
                vectors = np.zeros((len(self.rows), len(vector)), dtype=np.float32)
            vectors[piece] = vector
        count = np.bincount(self.owner)
        if len(count) == len(vectors):
            return vectors
        first = np.cumsum(count) - count
        return np.add.reduceat(vectors, first) / count[:, None].astype(np.float32)


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


def _read_ahead(manifest, jobs, workers):
    """Yields (pieces, batch, int16 waveforms) while threads read what comes next."""

    def read(pieces, piece):
        utterance = manifest[int(pieces.rows[piece])]
        try:
            return read_span(utterance, int(pieces.lo[piece]), int(pieces.hi[piece]))
        except ValueError as error:
            raise ValueError(f"utterance {utterance.id!r}: {error}") from error

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
def _embed_batches(embedder, ids, waves, device, precision):
    """Yields (number of the piece, embedding) of every piece."""
    for pieces, batch, signals in waves:
        lengths = torch.from_numpy(pieces.hi[batch] - pieces.lo[batch])
        padded = torch.zeros(len(batch), int(lengths.max()), dtype=torch.int16)
        for slot, signal in zip(padded, signals):
            slot[: len(signal)] = torch.from_numpy(signal)
        wavs = padded.to(device).float() / 32768
        with autocast(device, precision):
            vectors = embedder(wavs, lengths)
        vectors = vectors.float().cpu()
        finite = torch.isfinite(vectors).all(dim=1)
        if not finite.all():
            rows = pieces.rows[batch]
            names = [ids[int(row)] for row, good in zip(rows, finite) if not good]
            raise ValueError(
                f"the embedding of {names[0]!r} is not finite ({len(names)} of "
                f"{len(batch)} in its batch): the audio holds such values, or the "
                f"weights do, or {precision} overflowed"
            )
        yield from zip(batch.tolist(), vectors.numpy())
