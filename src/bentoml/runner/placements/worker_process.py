"""The engine in worker processes of its own: each call goes to the worker with the fewest calls in hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Sequence
from typing import Any

from bentoml.exceptions import ServiceUnavailable, StateException
from bentoml.runner.link import Link
from bentoml.runner.placements import Placement

__all__ = ["WorkerProcess"]

#: How long `start` waits for the workers, in seconds: they may be loading a large model.
START_TIMEOUT_S = 600.0


class WorkerProcess(Placement):
    """Reaches the workers of one runner, each at a unix socket of its own.

    Args:
        name: the runner's name, for messages.
        paths: of the sockets.
    """

    def __init__(self, name: str, paths: Sequence[str]) -> None:
        self.name = name
        self.paths = list(paths)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._links: list[Link] = []

    async def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._links = [Link(self.name, path) for path in self.paths]
        await asyncio.wait_for(asyncio.gather(*[link.connect() for link in self._links]), START_TIMEOUT_S)

    @property
    def is_ready(self) -> bool:
        return any(link.is_ready for link in self._links)

    def _least_loaded(self) -> Link:
        """The first of them where several are equal, so that under light load calls meet and are batched."""
        best: Link | None = None
        for link in self._links:
            if link.is_ready and (best is None or link.load < best.load):
                best = link
        if best is None:
            raise ServiceUnavailable(f"the worker of the runner {self.name!r} is being restarted")
        return best

    def submit(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Awaitable[Any]:
        loop = self._loop
        assert loop is not None
        if asyncio.get_running_loop() is not loop:
            return asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._submitted(method, args, kwargs), loop))
        return self._least_loaded().submit(method, args, kwargs)

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

    def stream(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> AsyncIterator[Any]:
        return self._least_loaded().stream(method, args, kwargs)

    async def close(self) -> None:
        for link in self._links:
            link.close()
