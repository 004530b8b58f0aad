"""Makes the recordings of one synthetic speaker."""

import os
import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile

from speechbrain_dino.corpora.synthetic import rooms
from speechbrain_dino.corpora.synthetic.espeak import RATE, Voice, speak

SESSIONS = 2
MIN_SECONDS, MAX_SECONDS = 3.0, 6.0


class Task(NamedTuple):
    """All that one process needs to make one speaker."""

    voice: Voice
    texts: list  # of str, a sentence per utterance, session after session
    seed: tuple  # of int, for the speaker's manners, microphones and rooms
    degraded: bool  # whether to write degraded copies of the last session as well
    voices: str  # folder of eSpeak data that holds the voice
    target: str  # folder to write


def make_speaker(task):
    """Writes one speaker's folder, whole or not at all; once in a process."""
    target = Path(task.target)
    partial = target.parent / f".{target.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    rng = np.random.default_rng(task.seed)
    a_session = len(task.texts) // SESSIONS
    spoken = speak(task.voices, task.voice, _manners(task.texts, a_session, rng))
    for number, samples in enumerate(spoken):
        session, within = divmod(number, a_session)
        channel = np.random.default_rng((*task.seed, session))
        samples = samples[: int(rng.uniform(MIN_SECONDS, MAX_SECONDS) * RATE)]
        # A session has one microphone and a quiet background.
        clean = rooms.shelf(samples, channel)
        background = rooms.colored_noise(channel, int(MAX_SECONDS * RATE))
        background = np.roll(background, rng.integers(len(background)))
        snr = channel.uniform(25, 45)
        clean = rooms.add_noise(clean, background[: len(clean)], snr)
        name = f"{within + 1:05d}.wav"
        write_wav(partial / f"session{session + 1}" / name, rooms.to_int16(clean, rng))
        if task.degraded and session == SESSIONS - 1:
            worse = rooms.to_int16(rooms.degrade(clean, rng), rng)
            write_wav(partial / f"session{session + 1}-degraded" / name, worse)
    os.replace(partial, target)


def _manners(texts, a_session, rng):
    """People speak a little faster, higher or livelier on another day."""
    manners = rng.uniform(0.9, 1.1, (SESSIONS, 3))
    for number, text in enumerate(texts):
        yield text, *(manners[number // a_session] * rng.uniform(0.97, 1.03, 3))


def write_wav(path, samples):
    """Writes int16 samples (time,) at 16 kHz, with the folders that the path needs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, RATE, subtype="PCM_16")
