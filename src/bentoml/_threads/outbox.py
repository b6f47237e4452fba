"""Outbox: what threads have for their event loop, which is woken once for many of them."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Callable

__all__ = ["Outbox"]

#: What is for the event loop waits so many seconds for more to share its waking with: calls of a model that arrive
#: together make one batch. No longer, as the model may be idle.
COLLECT_S = 0.001


class Outbox:
    """Functions that an event loop shall call; any thread may add one.

    Attributes:
        loop: None until `serve`.
    """

    def __init__(self) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None
        self._loop_thread = 0
        self._posted: deque[Callable[[], object]] = deque()
        self._since = 0.0
        self._told = False
        #: Puts in a function, to be told of later.
        self.add = self._posted.append

    def __bool__(self) -> bool:
        return bool(self._posted)

    def serve(self, loop: asyncio.AbstractEventLoop) -> None:
        """Belong to another event loop, the running one; that before has ended, and with it whoever waited there."""
        self.loop, self._loop_thread = loop, threading.get_ident()
        self._posted.clear()
        self._told = False

    def collect(self, now: float) -> bool:
        """Wake the event loop if what is there has waited long enough; True if it has only begun to."""
        if not self._posted:
            return False
        if not self._since:
            self._since = now
            return True
        if now - self._since > COLLECT_S:
            self.tell()
        return False

    def tell(self) -> None:
        """Wake the event loop if there is something for it."""
        if self._told or self.loop is None or not self._posted:
            return
        self._told = True
        # Once the event loop has ended nobody waits any more.
        with contextlib.suppress(RuntimeError):
            self.loop.call_soon_threadsafe(self.deliver)

    def deliver(self) -> None:
        """Call the functions, on the event loop."""
        self._told, self._since = False, 0.0
        while self._posted:
            self._posted.popleft()()

    def call_later(self, seconds: float, function: Callable[[], object]) -> None:
        """Let the event loop call a function after a while; from any thread."""
        if self.loop is None:
            return
        if threading.get_ident() == self._loop_thread:
            self.loop.call_later(seconds, function)
        else:
            with contextlib.suppress(RuntimeError):
                self.loop.call_soon_threadsafe(self.loop.call_later, seconds, function)
