"""Telephone calls: band, steps of the code, clipped samples and lost packets."""

import numpy as np
import pytest
import torch

from speechbrain_dino.augment.telephone import AddTelephone, mu_law

RATE = 16000
QUIET = {"law_prob": 0, "clip_prob": 0, "loss_prob": 0}


def share_above(waves, hertz):
    power = torch.fft.rfft(waves).abs().square()
    first = round(hertz * waves.shape[1] / RATE)
    return power[:, first:].sum(1) / power.sum(1)


def test_nothing_is_heard_above_the_band():
    waves = torch.randn(8, RATE)
    out = AddTelephone(prob=1.0, **QUIET)(waves, draws=torch.rand(8, 8))
    assert (share_above(out, 5000) < 0.01).all()
    assert (share_above(waves, 5000) > 0.3).all()
    torch.testing.assert_close(out.square().mean(1), waves.square().mean(1))


def test_mu_law_has_255_values_and_errors_that_grow_with_the_sample():
    waves = torch.linspace(-1, 1, 100001, dtype=torch.float64)
    coded = mu_law(waves)
    assert len(coded.unique()) == 255
    torch.testing.assert_close(coded, -coded.flip(0))
    torch.testing.assert_close(mu_law(coded), coded)
    # Half a step: the derivative of the curve, (1 / mu + |x|) ln(1 + mu), by 1 / 127.
    bound = (1 / 255 + waves.abs()) * np.log(256) / 127 * 0.52
    assert ((coded - waves).abs() <= bound).all()
    assert (coded - waves).abs().max() > 0.015


def test_clipping_is_at_a_share_of_the_peak():
    waves = 0.3 * torch.sin(torch.arange(RATE) * 2 * np.pi * 703 / RATE)[None]
    options = QUIET | {"clip_prob": 1.0, "clipped": (0.5, 0.5)}
    draws = torch.full((1, 8), 0.5)
    out = AddTelephone(prob=1.0, **options)(waves, draws=draws)
    # A sine that is cut at half its height is flat two thirds of the time.
    flat = (out.abs() > 0.999 * out.abs().max()).float().mean()
    assert flat == pytest.approx(2 / 3, abs=0.03)


def test_a_lost_packet_is_the_one_before_and_fades():
    telephone = AddTelephone(prob=1.0, **QUIET | {"loss_prob": 1.0, "lost": 0.9})
    waves = torch.randn(2, 3210)  # eleven packets, the last one short
    draws = np.full((2, 8), 0.99, dtype=np.float32)
    draws[1, 7] = 0.3
    gone = telephone._gone(draws, 11)
    assert gone[:, 1:].any(1).all() and not gone[:, 0].any()
    assert (gone[0] != gone[1]).any()
    out = telephone._lose(waves, draws)
    for row, lost in enumerate(gone):
        expected, last, gain = [], None, 1.0
        for number, packet in enumerate(waves[row].split(320)):
            if lost[number]:
                gain /= 2
                expected.append(gain * last[: len(packet)])
            else:
                last, gain = packet, 1.0
                expected.append(packet)
        torch.testing.assert_close(out[row], torch.cat(expected))


def test_shares_of_calls():
    telephone = AddTelephone(loss_prob=0.3, lost=0.5)
    draws = torch.rand(2000, 8).numpy()
    lossy = telephone._gone(draws, 200).any(1)
    assert lossy.mean() == pytest.approx(0.3, abs=0.05)
    assert (draws[lossy, 6] < 0.3).all()


def test_the_draws_decide_and_nothing_else():
    waves, draws = torch.randn(5, 4000), torch.rand(5, 8)
    telephone = AddTelephone(prob=0.8)
    torch.manual_seed(1)
    together = telephone(waves, draws=draws)
    torch.manual_seed(2)
    alone = torch.cat([telephone(w[None], draws=d[None]) for w, d in zip(waves, draws)])
    torch.testing.assert_close(together, alone)
    changed = (together != waves).any(1)
    assert changed.tolist() == (draws[:, 0] < 0.8).tolist()


def test_silence_stays_silence():
    out = AddTelephone(prob=1.0)(torch.zeros(2, 4000), draws=torch.rand(2, 8))
    assert (out == 0).all()
