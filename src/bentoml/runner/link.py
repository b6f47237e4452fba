"""Link: one runner worker as the API worker sees it: calls out, answers in, connected again when it was restarted.

to the worker     [[id, method, args, kwargs, timed], …], [ids that are withdrawn, …]
from the worker   [[id, outcome, value, timings], …]       outcome: see `bentoml.runner.serving`
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import socket
from collections.abc import AsyncIterator
from typing import Any

from bentoml._context import ModelTiming, model_timings
from bentoml.exceptions import ServiceUnavailable
from bentoml.runner.frames import FramePeer
from bentoml.runner.serving import ENDED, FAILED, VALUE, rebuilt_error
from bentoml.runner.wire import FrameError, pack, unpack

__all__ = ["Link"]

logger = logging.getLogger("bentoml")

#: How long to wait before the next attempt to reach a worker that is being restarted, in seconds.
RECONNECT_DELAY_S = 0.1


class Link:
    """Reaches one worker at its unix socket; all methods are called on the event loop that called `connect`.

    Args:
        name: the runner's name, for messages.
        path: of the socket.
    """

    def __init__(self, name: str, path: str) -> None:
        self._name = name
        self._path = path
        self._loop = asyncio.get_running_loop()
        self._peer: FramePeer | None = None
        self._greeted: asyncio.Future[None] = self._loop.create_future()
        self._ids = itertools.count()
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._streams: dict[int, asyncio.Queue[tuple[int, Any]]] = {}
        #: Of the calls whose caller asked for it: where their timings go.
        self._timings: dict[int, list[ModelTiming]] = {}
        self._calls: list[Any] = []
        self._withdrawn: list[int] = []
        self._buffers: list[Any] = []
        self._flush_scheduled = False
        self._reconnecting: asyncio.Task[None] | None = None
        self._closed = False

    async def connect(self) -> None:
        """Reach the worker; returns when it has loaded its model."""
        while not self._closed:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            sock.setblocking(False)
            self._greeted = self._loop.create_future()
            try:
                await self._loop.sock_connect(sock, self._path)
                self._peer = FramePeer(sock, on_frame=self._on_frame, on_lost=self._on_lost)
                # The supervisor holds the listening socket, so connecting says nothing; the first frame says that a
                # worker has loaded its model.
                await self._greeted
                return
            except (OSError, FrameError) as error:
                sock.close()
                logger.debug("a worker of the runner %s cannot be reached yet: %s", self._name, error)
                await asyncio.sleep(RECONNECT_DELAY_S)

    @property
    def is_ready(self) -> bool:
        """Whether a call made now would reach a loaded model."""
        return self._peer is not None and self._greeted.done()

    @property
    def load(self) -> int:
        """Calls that the worker has not answered yet."""
        return len(self._waiting) + len(self._streams)

    # -- calls --------------------------------------------------------------------------------------------------------

    def submit(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> asyncio.Future[Any]:
        """Send a call with all others of this turn of the loop; cancelling the future withdraws it."""
        number = self._send_call(method, args, kwargs)
        future: asyncio.Future[Any] = self._loop.create_future()
        self._waiting[number] = future
        future.add_done_callback(lambda done: self._withdraw(number) if done.cancelled() else None)
        return future

    async def stream(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> AsyncIterator[Any]:
        """Iterate over what a generator method yields."""
        queue: asyncio.Queue[tuple[int, Any]] = asyncio.Queue()
        number = self._send_call(method, args, kwargs)
        self._streams[number] = queue
        outcome = VALUE
        try:
            while True:
                outcome, value = await queue.get()
                if outcome == FAILED:
                    raise value
                if outcome == ENDED:
                    return
                yield value
        finally:
            self._streams.pop(number, None)
            if outcome == VALUE:
                self._withdraw(number)

    def _send_call(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
        timings = model_timings.get()
        before = len(self._buffers)
        try:
            packed = [method, pack(args, self._buffers), pack(kwargs, self._buffers), timings is not None]
        except BaseException:
            del self._buffers[before:]
            raise
        number = next(self._ids)
        if timings is not None:
            self._timings[number] = timings
        self._calls.append([number, *packed])
        self._schedule_flush()
        return number

    def _withdraw(self, number: int) -> None:
        self._waiting.pop(number, None)
        self._timings.pop(number, None)
        if self._peer is not None:
            self._withdrawn.append(number)
            self._schedule_flush()

    def _schedule_flush(self) -> None:
        if not self._flush_scheduled:
            self._flush_scheduled = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_scheduled = False
        calls, self._calls = self._calls, []
        withdrawn, self._withdrawn = self._withdrawn, []
        buffers, self._buffers = self._buffers, []
        if self._peer is None:
            return
        try:
            self._peer.send([calls, withdrawn], buffers)
        except FrameError as error:
            for number, *_ in calls:
                self._answered(number, FAILED, error)

    # -- answers ------------------------------------------------------------------------------------------------------

    def _on_frame(self, tree: Any, buffers: list[memoryview]) -> None:
        if not self._greeted.done():
            self._greeted.set_result(None)
        try:
            for number, outcome, packed, timings in tree:
                if timings is not None and number in self._timings:
                    self._timings[number] += [ModelTiming(*each) for each in timings]
                if number in self._waiting or number in self._streams:
                    self._answered(number, *_unpacked(outcome, packed, buffers))
        except (TypeError, ValueError) as error:
            raise FrameError(f"a frame of answers is malformed: {error}") from error

    def _answered(self, number: int, outcome: int, value: Any) -> None:
        queue = self._streams.get(number)
        if queue is not None:
            queue.put_nowait((outcome, value))
            return
        self._timings.pop(number, None)
        future = self._waiting.pop(number, None)
        if future is None or future.done():
            return
        if outcome == FAILED:
            future.set_exception(value)
        else:
            future.set_result(value)

    def _on_lost(self, reason: str) -> None:
        self._peer = None
        if not self._greeted.done():
            self._greeted.set_exception(ConnectionError(reason))
            return
        error = f"the worker of the runner {self._name!r} ended while it had this call: {reason}"
        if self.load:
            logger.error("%s (%d calls)", error, self.load)
        for number in [*self._waiting, *self._streams]:
            self._answered(number, FAILED, ServiceUnavailable(error))
        if not self._closed:
            self._reconnecting = self._loop.create_task(self.connect())

    def close(self) -> None:
        """End the connection; whoever still waits is told that the server is shutting down."""
        self._closed = True
        if self._reconnecting is not None:
            self._reconnecting.cancel()
        if self._peer is not None:
            self._peer.close()
            self._peer = None
        for number in [*self._waiting, *self._streams]:
            self._answered(number, FAILED, ServiceUnavailable(f"the runner {self._name!r} is shutting down"))


def _unpacked(outcome: int, packed: Any, buffers: list[memoryview]) -> tuple[int, Any]:
    try:
        if outcome == VALUE:
            return VALUE, unpack(packed, buffers, trusted=True)
        return outcome, rebuilt_error(packed, buffers) if outcome == FAILED else None
    except Exception as error:  # noqa: BLE001 - unpickling runs the value's own code: its caller gets what went wrong
        return FAILED, error
