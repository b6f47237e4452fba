"""How a thread waits for the result of a model; one that takes turns lets others have theirs meanwhile."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable
from typing import Any

from bentoml._threads.worker import Wait, Worker, here

__all__ = ["Pending", "has_company", "post", "wait_for"]


class Pending(Wait):
    """The result of a call for the thread that makes this object; another one sets it, once.

    It does what of a future is needed here, with one lock where a future has two and a condition.
    """

    __slots__ = ("_error", "_lock", "_value", "_worker")

    def __init__(self) -> None:
        super().__init__()
        self._value: Any = None
        self._error: BaseException | None = None
        self._worker: Worker | None = getattr(here, "worker", None)
        if self._worker is None:
            self._lock = threading.Lock()
            self._lock.acquire()

    def done(self) -> bool:
        """Whether there is a result."""
        return self.is_done

    def set_result(self, value: Any, /) -> None:
        """The call has returned."""
        self._value = value
        self._end()

    def set_exception(self, error: BaseException, /) -> None:
        """The call has raised."""
        self._error = error
        self._end()

    def _end(self) -> None:
        if self._worker is None:
            self.is_done = True
            self._lock.release()
        else:
            self._worker.crew.resume(self._worker, self)

    def result(self) -> Any:
        """Wait for the result and return or raise it."""
        if self._worker is None:
            with self._lock:
                pass
        else:
            self._worker.wait(self)
        if self._error is not None:
            try:
                raise self._error
            finally:
                # The traceback of the error holds this frame, and would hold with it the error itself.
                del self
        return self._value


def has_company() -> bool:
    """Whether this thread has the turn, and others would have something to do if they had it."""
    worker: Worker | None = getattr(here, "worker", None)
    return worker is not None and worker.quick and worker.crew.is_busy


def post(loop: asyncio.AbstractEventLoop, callback: Callable[[], object]) -> None:
    """Let an event loop call a function; from a thread that takes turns soon after it, together with what others post.

    Raises:
        RuntimeError: the event loop has ended.
    """
    worker: Worker | None = getattr(here, "worker", None)
    if worker is None or worker.crew.loop is not loop or loop.is_closed():
        loop.call_soon_threadsafe(callback)
    else:
        worker.crew.post(worker, callback)


def wait_for(future: concurrent.futures.Future[Any]) -> Any:
    """The result of a future; a thread that takes turns lets others have theirs until it is there."""
    if getattr(here, "worker", None) is not None:
        pending = Pending()
        future.add_done_callback(pending.set_result)
        pending.result()
    return future.result()
