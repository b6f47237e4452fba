"""AsyncHTTPClient: the same behaviour, awaited; and what only awaited calls can do."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import numpy as np
import pytest

from bentoml import exceptions
from bentoml.client import AsyncHTTPClient, Timeouts
from tests._scripted import Scripted, reply, scripted
from tests._server import Server

OK = reply(200, b"1")
BUSY = reply(503, b'""', retry_after="0")
SILENT = reply(then="silent")._replace(raw=b"")


def run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(asyncio.wait_for(work, 60))


def test_each_api_is_a_coroutine_with_native_values(kitchen: Server) -> None:
    async def work() -> None:
        async with AsyncHTTPClient.from_url(f"http://127.0.0.1:{kitchen.port}") as client:
            assert await client.echo({"a": 1}) == {"a": 1}
            np.testing.assert_array_equal(await client.array(np.ones((1, 2))), [[2, 2]])
            assert await client.call("text", "x") == "X"
            assert [piece async for piece in client.stream_count("2")] in (["0;", "1;"], ["0;1;"])
            assert (await client.health()).is_ready
            assert await asyncio.gather(*(client.echo(number) for number in range(50))) == list(range(50))
            with pytest.raises(exceptions.NotFound, match="the secret of"):
                await client.fail("NotFound")

    run(work())


def test_it_can_be_awaited_and_closed_by_hand(kitchen: Server) -> None:
    async def work() -> None:
        await AsyncHTTPClient.wait_until_server_ready("127.0.0.1", kitchen.port)
        client = await AsyncHTTPClient.from_url(f"http://127.0.0.1:{kitchen.port}")
        assert await client.echo(1) == 1
        await client.close()

    run(work())


def with_client(server: Scripted, work: Any, **options: Any) -> Any:
    async def connected() -> Any:
        async with AsyncHTTPClient.from_url(server.url, **options) as client:
            return await work(client)

    return run(connected())


def test_a_refusal_is_followed_by_another_try() -> None:
    with scripted(BUSY, BUSY, OK) as server:
        assert with_client(server, lambda client: client.echo(0)) == 1
        assert len(server.calls) == 3
        assert server.connections == 1


def test_refusals_without_end_are_an_error() -> None:
    with scripted(BUSY, BUSY) as server, pytest.raises(exceptions.ServiceUnavailable):
        with_client(server, lambda client: client.echo(0), max_retries=1)


def test_an_answer_that_is_cut_off_is_no_answer() -> None:
    cut = reply(200, b"[1, 2", "cut", content_length="100")
    with scripted(cut) as server, pytest.raises(exceptions.RemoteException, match="before the answer was complete"):
        with_client(server, lambda client: client.echo(0))


def test_a_silent_server_is_given_up() -> None:
    with scripted(SILENT) as server, pytest.raises(exceptions.DeadlineExceeded, match="did not answer in time"):
        with_client(server, lambda client: client.echo(0), timeout=Timeouts(read_s=0.05))


def test_a_cancelled_call_closes_its_connection_and_no_other() -> None:
    async def work(client: AsyncHTTPClient) -> Any:
        call = asyncio.create_task(client.echo(0))
        await asyncio.to_thread(server.heard.acquire)  # the document
        await asyncio.to_thread(server.heard.acquire)  # the call
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await asyncio.to_thread(server.closed.acquire)
        return await client.echo(0)

    with scripted(SILENT, OK) as server:
        assert with_client(server, work) == 1
        assert server.connections == 2


def test_cancelled_calls_give_their_places_in_the_pool_back() -> None:
    async def work(client: AsyncHTTPClient) -> Any:
        for _ in range(4):
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(client.echo(0), 0.02)
        return await client.echo(0)

    with scripted(SILENT, SILENT, SILENT, SILENT, OK) as server:
        assert with_client(server, work, max_connections=1) == 1


def test_a_stream_that_is_left_early_does_not_spoil_the_client(kitchen: Server) -> None:
    async def work() -> None:
        async with AsyncHTTPClient.from_url(f"http://127.0.0.1:{kitchen.port}") as client:
            pieces = client.stream_count("100000")
            assert await anext(pieces)
            await pieces.aclose()
            assert await client.echo(1) == 1

    run(work())


def test_what_is_no_service_is_malformed() -> None:
    with scripted() as server:
        server.document = b"[]"
        with pytest.raises(exceptions.BentoMLException, match="^Malformed"):
            with_client(server, lambda client: client.echo(0))
