"""Limited: another placement that refuses calls beyond so many in flight in one process."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Awaitable, Iterator
from typing import Any

from bentoml.exceptions import ServiceUnavailable
from bentoml.runner.placements import Placement

__all__ = ["Limited"]


class Limited(Placement):
    """Refuses with ServiceUnavailable what would be one call too many; a stream counts until it is closed.

    Args:
        inner: where the calls go.
        limit: calls in flight at one time.
    """

    def __init__(self, inner: Placement, name: str, limit: int) -> None:
        self.inner = inner
        self._name = name
        self._limit = limit
        self._in_flight = 0
        #: Threads call as well.
        self._lock = threading.Lock()

    def _enter(self) -> None:
        with self._lock:
            if self._in_flight >= self._limit:
                raise ServiceUnavailable(
                    f"{self._limit} calls of the runner {self._name!r} are in flight, no more may", retry_after_s=1.0
                )
            self._in_flight += 1

    def _leave(self, _: object = None) -> None:
        with self._lock:
            self._in_flight -= 1

    @contextlib.contextmanager
    def _place(self) -> Iterator[None]:
        self._enter()
        try:
            yield
        finally:
            self._leave()

    async def start(self) -> None:
        await self.inner.start()

    def submit(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Awaitable[Any]:
        self._enter()
        try:
            future = asyncio.ensure_future(self.inner.submit(method, args, kwargs))
        except BaseException:
            self._leave()
            raise
        future.add_done_callback(self._leave)
        return future

    def call(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        with self._place():
            return self.inner.call(method, args, kwargs)

    async def stream(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> AsyncIterator[Any]:
        with self._place():
            items = self.inner.stream(method, args, kwargs)
            try:
                async for item in items:
                    yield item
            finally:
                if hasattr(items, "aclose"):
                    await items.aclose()

    @property
    def is_ready(self) -> bool:
        return self.inner.is_ready

    async def close(self) -> None:
        await self.inner.close()
