"""Answers that are streams."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator

import pytest

from bentoml._http import Request, Response
from tests._serving import GET, LOOPS, PATIENCE_S, numbers, serve


@pytest.fixture(params=LOOPS)
def loop(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.mark.parametrize("later", [True, False])
def test_a_stream_is_chunked_on_1_1_and_ends_with_the_connection_on_1_0(loop: str, later: bool) -> None:
    async def stream_later(request: Request) -> Response:
        return Response(numbers(3))

    handler = stream_later if later else lambda request: Response(numbers(3))
    with serve(handler, loop=loop) as served, served.connect() as client:
        for _ in range(2):
            client.send(GET)
            answer = client.read()
            assert answer.headers[b"transfer-encoding"] == b"chunked"
            assert b"content-length" not in answer.headers
            assert answer.body == b"0,1,2,"
        client.send(b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.read("HEAD").headers[b"transfer-encoding"] == b"chunked"
        client.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        answer = client.read()
        assert b"transfer-encoding" not in answer.headers
        assert (answer.headers[b"connection"], answer.body) == (b"close", b"0,1,2,")


def test_the_first_chunk_is_sent_before_the_second_is_made(loop: str) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"first"
        await served.loop.run_in_executor(None, go_on.wait)
        yield b"second"

    go_on = threading.Event()
    with serve(lambda request: Response(chunks()), loop=loop) as served, served.connect() as client:
        client.send(GET)
        while client.file.readline() != b"\r\n":
            pass
        received = client.chunks()
        assert next(received) == b"first"
        go_on.set()
        assert list(received) == [b"second"]


def test_a_stream_that_fails_when_it_is_cancelled_does_no_harm(loop: str, caplog: pytest.LogCaptureFixture) -> None:
    begun, ended = threading.Event(), threading.Event()

    async def chunks() -> AsyncIterator[bytes]:
        try:
            yield b"some"
            begun.set()
            await asyncio.sleep(PATIENCE_S)
        finally:
            ended.set()
            raise RuntimeError("at the end")

    with serve(lambda request: Response(chunks()), loop=loop) as served:
        client = served.connect()
        client.send(GET)
        assert begun.wait(PATIENCE_S)
        client.reset()
        assert ended.wait(PATIENCE_S)
        served.call(lambda: None)
    assert "at the end" in caplog.text


@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
def test_a_stream_that_fails_midway_breaks_the_connection(
    loop: str, version: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"some"
        raise RuntimeError("half way")

    with serve(lambda request: Response(chunks()), loop=loop) as served, served.connect() as client:
        client.send(b"GET / HTTP/%b\r\nHost: x\r\n\r\n" % version)
        with pytest.raises((ConnectionResetError, ValueError)):
            client.read()
        assert "the answer to GET / broke off" in caplog.text
        assert "half way" in caplog.text


def test_a_stream_waits_for_a_client_that_reads_slowly(loop: str) -> None:
    made = 0

    async def chunks() -> AsyncIterator[bytes]:
        nonlocal made
        for _ in range(300):
            made += 1
            yield bytes(100_000)

    with serve(lambda request: Response(chunks()), loop=loop) as served, served.connect() as client:
        client.send(GET)
        client.file.readline()
        previous = -1
        while previous != (previous := made):  # until it rests
            threading.Event().wait(0.05)
        assert made < 150
        while client.file.readline() != b"\r\n":
            pass
        assert sum(map(len, client.chunks())) == 30_000_000


def test_a_client_that_goes_ends_the_stream(loop: str) -> None:
    begun, closed = threading.Event(), threading.Event()

    async def chunks() -> AsyncIterator[bytes]:
        try:
            while True:
                yield bytes(100_000)
                begun.set()
        finally:
            closed.set()

    with serve(lambda request: Response(chunks()), loop=loop) as served:
        client = served.connect()
        client.send(GET)
        assert begun.wait(PATIENCE_S)
        client.reset()
        assert closed.wait(PATIENCE_S)
