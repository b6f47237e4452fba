"""Worker: one of the threads, and how it finds out what it shall do."""

from __future__ import annotations

import asyncio
import threading
import time
import weakref
from collections.abc import Callable
from typing import Protocol

from bentoml._threads.work import Work

__all__ = ["Crew", "Wait", "Worker", "crews", "here"]

#: In a worker, its attribute `worker` is that.
here = threading.local()


class Wait:
    """Something that a thread waits for; both attributes are behind the mutex of its crew."""

    __slots__ = ("is_done", "is_waited_for")

    def __init__(self) -> None:
        self.is_done = False
        self.is_waited_for = False


class Crew(Protocol):
    """What the threads are to one of them."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The event loop that they work for."""

    @property
    def is_closed(self) -> bool:
        """Whether nothing will be begun any more."""

    @property
    def is_busy(self) -> bool:
        """Whether somebody waits for the turn, or the event loop will hear of something soon."""

    def ended(self, worker: Worker, work: Work) -> Work | None:
        """It has ended a work; the next one is in its hands already."""

    def leave(self, worker: Worker, wait: Wait) -> bool:
        """It is about to wait; False if it need not."""

    def resume(self, worker: Worker, wait: Wait) -> None:
        """What it waits for, or will wait for, is there; called from any thread."""

    def post(self, worker: Worker, callback: Callable[[], object]) -> None:
        """It has something for the event loop."""

    def close(self) -> None:
        """Begin nothing any more and let the workers end."""


#: All that there are.
crews: weakref.WeakSet[Crew] = weakref.WeakSet()


def _close_all() -> None:
    for crew in list(crews):
        crew.close()


# As the standard library does for its executors: Python waits for all threads before it calls what `atexit` knows.
threading._register_atexit(_close_all)  # type: ignore[attr-defined]  # not public


class Worker(threading.Thread):
    """A thread that performs works. What others set of it they set behind the mutex of the crew.

    Attributes:
        cpu_s: the CPU time that it has used until the end of its last go.
        lock: closed; opened once by whoever has something for it to do.
        quick: whether it runs only while it has the turn.
        waited: whether its work has waited for a model.
        since: when it began to run, on the monotonic clock; 0: it has been told to and has not begun.
        successor: the lock of who has the turn next, which this thread opens when it stops.
    """

    def __init__(self, crew: Crew, name: str) -> None:
        super().__init__(name=name)
        self.crew = crew
        self.lock = threading.Lock()
        self.lock.acquire()
        self.work: Work | None = None
        self.quick = False
        self.waited = False
        self.since = 0.0
        self.cpu_s = 0.0
        self.successor: threading.Lock | None = None

    def run(self) -> None:
        here.worker = self
        while True:
            self._rest()
            work = self.work
            if work is None:
                return
            while work is not None:
                self.since = time.monotonic()
                work.perform()
                work = self.crew.ended(self, work)
            if self.crew.is_closed and self.work is None:
                self.hand_over()
                return

    def wait(self, wait: Wait) -> None:
        """Let others have their turn until what is waited for is there."""
        if self.crew.leave(self, wait):
            self._rest()
            self.since = time.monotonic()

    def _rest(self) -> None:
        self.hand_over()
        self.lock.acquire()

    def hand_over(self) -> None:
        """Wake who has the turn next; at the last moment, as until this thread stops it would wait once more: for the
        interpreter lock.
        """
        successor, self.successor = self.successor, None
        if successor is not None:
            successor.release()
