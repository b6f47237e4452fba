"""Whether a dead worker is started again, and when."""

from __future__ import annotations

import pytest

from bentoml.server.restart import CRASH_LOOP_LENGTH, LONGEST_DELAY_S, GiveUp, Life, Restart, decide_restart

LONG, SHORT = 60.0, 0.5


@pytest.mark.parametrize(
    ("lives", "decision"),
    [
        ([LONG], Restart(0.1)),
        ([SHORT], Restart(0.1)),
        ([0.0], Restart(0.1)),
        ([SHORT, SHORT], Restart(0.2)),
        ([SHORT, SHORT, SHORT], Restart(0.4)),
        ([SHORT] * 4, Restart(0.8)),
        ([SHORT] * 5, GiveUp(5)),
        ([SHORT] * 6, GiveUp(6)),
        ([SHORT] * 4 + [LONG], Restart(0.1)),
        ([SHORT] * 4 + [LONG] + [SHORT] * 4, Restart(0.8)),
        ([LONG] * 100, Restart(0.1)),
        ([2.0], Restart(0.1)),
    ],
)
def test_the_delay_doubles_with_each_short_life_until_it_is_given_up(
    lives: list[float], decision: Restart | GiveUp
) -> None:
    assert decide_restart([Life(seconds) for seconds in lives]) == decision


def test_the_delay_never_exceeds_its_limit() -> None:
    assert 0.1 * 2 ** (CRASH_LOOP_LENGTH - 1) <= LONGEST_DELAY_S
