"""Whether a dead worker is started again, and when: a pure function of how its predecessors lived."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["GiveUp", "Life", "Restart", "decide_restart"]

#: A worker that lived for less than this after it was ready, in seconds, has crashed at its work and not by accident.
SHORT_LIFE_S = 2.0
#: So many short lives in a row are a crash loop: the next one would be short as well.
CRASH_LOOP_LENGTH = 5
FIRST_DELAY_S = 0.1
LONGEST_DELAY_S = 10.0


class Life(NamedTuple):
    """How long a worker took requests, in seconds; 0 if it never became ready."""

    ready_for_s: float


class Restart(NamedTuple):
    """Start a successor after `delay_s` seconds."""

    delay_s: float


class GiveUp(NamedTuple):
    """Stop the server: a successor would die as well."""

    deaths: int


def decide_restart(lives: list[Life]) -> Restart | GiveUp:
    """What to do after the last of `lives` has ended; oldest first, not empty."""
    short = 0
    for life in reversed(lives):
        if life.ready_for_s >= SHORT_LIFE_S:
            break
        short += 1
    if short >= CRASH_LOOP_LENGTH:
        return GiveUp(short)
    return Restart(min(LONGEST_DELAY_S, FIRST_DELAY_S * 2 ** max(0, short - 1)))
