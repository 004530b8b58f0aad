"""Erases stripes of log-mels, in time and in frequency."""

import numpy as np
import torch

from speechbrain_dino.augment.draws import choose, on_device


class FeatureErasing:
    """Erases a few frames and a few mels of an utterance's crops (SDPN).

    Of a share ``prob`` of the utterances. The band of mels is the same in all crops.
    Crops count as laid end to end in pairs, and the frames are erased at one place of
    each pair: of two crops one loses them, unless they lie across the joint.

    Arguments
    ---------
    prob : float
        Share of the utterances.
    frames, mels : int
        0 to one less than so many frames, or mels, are erased, equally likely.
    floor : float
        What stands there afterwards. The default is the log-mel, in dB, that 3D-Speaker
        has for no energy at all: 1e-6, for samples up to 32768.
    """

    num_draws = 5

    def __init__(self, prob=0.2, frames=10, mels=6, floor=-150.3):
        self.prob = prob
        self.frames = frames
        self.mels = mels
        self.floor = floor

    def __call__(self, feats, draws):
        """Log-mels (crops, batch, frames, mels) by draws (crops, batch, 5), on the CPU.

        The draws of an utterance are those of its first crop. Raises ValueError for
        crops shorter than what may be erased.
        """
        crops, _, frames, mels = feats.shape
        if 2 * frames <= self.frames or mels <= self.mels:
            raise ValueError(
                f"log-mels of {frames} frames and {mels} mels were given: they must be "
                f"longer than the {self.frames} frames and {self.mels} mels to erase"
            )
        whether, frame, width, mel, height = draws[0].numpy().T
        erased = whether < self.prob
        first = choose(frame, 2 * frames - self.frames)
        last = first + choose(width, self.frames) * erased
        lowest = choose(mel, mels - self.mels)
        highest = lowest + choose(height, self.mels) * erased
        # (crops, batch, frames) and (batch, mels)
        place = np.arange(frames) + frames * (np.arange(crops) % 2)[:, None, None]
        in_time = (place >= first[:, None]) & (place < last[:, None])
        bins = np.arange(mels)
        in_band = (bins >= lowest[:, None]) & (bins < highest[:, None])
        # Joined on the device, to which less has to go then.
        in_time, in_band = (on_device(m, feats.device) for m in (in_time, in_band))
        mask = in_time[..., None] | in_band[:, None]
        return torch.where(mask, self.floor, feats)
