"""Audio to a table of embeddings, in batches that change no result."""

from collections import deque
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from speechbrain_dino.audio import read_utterance
from speechbrain_dino.embedder import Embedder
from speechbrain_dino.embedding_table import EmbeddingTable
from speechbrain_dino.progress import progress

__all__ = ["Embedder", "EmbeddingTable", "embed", "plan_batches"]


def embed(
    manifest,
    embedder,
    device="cpu",
    batch_seconds=60.0,
    precision="fp32",
    max_seconds=None,
    workers=4,
    sample_rate=16000,
):
    """Embeds every utterance of a manifest.

    An utterance's embedding does not depend on the others: only utterances with
    the same number of feature frames share a batch (``Embedder.frames``), unless
    the encoder masks padding. The embedder is left in the mode it was in.

    Arguments
    ---------
    manifest : speechbrain_dino.manifest.Manifest
        The utterances.
    embedder : Embedder
        Moved to ``device``.
    device : str
        Where to compute.
    batch_seconds : float
        Upper bound of the audio in a batch, padding included, in seconds; a longer
        utterance is a batch of its own.
    precision : str
        ``fp32`` or ``bf16`` (autocast); the features stay in fp32.
    max_seconds : float, optional
        Only the beginning of longer utterances is used; all of it if not given.
    workers : int
        Threads that read audio ahead.
    sample_rate : int
        Samples in a second.

    Returns
    -------
    EmbeddingTable
        In the order of the manifest.

    Raises
    ------
    ValueError
        If the manifest is empty, audio does not have the length that the manifest
        says, or an embedding is not finite; the message names the utterance.

    Example
    -------
    >>> import soundfile
    >>> from speechbrain.lobes.features import Fbank
    >>> from speechbrain_dino.encoders import LResNet34
    >>> from speechbrain_dino.features import MeanNorm
    >>> from speechbrain_dino.manifest import Manifest
    >>> wav = str(getfixture("tmp_path") / "a.wav")
    >>> soundfile.write(wav, np.random.rand(16000) - 0.5, 16000)
    >>> row = {"ID": "a", "duration": 1.0, "wav": wav, "start": 0, "stop": 16000}
    >>> embedder = Embedder(Fbank(n_mels=80), MeanNorm(), LResNet34())
    >>> embed(Manifest.from_rows([row]), embedder).vectors.shape
    (1, 256)
    """
    if precision not in ("fp32", "bf16"):
        raise ValueError(f"precision must be 'fp32' or 'bf16', was {precision!r}")
    lengths = _lengths(manifest, max_seconds, sample_rate)
    batches = plan_batches(
        lengths,
        np.zeros_like(lengths) if embedder.masks_padding else embedder.frames(lengths),
        round(batch_seconds * sample_rate),
    )
    ids, vectors = list(manifest.ids), None
    modes = {module: module.training for module in embedder.modules()}
    embedder.to(device).eval()
    try:
        waves = _read_ahead(manifest, lengths, batches, workers)
        done = _embed_batches(embedder, ids, lengths, waves, device, precision)
        for row, vector in progress(done, len(ids), "embedding", "utt"):
            if vectors is None:
                vectors = np.empty((len(ids), len(vector)), dtype=np.float32)
            vectors[row] = vector
    finally:
        for module, training in modes.items():
            module.training = training
    return EmbeddingTable(ids, vectors)


def _lengths(manifest, max_seconds, sample_rate):
    """Samples of each utterance to embed, int64 (N,)."""
    lengths = np.asarray(manifest.lengths)
    if not len(lengths):
        raise ValueError("the manifest is empty: there is nothing to embed")
    if max_seconds is not None:
        lengths = np.minimum(lengths, round(max_seconds * sample_rate))
    return lengths


def plan_batches(lengths, groups, max_samples):
    """Divides utterances into batches, the longest first.

    Arguments
    ---------
    lengths : int array, shape (N,)
        Samples of the utterances.
    groups : int array, shape (N,)
        Utterances share a batch only if these are equal.
    max_samples : int
        Bound of (utterances x longest) in a batch of more than one.

    Returns
    -------
    list of numpy.ndarray
        Row numbers; each row is in exactly one batch.

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


def _read_ahead(manifest, lengths, batches, workers):
    """Yields (row numbers, int16 waveforms) while threads read what comes next."""

    def read(row):
        return read_utterance(manifest[int(row)])[: lengths[row]]

    with ThreadPoolExecutor(workers) as pool:
        waiting = deque()
        for batch in batches:
            waiting.append((batch, [pool.submit(read, row) for row in batch]))
            # One batch per thread keeps all of them busy with short batches too.
            if len(waiting) > workers:
                rows, futures = waiting.popleft()
                yield rows, [future.result() for future in futures]
        for rows, futures in waiting:
            yield rows, [future.result() for future in futures]


@torch.no_grad()  # inference mode would leave tensors that training cannot use
def _embed_batches(embedder, ids, lengths, waves, device, precision):
    """Yields (row number, embedding) of every utterance."""
    device_type = torch.device(device).type
    for rows, signals in waves:
        padded = torch.zeros(len(rows), int(lengths[rows].max()), dtype=torch.int16)
        for slot, row, signal in zip(padded, rows, signals):
            if len(signal) != lengths[row]:
                raise ValueError(
                    f"utterance {ids[row]!r} has {len(signal)} samples, its manifest "
                    f"says {lengths[row]}: prepare the data again"
                )
            slot[: len(signal)] = torch.from_numpy(signal)
        wavs = padded.to(device).float() / 32768
        with torch.autocast(device_type, torch.bfloat16, enabled=precision == "bf16"):
            vectors = embedder(wavs, torch.from_numpy(lengths[rows]))
        vectors = vectors.float().cpu()
        finite = torch.isfinite(vectors).all(dim=1)
        if not finite.all():
            names = [ids[row] for row, good in zip(rows, finite) if not good]
            raise ValueError(
                f"the embedding of {names[0]!r} is not finite ({len(names)} of "
                f"{len(rows)} in its batch): the audio holds such values, or the "
                "weights do, or bf16 overflowed"
            )
        yield from zip(rows.tolist(), vectors.numpy())
