"""CopyPaste against a slow version, row by row."""

import pytest
import torch
from hypothesis import given, settings, strategies as st

from speechbrain_dino.augment.copy_paste import CopyPaste

CLASSES = ["angry", "happy", "neutral", "sad"]


def pasted_slowly(waves, labels, draws, prob, same_class):
    rows = []
    for i, (wave, label) in enumerate(zip(waves, labels.tolist())):
        fitting = [
            j
            for j, other in enumerate(labels.tolist())
            if j != i and (other == 2 or (same_class and other == label))
        ]
        whether, whom, where, order = draws[i].tolist()
        if whether >= prob or not fitting:
            rows.append(wave)
            continue
        partner = waves[fitting[int(whom * len(fitting))]]
        cut = round((0.25 + 0.5 * where) * len(wave))
        one, other = (wave, partner) if order < 0.5 else (partner, wave)
        rows.append(torch.cat([one[:cut], other[cut:]]))
    return torch.stack(rows)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.booleans(), st.sampled_from([0.0, 0.5, 1.0]))
def test_joined_as_the_slow_version_does(seed, same_class, prob):
    generator = torch.Generator().manual_seed(seed)
    waves = torch.randn(9, 80, generator=generator)
    labels = torch.randint(0, 4, (9,), generator=generator)
    draws = torch.rand(9, 4, generator=generator)
    paste = CopyPaste(prob=prob, same_class=same_class)
    paste.set_up(CLASSES)
    expected = pasted_slowly(waves, labels, draws, prob, same_class)
    torch.testing.assert_close(paste(waves, labels, draws), expected)


def test_neutral_stays_neutral():
    paste = CopyPaste(prob=1.0)
    paste.set_up(CLASSES)
    labels = torch.tensor([2, 2, 0, 1, 3, 2])
    waves = labels[:, None].float().repeat(1, 40)
    pasted = paste(waves, labels, torch.rand(6, 4))
    assert (pasted[labels == 2] == 2).all()
    # No crop gets a part of an emotion other than its own and neutral.
    for wave, label in zip(pasted, labels.tolist()):
        assert set(wave.tolist()) <= {float(label), 2.0}
        assert (wave == label).sum() >= 10


def test_without_a_partner_nothing_changes():
    paste = CopyPaste(prob=1.0)
    paste.set_up(CLASSES)
    waves = torch.randn(2, 8)
    torch.testing.assert_close(
        paste(waves, torch.tensor([0, 1]), torch.zeros(2, 4)), waves
    )


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match="prob is 2"):
        CopyPaste(prob=2)
    with pytest.raises(ValueError, match="needs the class 'calm'"):
        CopyPaste(neutral="calm", same_class=False).set_up(CLASSES)
