"""Small audio files for the tests of corpora and checks."""

import numpy as np
import soundfile as sf


def noise(seconds=1.0, rate=16000, channels=1, seed=0):
    """Noise at -20 dB, float64 (T,) or (T, channels)."""
    rng = np.random.default_rng(seed)
    shape = (round(seconds * rate), channels) if channels > 1 else round(seconds * rate)
    return 0.1 * rng.standard_normal(shape)


def write(path, seconds=1.0, rate=16000, channels=1, seed=0, samples=None, **options):
    """Writes noise (or the samples given) and returns the path as str."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if samples is None:
        samples = noise(seconds, rate, channels, seed)
    sf.write(path, samples, rate, **options)
    return str(path)


def tree(folder, names, seconds=1.0):
    """Writes one file of noise per name, each different; returns the folder."""
    for seed, name in enumerate(names):
        write(folder / name, seconds, seed=seed)
    return folder
