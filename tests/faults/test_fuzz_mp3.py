"""Any change of an MP3: decoded or refused, never more audio than there are frames."""

import io
import os

import numpy as np
import pytest
import soundfile as sf
from hypothesis import HealthCheck, given, settings, strategies as st

from speechbrain_dino.corpora.convert import convert
from speechbrain_dino.data import mp3
from speechbrain_dino.data.audio_source import BadAudio

EXAMPLES = int(os.environ.get("FAULTS_EXAMPLES", "100"))


@pytest.fixture(scope="module")
def whole():
    """An MP3 of a second of noise."""
    file, rng = io.BytesIO(), np.random.default_rng(0)
    sf.write(file, rng.uniform(-0.5, 0.5, 16000), 16000, format="MP3")
    return file.getvalue()


@settings(
    max_examples=EXAMPLES, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_changed_files(whole, tmp_path, data):
    changed = bytearray(whole)
    places = st.integers(0, len(whole) - 1)
    for place in data.draw(st.lists(places, max_size=20)):
        changed[place] = data.draw(st.integers(0, 255))
    first, last = sorted((data.draw(places), data.draw(places)))
    kind = data.draw(st.sampled_from(["keep", "cut", "take out", "repeat", "insert"]))
    if kind == "cut":
        del changed[last:]
    elif kind == "take out":
        del changed[first:last]
    elif kind == "repeat":
        changed += changed[first:]
    elif kind == "insert":
        changed[first:first] = data.draw(st.binary(max_size=400))
    path = tmp_path / "a.mp3"
    path.write_bytes(changed)
    frames = mp3.audio_frames(bytes(changed))
    seconds = sum(frame.samples / frame.rate for frame in frames)
    try:
        convert(path, tmp_path / "a.wav")
    except BadAudio as error:
        assert str(error) in ("unreadable", "empty")
        return
    samples, _ = sf.read(tmp_path / "a.wav")
    if frames:
        assert len(samples) / 16000 <= seconds + 0.2
