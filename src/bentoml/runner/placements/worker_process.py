"""The engine in worker processes of its own: all calls wait in one queue, and a worker with room takes the oldest."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Sequence
from typing import Any

from bentoml._threads import wait_for
from bentoml.exceptions import ServiceUnavailable, StateException
from bentoml.runner.dispatcher import Dispatcher
from bentoml.runner.method_queue import MethodPlan
from bentoml.runner.observing import Observer
from bentoml.runner.placements import Placement

__all__ = ["WorkerProcess"]

#: How long `start` waits for the workers, in seconds: they may be loading a large model.
START_TIMEOUT_S = 600.0


class WorkerProcess(Placement):
    """Reaches the workers of one runner, each at a unix socket of its own.

    Args:
        name: the runner's name, for messages.
        paths: of the sockets.
        plans: the methods that may be called, as the workers have them.
        timeout_s: a call that takes longer fails with DeadlineExceeded, to within a second; default: never.
        observer: told of each call that is refused before it reaches a worker.
    """

    def __init__(
        self,
        name: str,
        paths: Sequence[str],
        plans: Sequence[MethodPlan],
        *,
        timeout_s: float = math.inf,
        observer: Observer | None = None,
    ) -> None:
        self.name = name
        self.paths = list(paths)
        self._plans = plans
        self._timeout_s = timeout_s
        self._observer = observer
        self._loop: asyncio.AbstractEventLoop | None = None
        self._dispatcher: Dispatcher | None = None

    async def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._dispatcher = Dispatcher(
            self.name, self.paths, self._plans, timeout_s=self._timeout_s, observer=self._observer
        )
        await asyncio.wait_for(self._dispatcher.connect(), START_TIMEOUT_S)

    @property
    def is_ready(self) -> bool:
        return self._dispatcher is not None and self._dispatcher.is_ready

    def queued_rows(self, method: str) -> int:
        """Rows of a method that wait in this process."""
        return 0 if self._dispatcher is None else self._dispatcher.queued_rows(method)

    def _started(self) -> tuple[Dispatcher, asyncio.AbstractEventLoop]:
        if self._dispatcher is None or self._loop is None:
            raise StateException(f"the runner {self.name!r} is not running")
        return self._dispatcher, self._loop

    def submit(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Awaitable[Any]:
        dispatcher, loop = self._dispatcher, self._loop
        if dispatcher is None or loop is None:
            raise StateException(f"the runner {self.name!r} is not running")
        if asyncio.get_running_loop() is not loop:
            return asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._submitted(method, args, kwargs), loop))
        return dispatcher.submit(method, args, kwargs)

    async def _submitted(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return await self._started()[0].submit(method, args, kwargs)

    def call(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        _, loop = self._started()
        try:
            running: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
        except RuntimeError:
            running = None
        if running is loop:
            raise StateException(
                f"{self.name}.{method}.run() would block the event loop for ever, as the model is in another process. "
                f"In an async function use `await {self.name}.{method}.async_run(...)`"
            )
        if loop.is_closed():
            raise ServiceUnavailable(f"the event loop that served the runner {self.name!r} has ended")
        return wait_for(asyncio.run_coroutine_threadsafe(self._submitted(method, args, kwargs), loop))

    def stream(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> AsyncIterator[Any]:
        return self._started()[0].least_loaded().stream(method, args, kwargs)

    async def close(self) -> None:
        if self._dispatcher is not None:
            self._dispatcher.close()
