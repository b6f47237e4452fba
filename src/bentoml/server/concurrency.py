"""ConcurrencyLimit: refuses requests beyond so many in flight in one process; a streamed answer counts to its end."""

from __future__ import annotations

from collections.abc import AsyncIterator

from bentoml._http import Request, Response
from bentoml.exceptions import ServiceUnavailable
from bentoml.server.endpoint import EndpointHandler

__all__ = ["ConcurrencyLimit"]


class ConcurrencyLimit:
    """One count for all handlers that it wraps.

    Args:
        limit: requests in flight at one time.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._in_flight = 0

    def around(self, handle: EndpointHandler) -> EndpointHandler:
        """The handler, which now refuses with ServiceUnavailable what would be one too many."""

        async def limited(request: Request) -> Response:
            if self._in_flight >= self._limit:
                raise ServiceUnavailable(f"{self._limit} requests are in flight, the most that are allowed")
            self._in_flight += 1
            try:
                response = await handle(request)
            except BaseException:
                self._in_flight -= 1
                raise
            if isinstance(response.body, bytes):
                self._in_flight -= 1
            else:
                response.body = _Counted(response.body, self)
            return response

        return limited

    def ended(self) -> None:
        """A streamed answer is over."""
        self._in_flight -= 1


class _Counted(AsyncIterator[bytes]):
    """The chunks of an answer; not a generator, as one that was never begun would not notice that it is closed."""

    def __init__(self, chunks: AsyncIterator[bytes], limit: ConcurrencyLimit) -> None:
        self._chunks = chunks
        self._limit: ConcurrencyLimit | None = limit

    async def __anext__(self) -> bytes:
        return await anext(self._chunks)

    async def aclose(self) -> None:
        """Close the chunks; the server does so once they are sent and also when they cannot be."""
        if self._limit is not None:
            self._limit.ended()
            self._limit = None
        close = getattr(self._chunks, "aclose", None)
        if close is not None:
            await close()
