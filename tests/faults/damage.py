"""Files as they come out of a crash, a bad disk, another program or a hurried hand."""

import os

from hypothesis import settings, strategies as st

EXAMPLES = int(os.environ.get("FAULTS_EXAMPLES", 200))
many = settings(max_examples=EXAMPLES)

# What people and programs put where a word, a number or a name should be.
ODD = [
    "", " ", "\t", ",", '"', "'", "\n", "\r\n", "\x00", "\ufeff", "-1", "1e999", "nan",
    "NaN", "inf", "99999999999999999999", "null", "None", "[]", "{}", "[[[[", "true",
    "0", "0x10", "1,5", "a/b/c.wav", "../..", "ü", "日本", "=1+1", "%s", "\\", "#", ";",
]  # fmt: skip


@st.composite
def damaged(draw, content):
    """Bytes of a file that was ``content`` (bytes) before something happened to it."""
    data = bytearray(content)
    for _ in range(draw(st.integers(1, 3))):
        kind = draw(st.sampled_from(_KINDS))
        data = bytearray(kind(draw, bytes(data)))
    return bytes(data)


def _place(draw, data):
    return draw(st.integers(0, len(data)))


def _cut(draw, data):
    return data[: _place(draw, data)]


def _flip(draw, data):
    if not data:
        return data
    place = draw(st.integers(0, len(data) - 1))
    flipped = data[place] ^ (1 << draw(st.integers(0, 7)))
    return data[:place] + bytes([flipped]) + data[place + 1 :]


def _insert(draw, data):
    odd = draw(st.sampled_from(ODD) | st.text(max_size=8)).encode("utf-8", "replace")
    place = _place(draw, data)
    return data[:place] + odd + data[place:]


def _remove(draw, data):
    first, second = sorted((_place(draw, data), _place(draw, data)))
    return data[:first] + data[second:]


def _repeat(draw, data):
    first, second = sorted((_place(draw, data), _place(draw, data)))
    return data[:second] + data[first:]


def _replace_word(draw, data):
    words = data.split(b" ") if b" " in data else data.split(b",")
    odd = draw(st.sampled_from(ODD)).encode()
    joint = b" " if b" " in data else b","
    words[draw(st.integers(0, len(words) - 1))] = odd
    return joint.join(words)


def _raw(draw, data):
    return draw(st.binary(max_size=64))


_KINDS = (_cut, _flip, _insert, _remove, _repeat, _replace_word, _raw)
