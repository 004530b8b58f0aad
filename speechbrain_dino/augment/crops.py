"""Noise and reverberation for a whole batch, on the model's device, drawn per crop.

Every random choice comes from uniform numbers (``draws``) that the loader gives for
each crop, so that it depends on (seed, epoch, utterance, crop) alone. Called without
draws, as SpeechBrain's ``Augmenter`` does, the numbers come from torch's generator.
"""

import torch
from speechbrain.augment.augmenter import lengths_arg_exists

from speechbrain_dino.augment.draws import uniform_numbers
from speechbrain_dino.augment.noise import AddNoise
from speechbrain_dino.augment.reverb import AddReverb

__all__ = ["AddNoise", "AddReverb", "CropAugment", "OneOf", "augmented"]


class CropAugment(torch.nn.Module):
    """Applies steps in their order, each with its share of the draws; skips None."""

    def __init__(self, *steps):
        super().__init__()
        self.steps = torch.nn.ModuleList(step for step in steps if step is not None)
        self.num_draws = sum(step.num_draws for step in self.steps)

    def load(self):
        """Reads noises and rooms, before training rather than in its first step."""
        for step in self.steps:
            step.load()

    def forward(self, waveforms, lengths=None, draws=None):
        """Augments ``(batch, time)``; draws ``(batch, num_draws)`` lie on the CPU."""
        used = 0
        for step in self.steps:
            part = None
            if draws is not None:
                part = draws[:, used : used + step.num_draws]
            waveforms = step(waveforms, lengths, part)
            used += step.num_draws
        return waveforms


class OneOf(torch.nn.Module):
    """Applies one of several steps to each crop, each step equally often (wespeaker).

    A step keeps its own probability, so that 1 means always; one that has nothing to
    add (no folder, or probability 0) leaves its share to the others.
    """

    def __init__(self, *steps):
        super().__init__()
        self.steps = torch.nn.ModuleList(step for step in steps if step is not None)
        self.num_draws = 1 + sum(step.num_draws for step in self.steps)

    def load(self):
        """Reads noises and rooms, before training rather than in its first step."""
        for step in self.steps:
            step.load()

    def forward(self, waveforms, lengths=None, draws=None):
        """Augments ``(batch, time)``; draws ``(batch, num_draws)`` lie on the CPU."""
        self.load()
        draws = torch.from_numpy(uniform_numbers(draws, waveforms, self.num_draws))
        able = [number for number, step in enumerate(self.steps) if step.prob > 0]
        chosen = (draws[:, 0] * len(able)).long().clamp(max=len(able) - 1)
        used = 1
        for number, step in enumerate(self.steps):
            part = draws[:, used : used + step.num_draws].clone()
            used += step.num_draws
            if number in able:
                # A draw of 1 is above every probability.
                part[chosen != able.index(number), 0] = 1.0
                waveforms = step(waveforms, lengths, part)
        return waveforms


def augmented(augment, waves, lengths, draws):
    """Applies an augmentation of this package or SpeechBrain's ``Augmenter``.

    With an attribute ``num_draws`` it is called with ``draws`` ``(batch, draws)``, else
    in SpeechBrain's form: ``(waves)`` or ``(waves, lengths)`` to waves or a pair. Crops
    ``(batch, time)`` keep their shape; ValueError if their number changes.
    """
    if hasattr(augment, "num_draws"):
        return augment(waves, lengths, draws)
    call = getattr(augment, "forward", augment)
    result = augment(waves, lengths) if lengths_arg_exists(call) else augment(waves)
    result = result[0] if isinstance(result, tuple) else result
    if len(result) != len(waves):
        raise ValueError(
            f"the augmentation made {len(result)} crops of {len(waves)}: give "
            "Augmenter concat_original: False, repeat_augment: 1, "
            "parallel_augment: False."
        )
    # SpeedPerturb shortens or lengthens: crops keep the length the batch has.
    time = waves.shape[1]
    repeats = -(-time // result.shape[1])
    return (result.repeat(1, repeats) if repeats > 1 else result)[:, :time]
