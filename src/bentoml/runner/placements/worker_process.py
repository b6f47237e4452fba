"""The engine in worker processes of its own: one frame a turn of the event loop carries all calls of that turn.

to the worker     [[id, method, args, kwargs], …], [ids that are withdrawn, …]
from the worker   [[id, outcome, value], …]        outcome: see `bentoml.runner.serving`
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import socket
from collections.abc import AsyncIterator, Awaitable
from typing import Any

from bentoml.exceptions import ServiceUnavailable, StateException
from bentoml.runner.frames import FramePeer
from bentoml.runner.placements import Placement
from bentoml.runner.serving import ENDED, FAILED, VALUE, rebuilt_error
from bentoml.runner.wire import FrameError, pack, unpack

__all__ = ["WorkerProcess"]

logger = logging.getLogger("bentoml")

#: How long to wait before the next attempt to reach a worker that is being restarted, in seconds.
RECONNECT_DELAY_S = 0.1
#: How long `start` waits for the worker, in seconds: it may be loading a large model.
START_TIMEOUT_S = 600.0


class WorkerProcess(Placement):
    """Reaches the workers of one runner at a unix socket.

    Args:
        name: the runner's name, for messages.
        path: of the socket.
    """

    def __init__(self, name: str, path: str) -> None:
        self.name = name
        self.path = path
        self._loop: asyncio.AbstractEventLoop | None = None
        self._peer: FramePeer | None = None
        self._greeted: asyncio.Future[None] | None = None
        self._ids = itertools.count()
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._streams: dict[int, asyncio.Queue[tuple[int, Any]]] = {}
        self._calls: list[Any] = []
        self._withdrawn: list[int] = []
        self._buffers: list[Any] = []
        self._flush_scheduled = False
        self._reconnecting: asyncio.Task[None] | None = None
        self._closed = False

    async def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        await asyncio.wait_for(self._connect(), START_TIMEOUT_S)

    async def _connect(self) -> None:
        assert self._loop is not None
        while not self._closed:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            sock.setblocking(False)
            try:
                await self._loop.sock_connect(sock, self.path)
                self._greeted = self._loop.create_future()
                self._peer = FramePeer(sock, on_frame=self._on_frame, on_lost=self._on_lost)
                # The supervisor holds the listening socket, so connecting says nothing; the first frame says that a
                # worker has loaded its model.
                await self._greeted
                return
            except (OSError, FrameError) as error:
                sock.close()
                logger.debug("the workers of runner %s cannot be reached yet: %s", self.name, error)
                await asyncio.sleep(RECONNECT_DELAY_S)

    @property
    def is_ready(self) -> bool:
        return self._greeted is not None and self._greeted.done() and self._peer is not None

    # -- calls --------------------------------------------------------------------------------------------------------

    def submit(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Awaitable[Any]:
        loop = self._loop
        assert loop is not None
        if asyncio.get_running_loop() is not loop:
            return asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._submitted(method, args, kwargs), loop))
        number = self._send_call(method, args, kwargs)
        future: asyncio.Future[Any] = loop.create_future()
        self._waiting[number] = future
        future.add_done_callback(lambda done: self._withdraw(number) if done.cancelled() else None)
        return future

    async def _submitted(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return await self.submit(method, args, kwargs)

    def call(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        loop = self._loop
        assert loop is not None
        try:
            running: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
        except RuntimeError:
            running = None
        if running is loop:
            raise StateException(
                f"{self.name}.{method}.run() would block the event loop for ever, as the model is in another process. "
                f"In an async function use `await {self.name}.{method}.async_run(...)`"
            )
        return asyncio.run_coroutine_threadsafe(self._submitted(method, args, kwargs), loop).result()

    async def stream(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> AsyncIterator[Any]:
        queue: asyncio.Queue[tuple[int, Any]] = asyncio.Queue()
        number = self._send_call(method, args, kwargs)
        self._streams[number] = queue
        try:
            while True:
                outcome, value = await queue.get()
                if outcome == FAILED:
                    raise value
                if outcome == ENDED:
                    return
                yield value
        finally:
            if self._streams.pop(number, None) is not None:
                self._withdraw(number)

    def _send_call(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
        if not self.is_ready:
            raise ServiceUnavailable(f"the worker of the runner {self.name!r} is being restarted")
        number = next(self._ids)
        buffers = self._buffers
        self._calls.append([number, method, pack(args, buffers), pack(kwargs, buffers)])
        self._schedule_flush()
        return number

    def _withdraw(self, number: int) -> None:
        self._waiting.pop(number, None)
        if self._peer is not None:
            self._withdrawn.append(number)
            self._schedule_flush()

    def _schedule_flush(self) -> None:
        if not self._flush_scheduled:
            self._flush_scheduled = True
            assert self._loop is not None
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_scheduled = False
        calls, self._calls = self._calls, []
        withdrawn, self._withdrawn = self._withdrawn, []
        buffers, self._buffers = self._buffers, []
        if self._peer is not None:
            self._peer.send([calls, withdrawn], buffers)

    # -- answers ------------------------------------------------------------------------------------------------------

    def _on_frame(self, tree: Any, buffers: list[memoryview]) -> None:
        if self._greeted is not None and not self._greeted.done():
            self._greeted.set_result(None)
        for number, outcome, packed in tree:
            future = self._waiting.get(number)
            queue = self._streams.get(number)
            if future is None and queue is None:
                continue
            try:
                value: Any = None
                if outcome == VALUE:
                    value = unpack(packed, buffers, trusted=True)
                elif outcome == FAILED:
                    value = rebuilt_error(packed, buffers)
            except FrameError as error:
                outcome, value = FAILED, error
            if queue is not None:
                queue.put_nowait((outcome, value))
            elif future is not None:
                del self._waiting[number]
                if future.done():
                    continue
                if outcome == FAILED:
                    future.set_exception(value)
                else:
                    future.set_result(value)

    def _on_lost(self, reason: str) -> None:
        self._peer = None
        connecting = self._greeted is not None and not self._greeted.done()
        if connecting:
            assert self._greeted is not None
            self._greeted.set_exception(ConnectionError(reason))
            return
        error = f"the worker of the runner {self.name!r} ended while it had this call: {reason}"
        if self._waiting or self._streams:
            logger.error("%s (%d calls)", error, len(self._waiting) + len(self._streams))
        waiting, self._waiting = self._waiting, {}
        for future in waiting.values():
            if not future.done():
                future.set_exception(ServiceUnavailable(error))
        for queue in self._streams.values():
            queue.put_nowait((FAILED, ServiceUnavailable(error)))
        if not self._closed and self._loop is not None:
            self._reconnecting = self._loop.create_task(self._connect())

    async def close(self) -> None:
        self._closed = True
        if self._reconnecting is not None:
            self._reconnecting.cancel()
        if self._peer is not None:
            self._peer.close()
            self._peer = None
