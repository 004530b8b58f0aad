"""Rooms, noises and channels made of random numbers: no recordings needed."""

import numpy as np
from scipy.signal import butter, fftconvolve, sosfilt

RATE = 16000
"""Samples per second of everything here."""


def room(rng, t60=None):
    """Returns the impulse response of a room, float64 (time,), ``t60`` seconds long.

    The first sample is 1 (direct sound), then come early echoes and a decaying tail.
    ``t60``, in which the sound falls by 60 dB, is drawn from 0.2 to 0.6 s if None.

    Example
    -------
    >>> room(np.random.default_rng(0), t60=0.5).shape
    (8000,)
    """
    t60 = rng.uniform(0.2, 0.6) if t60 is None else t60
    time = np.arange(int(t60 * RATE)) / RATE
    decay = 10 ** (-3 * time / t60)
    tail = rng.standard_normal(len(time)) * decay
    # Walls and air swallow high frequencies first.
    tail = sosfilt(butter(1, rng.uniform(2500, 6000), fs=RATE, output="sos"), tail)
    tail[: int(rng.uniform(0.002, 0.008) * RATE)] = 0.0
    early = rng.integers(int(0.002 * RATE), int(0.03 * RATE), 6)
    direct_to_reverberant = 10 ** (rng.uniform(0.0, 8.0) / 10)
    tail /= np.sqrt(direct_to_reverberant * np.sum(tail**2))
    tail[early] += rng.uniform(-0.35, 0.35, 6) * decay[early]
    tail[0] = 1.0
    return tail


def colored_noise(rng, length):
    """Returns noise, float64 (length,) of RMS 1: a random slope, hum, slow changes.

    Example
    -------
    >>> x = colored_noise(np.random.default_rng(0), 1000)
    >>> round(float(np.sqrt(np.mean(x**2))), 6)
    1.0
    """
    frequency = np.fft.rfftfreq(length, 1 / RATE)
    spectrum = np.fft.rfft(rng.standard_normal(length))
    spectrum *= np.maximum(frequency, 50.0) ** -rng.uniform(0.0, 1.2)
    if rng.random() < 0.5:  # hum of a machine: a fundamental and its harmonics
        hum = rng.uniform(50, 400) * np.arange(1, 12)
        nearest = np.searchsorted(frequency, hum[hum < RATE / 2 - 1])
        spectrum[nearest] *= rng.uniform(3, 25, len(nearest))
    noise = np.fft.irfft(spectrum, length)
    knots = np.exp(rng.uniform(0, 0.9) * rng.standard_normal(2 + 4 * length // RATE))
    noise *= np.interp(np.linspace(0, 1, length), np.linspace(0, 1, len(knots)), knots)
    return noise / np.sqrt(np.mean(noise**2))


def band_pass(x, rng):
    """Filters samples (time,) by a random pass band: telephone, cheap microphone."""
    low, high = rng.uniform(80, 350), rng.uniform(3200, 7400)
    return sosfilt(butter(2, (low, high), "bandpass", fs=RATE, output="sos"), x)


def shelf(x, rng):
    """Gives samples (time,) the color of a good microphone: highs by at most +-4 dB."""
    gain = 10 ** (rng.uniform(-4, 4) / 20)
    low = sosfilt(butter(1, rng.uniform(500, 3000), fs=RATE, output="sos"), x)
    return low + gain * (x - low)


def add_noise(x, noise, snr):
    """Adds noise (time,) to speech (time,) at a ratio of mean powers in dB.

    Example
    -------
    >>> add_noise(np.full(4, 10.0), np.array([1.0, -1, 1, -1]), snr=20.0)
    array([11.,  9., 11.,  9.])
    """
    power = np.mean(x**2) / np.mean(noise**2)
    return x + noise * np.sqrt(power / 10 ** (snr / 10))


def degrade(x, rng):
    """Takes speech (time,) into a room (T60 0.2-0.6 s), noise (8-20 dB), a channel."""
    wet = fftconvolve(x, room(rng))[: len(x)]
    noisy = add_noise(wet, colored_noise(rng, len(x)), rng.uniform(8, 20))
    return band_pass(noisy, rng)


def to_int16(x, rng):
    """Returns samples (time,) as int16 at -36 to -18 dB, drawn: no cue to the speaker.

    Example
    -------
    >>> to_int16(np.array([0.5, -0.5]), np.random.default_rng(0)).dtype
    dtype('int16')
    """
    x = x * 10 ** (rng.uniform(-36, -18) / 20) / np.sqrt(np.mean(x**2))
    peak = np.abs(x).max()
    return np.round(x * (32767 * min(1.0, 0.98 / peak))).astype(np.int16)
