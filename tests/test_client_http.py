"""HTTPClient: one object for code that blocks and code that awaits, as in BentoML 1.0."""

from __future__ import annotations

import asyncio

from bentoml.client import Client, HTTPClient, SyncHTTPClient
from tests._server import Server


def test_the_factory_gives_a_client_for_both_ways(kitchen: Server) -> None:
    Client.wait_until_server_ready("127.0.0.1", kitchen.port)
    with Client.from_url(f"http://127.0.0.1:{kitchen.port}", kind="auto") as client:
        assert isinstance(client, HTTPClient)
        assert isinstance(client, SyncHTTPClient)
        assert client.echo(1) == client.call("echo", 1) == 1

        async def work() -> None:
            assert await client.async_echo(2) == await client.async_call("echo", 2) == 2
            assert "".join([piece async for piece in client.async_stream("count", "3")]) == "0;1;2;"
            assert (await client.async_health()).status == 200

        asyncio.run(work())
        asyncio.run(work())  # another loop, to which the connections of the first do not belong


def test_in_asynchronous_code_it_closes_both_kinds_of_connections(kitchen: Server) -> None:
    async def work() -> None:
        async with HTTPClient.from_url(f"http://127.0.0.1:{kitchen.port}") as client:
            assert await client.async_echo(1) == 1
            inner = client._on_this_loop()
        assert inner._http.is_closed
        assert client._pool.is_closed

    asyncio.run(work())
