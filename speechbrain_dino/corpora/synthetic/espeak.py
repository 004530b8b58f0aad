"""Speakers and speech out of eSpeak NG, through its C library.

A voice of eSpeak NG is a handful of numbers (pitch, formant frequencies and strengths,
accent), drawn at random here. The library keeps state from one sentence to the next
and is not re-entrant: the same `speak` in a fresh process returns the same samples, a
second one in the same process does not.
"""

import ctypes
import os
import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soxr

RATE = 16000
"""Samples per second of what `speak` returns."""

ACCENTS = {
    "en-us": "USA",
    "en": "UK",
    "en-gb-scotland": "Scotland",
    "en-029": "Caribbean",
    "en-GB-x-rp": "England",
    "en-us-nyc": "New York",
}
"""eSpeak's English accents used here, with where they are spoken."""

_SYNTHESIS_RATE = 22050  # what eSpeak NG's formant synthesizer produces
_SYNCHRONOUS, _DO_NOT_EXIT = 2, 0x8000
_RATE, _PITCH, _RANGE = 1, 3, 4  # espeak_PARAMETER
_CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
)
_MISSING = (
    "eSpeak NG is needed to make synthetic speakers and the package espeakng-loader, "
    'which ships it, is not installed: pip install "speechbrain-dino[demo]"'
)


class Voice(NamedTuple):
    """One synthetic speaker."""

    name: str  # unique in a corpus
    sex: str  # "m" or "f": range of pitch and of vocal tract length
    accent: str  # a key of ACCENTS
    rate: float  # habitual speaking rate, words per minute
    variant: str  # eSpeak's description of the voice (pitch, formants ...)


def draw_voice(name, sex, rng):
    """Returns a random Voice, the same for the same state of ``rng``.

    Example
    -------
    >>> draw_voice("id90001", "f", np.random.default_rng(0)).sex
    'f'
    """
    female = sex == "f"
    pitch = rng.uniform(155, 250) if female else rng.uniform(72, 145)
    tract = rng.uniform(1.04, 1.30) if female else rng.uniform(0.84, 1.08)
    lines = [
        "language variant",
        f"name {name}",
        f"pitch {pitch:.0f} {pitch * rng.uniform(1.2, 1.7):.0f}",
        f"flutter {rng.integers(0, 9)}",
        f"roughness {rng.integers(0, 5)}",
        f"consonants {rng.uniform(60, 130):.0f} {rng.uniform(80, 120):.0f}",
    ]
    for formant in range(9):
        frequency = 100 * tract * rng.uniform(0.94, 1.06)
        strength = rng.uniform(65, 125)
        width = rng.uniform(80, 150)
        lines.append(f"formant {formant} {frequency:.0f} {strength:.0f} {width:.0f}")
    # No "breath": its noise comes from memory that eSpeak NG never wrote, so that it
    # differs from run to run.
    accent = str(rng.choice(list(ACCENTS)))
    return Voice(name, sex, accent, rng.uniform(140, 185), "\n".join(lines) + "\n")


def library():
    """Returns the package that ships eSpeak NG; an ImportError names the remedy."""
    try:
        import espeakng_loader
    except ImportError as error:
        raise ImportError(_MISSING) from error
    return espeakng_loader


def write_voices(folder, voices):
    """Writes eSpeak data with the voices in it.

    Keep the path of the folder short: eSpeak NG holds at most 160 characters.
    """
    source, folder = Path(library().get_data_path()), Path(folder)
    variants = folder / "voices" / "!v"
    variants.mkdir(parents=True)
    for name in ("phondata", "phonindex", "phontab", "intonations", "en_dict"):
        shutil.copyfile(source / name, folder / name)
    shutil.copytree(source / "lang" / "gmw", folder / "lang" / "gmw")
    for voice in voices:
        (variants / voice.name).write_text(voice.variant, encoding="utf-8")


def speak(data_folder, voice, sentences):
    """Speaks sentences with one voice; call it once in a process.

    Arguments
    ---------
    data_folder : path
        Folder that `write_voices` wrote.
    voice : Voice
    sentences : iterable of (str, float, float, float)
        Text, and three factors around 1 on the voice's rate, pitch and pitch range.

    Yields
    ------
    numpy.ndarray
        float64 samples (time,) at 16 kHz, one array per sentence.

    Raises
    ------
    RuntimeError
        If eSpeak NG refuses the data folder or the voice, or returns no samples.
    """
    lib = ctypes.CDLL(str(library().get_library_path()))
    if (
        lib.espeak_Initialize(_SYNCHRONOUS, 0, os.fsencode(data_folder), _DO_NOT_EXIT)
        < 0
    ):
        raise RuntimeError(
            f"eSpeak NG could not read its data in {data_folder}: it needs the data "
            "of the same version, in a path of at most 160 characters"
        )
    pieces = []

    @_CALLBACK
    def collect(samples, count, _events):
        if samples and count > 0:
            pieces.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    lib.espeak_SetSynthCallback(collect)
    name = f"{voice.accent}+{voice.name}".encode()
    for text, rate, pitch, pitch_range in sentences:
        pieces.clear()
        # The voice sets the parameters back, so that it comes first each time.
        if lib.espeak_SetVoiceByName(name) != 0:
            raise RuntimeError(f"eSpeak NG does not know the voice {name.decode()!r}")
        lib.espeak_SetParameter(_RATE, round(voice.rate * rate), 0)
        lib.espeak_SetParameter(_PITCH, round(50 * pitch), 0)
        lib.espeak_SetParameter(_RANGE, round(50 * pitch_range), 0)
        data = text.encode() + b"\0"
        lib.espeak_Synth(data, len(data), 0, 1, 0, 1, None, None)
        lib.espeak_Synchronize()
        if not pieces:
            raise RuntimeError(f"eSpeak NG said nothing for {text!r} by {voice.name}")
        spoken = np.concatenate(pieces) / 32768.0
        yield soxr.resample(spoken, _SYNTHESIS_RATE, RATE)
