"""Lane: the calls of one function, and whether they are quick enough to take turns."""

from __future__ import annotations

__all__ = ["LOST", "Lane", "weight"]

#: A function that runs so long at one go, in seconds, has nothing from taking turns: threads that are all woken at once
#: take about as long for each request.
QUICK_S = 0.0005
#: From so many seconds on it matters whether it has computed or waited.
_SHORT_S = 0.0001
#: Goes that were longer, less those that were not; with so many the lane is slow. Any single one may be disturbed.
_PATIENCE = 32
#: What a turn counts that had to be taken away.
LOST = 8
#: For so many seconds; then the lane may show that it has become quick.
_SLOW_S = 1.0


def weight(wall_s: float, cpu_s: float) -> int:
    """What a go counts that took so long: 1 if others had better run meanwhile, as it was long or mostly waiting."""
    return 1 if wall_s > QUICK_S or (wall_s > _SHORT_S and cpu_s < wall_s / 2) else -1


class Lane:
    """Learns from each go of a function, from where it begins or goes on to where it waits for a model or ends."""

    __slots__ = ("_debt", "_slow_until")

    def __init__(self) -> None:
        self._debt = 0
        self._slow_until = 0.0

    def is_quick(self, now: float) -> bool:
        """Whether a call that is made now takes turns."""
        return now >= self._slow_until

    def note(self, weight: int, now: float) -> bool:
        """Take one go into account: -1 for a short one, more than 0 for a long one; True: the lane is slow now."""
        self._debt = max(0, self._debt + weight)
        if self._debt < _PATIENCE or now < self._slow_until:
            return False
        self._debt = _PATIENCE - LOST
        self._slow_until = now + _SLOW_S
        return True
