"""The bytes that benchmarks/traffic.py counts, against counting by hand."""

import sys

import recipe_runs as runs

from speechbrain_dino.models.encoders import LResNet34

sys.path.append(str(runs.ROOT / "benchmarks"))
from traffic import step_bytes, tensor_passes


def test_passes_of_one_block():
    encoder = LResNet34(8, channels=(4,), block_sizes=(1,), strides=(1,))
    plane = 8 * 10
    # The stem has one channel in, two convolutions have four.
    came, went = (1 + 4 + 4) * plane, (4 + 4 + 4) * plane
    expected = [came + 4 * went, 2 * came + 7 * went]
    assert tensor_passes(encoder, 8, 10) == expected
    assert encoder.training
    step = step_bytes(encoder, 3, bands=8, element=2, crops=((2, 10), (4, 10)))
    assert step == 3 * 2 * (8 * expected[0] + 6 * expected[1])
