"""Chunks: the body of an answer on its way from whoever makes it to the client, one chunk at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

__all__ = ["Chunks", "ClientGone"]


class ClientGone(OSError):
    """Nobody reads what is sent; an OSError, as ASGI wants it."""


class Chunks(AsyncIterator[bytes]):
    """The body of a streamed answer.

    Args:
        length: bytes of the whole body, None where they are not known.
        on_closed: called when nobody will read on; also after the end.
    """

    __slots__ = ("_closed", "_on_closed", "_queue", "_taken", "length")

    def __init__(self, length: int | None, on_closed: Callable[[], object]) -> None:
        self.length = length
        self._on_closed = on_closed
        self._queue: asyncio.Queue[bytes | BaseException | None] = asyncio.Queue()
        self._taken = asyncio.Event()
        self._closed = False

    async def put(self, chunk: bytes) -> None:
        """Hand over a chunk and wait until it is taken: nothing is made faster than the client reads.

        Raises:
            ClientGone: nobody reads.
        """
        if not self._closed:
            self._taken.clear()
            self.add(chunk)
            await self._taken.wait()
        if self._closed:
            raise ClientGone("the client is gone")

    def add(self, chunk: bytes) -> None:
        """Hand over a chunk without waiting."""
        self._queue.put_nowait(chunk)

    def end(self, error: BaseException | None = None) -> None:
        """Nothing will follow; with an error, what came is not the whole body."""
        self._queue.put_nowait(error)

    async def __anext__(self) -> bytes:
        item = await self._queue.get()
        self._taken.set()
        if item is None:
            raise StopAsyncIteration
        if isinstance(item, BaseException):
            raise item
        return item

    async def aclose(self) -> None:
        """The same as `close`, as the server calls it."""
        self.close()

    def close(self) -> None:
        """Nobody will read on."""
        self._closed = True
        self._taken.set()
        self._on_closed()
