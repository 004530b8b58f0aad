"""When a loss gate is set and a round ends."""

import pytest
import torch

from speechbrain_dino.training.gate_phases import GatePhases


def followed(phases, values):
    """What is taken of each value: (best, stalled)."""
    return [phases.take(epoch, value) for epoch, value in enumerate(values, start=1)]


def test_a_figure_stalls_at_the_third_epoch_after_its_best():
    seen = followed(GatePhases(patience=4), [0.1, 0.3, 0.2, 0.2, 0.1])
    best, stalled = zip(*seen)
    assert best == (True, True, False, False, False)
    assert stalled == (False, False, False, False, True)


def test_an_eer_is_better_where_it_is_lower_and_an_equal_one_is_no_better():
    seen = followed(GatePhases("eer/dev", patience=3), [0.2, 0.1, 0.1, 0.1])
    assert [best for best, _ in seen] == [True, True, False, False]
    assert [stalled for _, stalled in seen] == [False, False, False, True]


def test_epochs_that_were_not_validated_do_not_count():
    seen = followed(GatePhases(patience=3), [0.2, None, 0.1, None, None, 0.1])
    assert [stalled for _, stalled in seen] == [False] * 5 + [True]


def test_the_first_epochs_may_be_left_out():
    seen = followed(GatePhases(patience=2, from_epoch=3), [0.9, 0.1, 0.2, 0.3, 0.2])
    assert [best for best, _ in seen] == [False, False, True, True, False]
    assert [stalled for _, stalled in seen] == [False] * 4 + [True]


def test_a_phase_that_never_stalls_ends_with_its_best_weights_and_a_warning(caplog):
    phases, network = GatePhases(patience=3), torch.nn.Linear(1, 1)
    for epoch, value in enumerate([0.1, 0.3, 0.2], start=1):
        torch.nn.init.constant_(network.weight, float(epoch))
        figures = {"neighbor_agreement": value}
        ends = phases.epoch_done(epoch, 3, figures, network, has_gate=True)
        assert ends == (epoch == 3)
    assert network.weight.item() == 2.0 and not phases.gated
    assert "The gate was never set" in caplog.text


def test_phases_go_on_from_a_checkpoint():
    values, network = [0.1, 0.3, 0.2, 0.1, 0.5, 0.4, 0.3], torch.nn.Linear(1, 1)
    ends = {}
    for cut in range(len(values)):
        phases = GatePhases(patience=3)
        for epoch, value in enumerate(values, start=1):
            if epoch == cut:
                other = GatePhases(patience=3)
                other.load_state_dict(phases.state_dict())
                phases = other
            torch.nn.init.constant_(network.weight, float(epoch))
            figures = {"neighbor_agreement": value}
            done = phases.epoch_done(epoch, 99, figures, network, has_gate=True)
        ends[cut] = done, phases.gated, phases.ended, network.weight.item()
    assert set(ends.values()) == {(True, True, True, 5.0)}


def test_one_validation_is_no_stall():
    with pytest.raises(ValueError, match="patience is 1"):
        GatePhases(patience=1)
