"""Energy-based voice activity detection, as in Kaldi's speaker recipes.

A frame of 25 ms every 10 ms is loud if the log of its energy, on the scale of
16-bit samples and without its mean, exceeds ``5.5 + 0.5 * mean log energy``. A frame
counts as speech if at least 12 % of the frames within two frames of it are loud.

Source: Kaldi's ``ivector/voice-activity-detection.cc`` with the settings of
``egs/voxceleb/v2/conf/vad.conf``.
"""

import math

import numpy as np

THRESHOLD = 5.5
MEAN_SCALE = 0.5
PROPORTION = 0.12
CONTEXT = 2
FRAME_SECONDS = 0.025
HOP_SECONDS = 0.010


def log_energies(samples, sample_rate=16000):
    """Log energy of every frame of 25 ms, one every 10 ms, without its mean.

    Of int16 (T,): float64 (N,), N = 1 + (T - frame) // hop, or none where T < frame.

    Example
    -------
    >>> log_energies(np.array([3, -3] * 200, dtype=np.int16)).round(3).tolist()
    [8.189]
    """
    frame = round(FRAME_SECONDS * sample_rate)
    hop = round(HOP_SECONDS * sample_rate)
    # Frames and hops are whole numbers of units: each sample is summed once, exactly.
    unit = math.gcd(frame, hop)
    frames = max(0, 1 + (len(samples) - frame) // hop)
    if not frames:
        return np.zeros(0)
    units = samples[: len(samples) // unit * unit].reshape(-1, unit)
    sums = _windows(units.sum(axis=1, dtype=np.int64), frame // unit, hop // unit)
    squares = np.square(units, dtype=np.int32).sum(axis=1, dtype=np.int64)
    squares = _windows(squares, frame // unit, hop // unit)
    energy = squares - sums.astype(np.float64) ** 2 / frame
    return np.log(np.maximum(energy[:frames], np.finfo(np.float32).eps))


def _windows(values, size, step):
    return np.lib.stride_tricks.sliding_window_view(values, size)[::step].sum(axis=1)


def energy_vad(samples, sample_rate=16000):
    """Finds the runs of speech in int16 samples (T,): int64 (R, 2), start and stop.

    Rising, apart from each other, inside [0, T). A frame stands for the 10 ms in
    its middle, the outermost ones for everything up to the ends.

    Example
    -------
    >>> tone = 8000 * np.sin(np.arange(16000) * 0.2)
    >>> quiet = np.zeros(16000)
    >>> samples = np.concatenate([quiet, tone, quiet]).astype(np.int16)
    >>> energy_vad(samples).tolist()
    [[15480, 32440]]
    """
    energies = log_energies(samples, sample_rate)
    if not len(energies):
        return np.zeros((0, 2), dtype=np.int64)
    loud = energies > THRESHOLD + MEAN_SCALE * energies.mean()
    window = np.ones(2 * CONTEXT + 1)
    votes = np.convolve(loud, window)[CONTEXT:-CONTEXT]
    voters = np.convolve(np.ones(len(loud)), window)[CONTEXT:-CONTEXT]
    speech = votes >= PROPORTION * voters
    edges = np.flatnonzero(np.diff(speech, prepend=False, append=False))
    hop = round(HOP_SECONDS * sample_rate)
    lead = (round(FRAME_SECONDS * sample_rate) - hop) // 2
    runs = edges.reshape(-1, 2) * hop + lead
    if speech[0]:
        runs[0, 0] = 0
    if speech[-1]:
        runs[-1, 1] = len(samples)
    return runs
