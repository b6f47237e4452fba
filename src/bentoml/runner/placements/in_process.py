"""The engine in this very process: a call is a function call, or a place in the batch of this event loop's turn."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable
from typing import Any

from bentoml.runner.engine import Engine
from bentoml.runner.placements import Placement
from bentoml.runner.turns import SWEEP_INTERVAL_S

__all__ = ["InProcess"]


class InProcess(Placement):
    """Reaches an engine that lives in this process.

    Before `start`, as in a notebook, each call runs alone; after it, the calls of batchable methods are joined.

    Args:
        timeout_s: a call that takes longer fails with DeadlineExceeded, to within a second; default: never. One that
            runs in the calling thread takes its time all the same, as nothing can stop it.
    """

    def __init__(self, engine: Engine, *, timeout_s: float = math.inf) -> None:
        self.engine = engine
        self._timeout_s = timeout_s
        self._sweeper: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False

    def load(self) -> None:
        """Load the model in the calling thread."""
        if not self.engine.is_loaded:
            self.engine.load()

    async def start(self) -> None:
        await asyncio.to_thread(self.load)
        self.engine.start()
        self._loop, self._closed = asyncio.get_running_loop(), False
        if self._timeout_s < math.inf:
            self._sweeper = self._loop.call_later(SWEEP_INTERVAL_S, self._sweep, self._loop)

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        self._sweeper = loop.call_later(SWEEP_INTERVAL_S, self._sweep, loop)
        self.engine.fail_overdue(self._timeout_s)

    def submit(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Awaitable[Any]:
        loop = self._loop
        if loop is None:
            return self._submit_locally(method, args, kwargs)
        if loop is asyncio.get_running_loop():
            return self.engine.submit(method, args, kwargs)
        # Another thread's event loop: the queues belong to the first one.
        return asyncio.wrap_future(self.engine.submit_from_thread(method, args, kwargs))

    async def _submit_locally(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if self.engine.is_asynchronous(method):
            return await self.engine.run_coroutine(method, args, kwargs)
        return await asyncio.to_thread(self.engine.call, method, args, kwargs)

    def call(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return self.engine.call(method, args, kwargs)

    def stream(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> AsyncIterator[Any]:
        return self.engine.stream(method, args, kwargs)

    @property
    def is_ready(self) -> bool:
        return self.engine.is_loaded and not self._closed

    async def close(self) -> None:
        if self._sweeper is not None:
            self._sweeper.cancel()
        self._loop, self._closed = None, True
        await self.engine.close()
