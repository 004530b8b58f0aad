"""Bytes that a residual network must move in a training step, from shapes alone.

    python benchmarks/traffic.py --batch_size 128            # LResNet34, bf16
    python benchmarks/traffic.py --milliseconds 320 --bandwidth 4300

Counts whole tensors of activations that are read or written, each convolution followed
by BatchNorm and activation in two passes forward (statistics, result) and two backward
(sums, gradient). Weights, the stem's input and caches are left out: it is a bound from
below. ``--milliseconds``, a measured time, gives the bandwidth reached, in GB/s.
"""

import argparse

import torch
from torch import nn

from speechbrain_dino.models.encoders import LResNet34

CROPS = ((2, 401), (4, 201))  # crops, frames
# Per element of a convolution's output: written, read for statistics, read for the
# result, result written; backward reads gradient and output twice, writes one gradient,
# which the convolution reads twice.
FORWARD, BACKWARD = 4, 7


def step_bytes(encoder, batch_size, bands=80, element=2, crops=CROPS):
    """Bytes of teacher forward (the first crops), student forward and backward."""
    total = 0
    for number, (count, frames) in enumerate(crops):
        forward, backward = tensor_passes(encoder, bands, frames)
        passes = forward * (2 if number == 0 else 1) + backward
        total += passes * count * batch_size * element
    return total


def tensor_passes(encoder, bands, frames):
    """Elements moved forward and backward for one crop, (forward, backward)."""
    moved = [0, 0]

    def count(layer, inputs, output):
        came, went = inputs[0].numel(), output.numel()
        moved[0] += came + FORWARD * went
        # The input is read once more, and its gradient written.
        moved[1] += 2 * came + BACKWARD * went

    convolutions = [m for m in encoder.modules() if isinstance(m, nn.Conv2d)]
    handles = [layer.register_forward_hook(count) for layer in convolutions]
    training = encoder.training
    with torch.no_grad():
        encoder.eval()(torch.zeros(1, frames, bands))
    encoder.train(training)
    for handle in handles:
        handle.remove()
    return moved


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch_size", type=int, default=128)
    parser.add_argument("--bytes_per_element", type=int, default=2)
    parser.add_argument("--milliseconds", type=float)
    parser.add_argument("--bandwidth", type=float, help="the card's, GB/s")
    args = parser.parse_args()
    encoder = LResNet34()
    moved = step_bytes(encoder, args.batch_size, element=args.bytes_per_element)
    print(f"{moved / 1e9:.1f} GB in a step of {args.batch_size} utterances")
    if args.bandwidth:
        limit = args.bandwidth * 1e9 * args.batch_size / moved
        print(f"at most {limit:.0f} utterances/s at {args.bandwidth:.0f} GB/s")
    if args.milliseconds:
        reached = moved / args.milliseconds / 1e6
        print(f"{reached:.0f} GB/s reached")


if __name__ == "__main__":
    main()
