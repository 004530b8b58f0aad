"""Recording channels: what they pass, what they cut, that each crop has its own."""

import pytest
import torch

from speechbrain_dino.augment.channel import AddChannel


def tone(hertz, seconds=1.0, rate=16000):
    time = torch.arange(int(seconds * rate)) / rate
    return torch.sin(2 * torch.pi * hertz * time)


def level_db(spectrum, hertz, rate=16000):
    bins = round(hertz * (len(spectrum) - 1) * 2 / rate)
    return 20 * torch.log10(spectrum[bins])


def fixed(low, high, tilt=0.0, order=3):
    """A channel whose random ranges are single points."""
    return AddChannel(1.0, (low, low), (high, high), tilt, order)


def test_cutoffs_are_3_db_down_and_the_passband_is_flat():
    response = fixed(300.0, 3400.0).response(torch.full((1, 3), 0.5), 16000)[0]
    assert level_db(response, 300) == pytest.approx(-3.01, abs=0.05)
    assert level_db(response, 3400) == pytest.approx(-3.01, abs=0.05)
    assert level_db(response, 1000) == pytest.approx(0.0, abs=0.05)
    # An octave beyond a third-order cut-off: 18 dB.
    assert level_db(response, 150) == pytest.approx(-18.1, abs=0.2)
    assert level_db(response, 6800) == pytest.approx(-18.1, abs=0.2)


@pytest.mark.parametrize(("draw", "slope"), [(0.0, -3.0), (0.5, 0.0), (1.0, 3.0)])
def test_tilt_is_in_db_per_octave(draw, slope):
    channel = fixed(1.0, 1e6, tilt=3.0)
    response = channel.response(torch.tensor([[0.5, 0.5, draw]]), 16000)[0]
    octave = level_db(response, 2000) - level_db(response, 1000)
    assert octave == pytest.approx(slope, abs=0.02)


def test_a_tone_outside_the_band_is_lost_against_one_inside():
    mixed = (tone(1000) + tone(100))[None]
    filtered = fixed(400.0, 8000.0)(mixed)[0]
    power = torch.fft.rfft(filtered).abs()
    assert 20 * torch.log10(power[100] / power[1000]) < -34  # 2 octaves, 18 dB each


def test_power_is_kept_and_only_drawn_crops_change():
    torch.manual_seed(0)
    waves = torch.randn(400, 1600)
    out = AddChannel(prob=0.3)(waves)
    changed = (out != waves).any(dim=1)
    assert 0.2 < changed.float().mean() < 0.4
    assert torch.allclose(out.square().mean(1), waves.square().mean(1), rtol=1e-3)


def test_a_crop_does_not_depend_on_its_batch():
    torch.manual_seed(0)
    waves, draws = torch.randn(5, 1600), torch.rand(5, AddChannel.num_draws)
    channel = AddChannel(prob=0.8)
    alone = [channel(w[None], draws=d[None]) for w, d in zip(waves, draws)]
    assert torch.allclose(channel(waves, draws=draws), torch.cat(alone), atol=1e-5)


def test_each_crop_has_a_channel_of_its_own():
    torch.manual_seed(0)
    same = torch.randn(1, 1600).expand(4, -1)
    out = AddChannel(prob=1.0)(same)
    assert min(torch.pdist(out)) > 1.0
