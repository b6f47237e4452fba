"""The limit on requests in flight: who is refused, and when a place becomes free."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from bentoml._http import Request, Response
from bentoml.exceptions import ServiceUnavailable
from bentoml.server.concurrency import ConcurrencyLimit


async def is_free(limit: ConcurrencyLimit) -> bool:
    async def answer(request: Request) -> Response:
        return Response()

    try:
        await limit.around(answer)(Request())
    except ServiceUnavailable:
        return False
    return True


def test_what_is_one_too_many_is_refused_and_a_place_becomes_free_however_a_request_ends() -> None:
    async def main() -> None:
        limit = ConcurrencyLimit(2)
        gate = asyncio.Event()

        async def wait(request: Request) -> Response:
            await gate.wait()
            if request.path == "/fail":
                raise ValueError
            return Response()

        handle = limit.around(wait)
        failing, cancelled = (asyncio.ensure_future(handle(Request(path=path))) for path in ("/fail", "/"))
        await asyncio.sleep(0)
        with pytest.raises(ServiceUnavailable, match="2 requests are in flight, the most that are allowed"):
            await handle(Request())
        cancelled.cancel()
        await asyncio.gather(cancelled, return_exceptions=True)
        assert await is_free(limit)
        gate.set()
        with pytest.raises(ValueError):  # noqa: PT011 - it has no text
            await failing
        assert await is_free(limit)

    asyncio.run(main())


def test_a_stream_counts_until_it_is_closed_even_if_it_was_never_begun() -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"a"
        yield b"b"

    async def stream(request: Request) -> Response:
        return Response(chunks())

    async def main() -> None:
        limit = ConcurrencyLimit(1)
        for count in (0, 1, 2):
            response = await limit.around(stream)(Request())
            body: Any = response.body
            assert [await anext(body) for _ in range(count)] == [b"a", b"b"][:count]
            assert not await is_free(limit)
            await body.aclose()
            await body.aclose()
            assert await is_free(limit)

    asyncio.run(main())
