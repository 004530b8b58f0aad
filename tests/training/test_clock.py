"""Throughput, waiting time and time left."""

import time

import pytest

from speechbrain_dino.training.log import Clock, hours


@pytest.fixture
def at(monkeypatch):
    """Sets the time."""
    now = [100.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])

    def move(seconds):
        now[0] += seconds

    return move


def test_waiting_share(at):
    clock = Clock()
    for _ in range(4):
        at(1.0)
        clock.batch_came()
        at(3.0)
        clock.batch_done()
    assert clock.wait_share() == pytest.approx(0.25)


def test_waiting_share_in_the_first_batch_is_a_share(at):
    clock = Clock()
    at(2.0)
    clock.batch_came()
    at(2.0)
    assert clock.wait_share() == pytest.approx(0.5)


def test_an_epoch_begins_anew(at):
    clock = Clock()
    at(5.0)
    clock.batch_came()
    clock.batch_done()
    clock.start()
    clock.batch_came()
    at(1.0)
    clock.batch_done()
    assert clock.wait_share() == 0


def test_rate_counts_the_batch_under_way_once(at):
    clock, rates = Clock(), []
    for number in range(1, 9):
        clock.batch_came()
        at(0.5)
        if number % 4 == 0:
            rates.append(clock.rate())
        clock.batch_done()
    assert rates == pytest.approx([2.0, 2.0])


def test_lines_are_some_seconds_apart(at):
    clock, due = Clock(line_seconds=30), []
    for _ in range(10):
        due.append(clock.line_due())
        at(12.0)
    assert [number for number, one in enumerate(due) if one] == [0, 3, 6, 9]


def test_a_new_epoch_brings_no_line_of_its_own(at):
    clock = Clock(line_seconds=30)
    assert clock.line_due()
    clock.start()
    assert not clock.line_due()


@pytest.mark.parametrize(
    "seconds, text",
    [(0, "0:00:00"), (59.9, "0:00:59"), (3600, "1:00:00"), (360000, "100:00:00")],
)
def test_hours(seconds, text):
    assert hours(seconds) == text
