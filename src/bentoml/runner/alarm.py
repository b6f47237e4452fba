"""Alarm: one timer of an event loop that goes off at the earliest of the times it was set to."""

from __future__ import annotations

import asyncio
import contextvars
import math
from collections.abc import Callable

__all__ = ["Alarm"]


class Alarm:
    """Calls `ring` once, at the earliest time that it was set to since it rang last.

    Args:
        clock: what the times are of; the event loop may have another one.
        context: in which `ring` is called.
    """

    __slots__ = ("_clock", "_context", "_due", "_loop", "_ring", "_timer")

    def __init__(
        self,
        ring: Callable[[], None],
        *,
        loop: asyncio.AbstractEventLoop,
        clock: Callable[[], float],
        context: contextvars.Context,
    ) -> None:
        self._ring = ring
        self._loop = loop
        self._clock = clock
        self._context = context
        self._timer: asyncio.TimerHandle | None = None
        self._due = math.inf

    def set(self, when: float) -> None:
        """Ring at `when`, or earlier if that was asked for before; never if it is infinite."""
        if when >= self._due:
            return
        self.cancel()
        self._due = when
        # In whole milliseconds, which is what event loops count in: a timer that went off early would be set again.
        delay_s = math.ceil(max(0.0, when - self._clock()) * 1000) / 1000
        self._timer = self._loop.call_later(delay_s, self._went_off, context=self._context)

    def cancel(self) -> None:
        """Do not ring."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._due = None, math.inf

    def _went_off(self) -> None:
        self._timer, self._due = None, math.inf
        self._ring()
