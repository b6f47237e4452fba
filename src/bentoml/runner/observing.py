"""Observer: who is told about the batches of an engine; and the way to it, on which nothing it does wrong matters."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from typing import Protocol

from bentoml.runner.batching import Reason

__all__ = ["Observer", "Reporter"]

logger = logging.getLogger("bentoml")


class Observer(Protocol):
    """Who is told about batches; called on the event loop."""

    def batch(self, method: str, *, calls: int, rows: int, queue_s: float, compute_s: float, reason: Reason) -> None:
        """A batch was run; `queue_s` is the wait of its oldest call."""

    def refused(self, method: str, reason: str) -> None:
        """A call was refused (`queue`) or its deadline passed while it waited (`deadline`)."""


class Reporter:
    """Tells an observer, if there is one; an error of its own is logged and harms no call."""

    __slots__ = ("_from_threads", "_loop", "_observer", "_scheduled")

    def __init__(self, observer: Observer | None, loop: asyncio.AbstractEventLoop) -> None:
        self._observer = observer
        self._loop = loop
        self._from_threads: deque[tuple[str, int, float, float]] = deque()
        self._scheduled = False

    def batch(self, method: str, calls: int, rows: int, queue_s: float, compute_s: float, reason: Reason) -> None:
        """A batch was run."""
        if self._observer is None:
            return
        try:
            self._observer.batch(method, calls=calls, rows=rows, queue_s=queue_s, compute_s=compute_s, reason=reason)
        except Exception:
            logger.exception("the observer of %r failed", method)

    def refused(self, method: str, reason: str) -> None:
        """A call was refused."""
        if self._observer is None:
            return
        try:
            self._observer.refused(method, reason)
        except Exception:
            logger.exception("the observer of %r failed", method)

    def alone(self, method: str, rows: int, queue_s: float, compute_s: float) -> None:
        """A call ran by itself in the calling thread; the observer hears of it on the event loop."""
        if self._observer is None:
            return
        self._from_threads.append((method, rows, queue_s, compute_s))
        if not self._scheduled:
            self._scheduled = True
            # Once the event loop has ended nobody listens any more.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._tell)

    def _tell(self) -> None:
        self._scheduled = False
        while self._from_threads:
            method, rows, queue_s, compute_s = self._from_threads.popleft()
            self.batch(method, 1, rows, queue_s, compute_s, "idle")
