"""Uniform numbers and masks that the augmentations share."""

import numpy as np
import torch

from speechbrain_dino.augment.crops import CropAugment, augmented
from speechbrain_dino.augment.draws import choose, length_mask, uniform_numbers


def test_choices_are_equal_shares():
    assert choose(np.array([0.0, 0.5, 0.99]), 3).tolist() == [0, 1, 2]


def test_mask_of_lengths():
    mask = length_mask(torch.ones(2, 4), torch.tensor([1.0, 0.5]))
    assert mask.tolist() == [[1, 1, 1, 1], [1, 1, 0, 0]]
    assert length_mask(torch.ones(2, 4), None) is None


def test_numbers_without_draws():
    numbers = uniform_numbers(None, torch.zeros(3, 16000), 2)
    assert numbers.shape == (3, 2) and numbers.dtype == np.float32


def test_none_is_no_step_and_lengths_are_passed_on():
    assert CropAugment(None).num_draws == 0
    waves, lengths = torch.ones(1, 2), torch.ones(1)
    turned = augmented(lambda waves, lengths: -waves, waves, lengths, None)
    assert torch.equal(turned, -waves)
