"""DrainRate: a prediction made of answers that came while others waited."""

from __future__ import annotations

import pytest

from bentoml.runner.drain_rate import DrainRate


def drained(rate: DrainRate, *, per_row_s: float, frames: int, rows: int = 4, since: float = 0.0) -> float:
    """Frames of answers at this pace, behind each other; the time of the last."""
    now = since
    rate.answered(0, now, backlog=True)
    for _ in range(frames):
        now += rows * per_row_s
        rate.answered(rows, now, backlog=True)
    return now


def test_nobody_is_refused_before_there_is_a_prediction() -> None:
    rate = DrainRate()
    drained(rate, per_row_s=1.0, frames=DrainRate.CALIBRATION_ANSWERS - 1)
    assert rate.per_row_s is None
    assert rate.late_by_s(10_000, 0.001) == 0.0


def test_it_learns_what_a_row_takes() -> None:
    rate = DrainRate()
    drained(rate, per_row_s=0.25, frames=20)
    assert rate.per_row_s == pytest.approx(0.25)
    assert rate.late_by_s(8, 2.0) == 0.0
    assert rate.late_by_s(12, 2.0) == pytest.approx(1.0)


def test_time_in_which_nobody_waited_does_not_count() -> None:
    rate = DrainRate()
    now = drained(rate, per_row_s=0.25, frames=20)
    rate.answered(4, now + 1, backlog=False)
    rate.answered(4, now + 3600, backlog=True)
    rate.answered(4, now + 3601, backlog=True)
    assert rate.per_row_s == pytest.approx(0.25)


def test_a_frame_without_answers_does_not_stop_the_clock() -> None:
    rate = DrainRate()
    now = drained(rate, per_row_s=0.25, frames=20)
    rate.answered(0, now + 0.5, backlog=True)
    rate.answered(4, now + 1.0, backlog=True)
    assert rate.per_row_s == pytest.approx(0.25)


def test_it_follows_a_change_of_pace() -> None:
    rate = DrainRate()
    now = drained(rate, per_row_s=0.25, frames=50)
    drained(rate, per_row_s=1.0, frames=200, since=now)
    assert rate.per_row_s == pytest.approx(1.0, rel=0.05)
